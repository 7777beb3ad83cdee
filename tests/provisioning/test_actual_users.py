"""Lines of organizations: who really uses them, whether that counts, and what happens when it changes."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse

from apps.accounts.actors import actor_of_user
from apps.accounts.states import Role
from apps.audit.models import AuditEvent
from apps.carriers.base import Rejected
from apps.core.errors import Forbidden, NotFound
from apps.lines import selectors as line_selectors
from apps.lines import services as lines
from apps.lines.errors import ActualUserMissing, ActualUserNotAccepted, HolderLimitReached, LineNotActive
from apps.lines.models import HolderSlot, Line, UserAssignment
from apps.operators.models import VirtualOperator
from apps.operators.policies import PolicyKey
from apps.provisioning import selectors
from apps.provisioning.models import ServiceOrder
from apps.provisioning.services.waiting import continue_held_orders
from apps.subscribers.errors import IdentityExpired, IdentityNotVerified
from apps.subscribers.models import Subscriber
from apps.subscribers.realname.providers.base import AuthorityAnswer
from apps.subscribers.services import run_due_verifications
from tests import refusals
from tests.factories.accounts import ApiClient, given_user
from tests.factories.operators import given_policy
from tests.factories.provisioning import SYSTEM, Seller, decide
from tests.factories.subscribers import (
    answering,
    given_demand,
    given_notices,
    given_subscriber,
    given_verified_organization,
    given_verified_subscriber,
)
from tests.provisioning.untouched import refused

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_letters(operator: VirtualOperator, now: datetime) -> None:
    given_policy(key=PolicyKey.AUTHORISATION_LETTER_REQUIRED, value=False, now=now, operator=operator)


@pytest.fixture
def organization(seller: Seller) -> Subscriber:
    return given_verified_organization(operator=seller.operator, now=seller.now)


def _rule(seller: Seller, key: PolicyKey, value: Any) -> None:
    given_policy(key=key, value=value, now=seller.now, operator=seller.operator)


def _line(seller: Seller, organization: Subscriber, user: Subscriber) -> Line:
    order = seller.order(subscriber=organization, actual_user=user.uid)
    return seller.done(order).line


def _users(line: Line) -> list[tuple[int, bool]]:
    rows = UserAssignment.objects.filter(line=line).order_by("id")
    return [(row.user_id, row.released_at is None) for row in rows]


def _places(person: Subscriber) -> int:
    return HolderSlot.objects.filter(fingerprint=person.documents.get().fingerprint).count()


class TestActivating:
    def test_the_user_fills_a_place_and_the_organization_none(
        self, seller: Seller, organization: Subscriber
    ) -> None:
        user = seller.subscriber()
        line = _line(seller, organization, user)
        assert _users(line) == [(user.pk, True)]
        assert (_places(user), _places(organization)) == (1, 0)
        assert HolderSlot.objects.get().as_user

    def test_policy_says_who_counts(self, seller: Seller, organization: Subscriber) -> None:
        user = seller.subscriber()
        _rule(seller, PolicyKey.ORGANIZATIONS_EXEMPT, False)
        line = _line(seller, organization, user)
        assert (_places(user), _places(organization)) == (1, 1)
        assert line.holder_slots.count() == 2
        _rule(seller, PolicyKey.ACTUAL_USERS_COUNTED, False)
        _line(seller, organization, user)
        assert (_places(user), _places(organization)) == (1, 2)

    def test_an_organization_has_more_lines_than_a_person_and_its_user_has_not(
        self, seller: Seller, organization: Subscriber
    ) -> None:
        user = seller.subscriber()
        for _ in range(4):
            seller.order(subscriber=organization, actual_user=user.uid)
        seller.order(subscriber=user)
        with refusals.refused(HolderLimitReached) as error:
            seller.order(subscriber=organization, actual_user=user.uid)
        assert error.value.errors[0].pointer == "/actual_user"
        with refused(HolderLimitReached):
            seller.order(subscriber=user)
        for _ in range(2):
            seller.order(subscriber=organization, actual_user=seller.subscriber().uid)
        assert Line.objects.filter(subscriber=organization).count() == 6

    def test_refusals_leave_nothing(
        self, seller: Seller, organization: Subscriber, other_operator: VirtualOperator, now: datetime
    ) -> None:
        fresh = seller.subscriber()
        stranger = given_verified_subscriber(operator=other_operator, now=now)
        unverified = given_subscriber(operator=seller.operator, now=now)
        other = given_verified_organization(operator=seller.operator, now=now)
        for error, holder, user in (
            (ActualUserMissing, organization, None),
            (ActualUserNotAccepted, fresh, seller.subscriber().uid),
            (ActualUserNotAccepted, organization, other.uid),
            (ActualUserNotAccepted, organization, organization.uid),
            (IdentityNotVerified, organization, unverified.uid),
            (NotFound, organization, stranger.uid),
            (NotFound, organization, "nobody"),
        ):
            with refused(error):
                seller.order(subscriber=holder, actual_user=user)
        assert not UserAssignment.objects.exists()
        assert not HolderSlot.objects.exists()

    def test_policy_may_do_without(self, seller: Seller, organization: Subscriber) -> None:
        _rule(seller, PolicyKey.ACTUAL_USER_REQUIRED, False)
        line = seller.active_line(subscriber=organization)
        assert _users(line) == []
        assert not HolderSlot.objects.exists()

    def test_a_line_that_never_lives_gives_everything_back(
        self, seller: Seller, organization: Subscriber
    ) -> None:
        user = seller.subscriber()
        order = seller.order(subscriber=organization, actual_user=user.uid)
        seller.answer(order, Rejected("carrier_number_invalid", "no"))
        assert _users(order.line) == [(user.pk, False)]
        assert not HolderSlot.objects.exists()

    def test_one_user_at_a_time(self, seller: Seller, organization: Subscriber) -> None:
        line, another = _line(seller, organization, seller.subscriber()), seller.subscriber()
        with pytest.raises(IntegrityError, match="one_actual_user_per_line"), transaction.atomic():
            UserAssignment.objects.create(line=line, user=another, assigned_at=seller.now)


class TestChanging:
    def _change(self, seller: Seller, line: Line, user: Subscriber, **fields: Any) -> Line:
        fields = {"actor": SYSTEM, "now": seller.now, **fields}
        return lines.change_actual_user(line=line.uid, actual_user=user.uid, **fields)

    def test_places_go_with_the_user(self, seller: Seller, organization: Subscriber) -> None:
        old, new = seller.subscriber(), seller.subscriber()
        line = _line(seller, organization, old)
        self._change(seller, line, new)
        self._change(seller, line, new)
        assert _users(line) == [(old.pk, False), (new.pk, True)]
        assert (_places(old), _places(new)) == (0, 1)
        event = AuditEvent.objects.get(action="line.change_actual_user")
        assert (event.before, event.after) == ({"actual_user": old.uid}, {"actual_user": new.uid})

    def test_a_full_person_is_refused_and_nothing_moves(
        self, seller: Seller, organization: Subscriber
    ) -> None:
        _rule(seller, PolicyKey.HOLDER_LIMIT, 1)
        old, full = seller.subscriber(), seller.subscriber()
        seller.order(subscriber=full)
        line = _line(seller, organization, old)
        with refused(HolderLimitReached):
            self._change(seller, line, full)
        assert _users(line) == [(old.pk, True)]
        assert (_places(old), _places(full)) == (1, 1)

    def test_the_place_of_the_organization_is_not_asked_for_again(
        self, seller: Seller, organization: Subscriber
    ) -> None:
        _rule(seller, PolicyKey.ORGANIZATIONS_EXEMPT, False)
        _rule(seller, PolicyKey.HOLDER_LIMIT, 1)
        line = _line(seller, organization, seller.subscriber())
        self._change(seller, line, seller.subscriber())
        assert _places(organization) == 1

    def test_refusals(
        self, seller: Seller, organization: Subscriber, other_operator: VirtualOperator, now: datetime
    ) -> None:
        user = seller.subscriber()
        line = _line(seller, organization, user)
        own = seller.active_line()
        stale = seller.subscriber()
        with refused(ActualUserNotAccepted):
            self._change(seller, own, user)
        with refused(IdentityExpired):
            self._change(seller, line, stale, now=now + timedelta(days=31))
        support = actor_of_user(given_user(role=Role.SUPPORT, operator=other_operator, now=now))
        with refused(NotFound):
            self._change(seller, line, stale, actor=support)
        engineer = actor_of_user(given_user(role=Role.ENGINEER, operator=seller.operator, now=now))
        with refused(Forbidden):
            self._change(seller, line, stale, actor=engineer)
        lines.terminate_line(actor=SYSTEM, line_id=line.pk, reason="test", now=now)
        with refused(LineNotActive):
            self._change(seller, line, user)
        assert _users(line) == [(user.pk, False)]


class TestTransfers:
    def test_from_one_organization_to_another(self, seller: Seller, organization: Subscriber) -> None:
        old, new = seller.subscriber(), seller.subscriber()
        line = _line(seller, organization, old)
        taker = given_verified_organization(operator=seller.operator, now=seller.now)
        with refused(ActualUserMissing):
            seller.ask("transfer", line, subscriber=taker.uid)
        order = seller.ask("transfer", line, subscriber=taker.uid, actual_user=new.uid)
        assert (_places(old), _places(new)) == (1, 1)
        seller.done(order)
        assert _users(line) == [(old.pk, False), (new.pk, True)]
        assert (_places(old), _places(new)) == (0, 1)

    def test_to_a_person_who_uses_it(self, seller: Seller, organization: Subscriber) -> None:
        old, taker = seller.subscriber(), seller.subscriber()
        line = _line(seller, organization, old)
        with refused(ActualUserNotAccepted):
            seller.ask("transfer", line, subscriber=taker.uid, actual_user=old.uid)
        seller.done(seller.ask("transfer", line, subscriber=taker.uid))
        assert _users(line) == [(old.pk, False)]
        assert (_places(old), _places(taker)) == (0, 1)
        assert not HolderSlot.objects.get().as_user

    def test_refused_by_the_carrier_it_stays_as_it_was(
        self, seller: Seller, organization: Subscriber
    ) -> None:
        old, new = seller.subscriber(), seller.subscriber()
        line = _line(seller, organization, old)
        taker = given_verified_organization(operator=seller.operator, now=seller.now)
        order = seller.ask("transfer", line, subscriber=taker.uid, actual_user=new.uid)
        seller.answer(order, Rejected("carrier_refused", "no"))
        assert _users(line) == [(old.pk, True)]
        assert (_places(old), _places(new)) == (1, 0)


class TestTheirCheck:
    """As that of a holder: looked at again before the carrier hears of the order."""

    def test_one_that_fails_before_the_first_send_ends_the_order(
        self, seller: Seller, organization: Subscriber
    ) -> None:
        user = seller.subscriber()
        order = seller.order(subscriber=organization, actual_user=user.uid)
        assert selectors.get_sending_facts(order_ids=[order.pk])[order.pk].identity_holds
        decide(user, seller.now, AuthorityAnswer.NAME_MISMATCH)
        assert not selectors.get_sending_facts(order_ids=[order.pk])[order.pk].identity_holds

    def test_a_held_order_waits_for_them_too(self, seller: Seller, organization: Subscriber) -> None:
        user = seller.subscriber()
        organization.verifications.all().update(
            status="PENDING", fresh_until=None, decided_at=None, next_attempt_at=seller.now
        )
        order = seller.order(subscriber=organization, actual_user=user.uid)
        assert order.status == "HELD"
        user.verifications.all().update(status="FAILED", fresh_until=None)
        run_due_verifications(clock=lambda: seller.now, providers=answering())
        continue_held_orders(actor=SYSTEM, subscriber_ids=[organization.pk], now=seller.now)
        order.refresh_from_db()
        assert (order.status, order.reason) == ("FAILED", "identity_not_verified")

    def test_a_demand_on_them_reaches_the_line(self, seller: Seller, organization: Subscriber) -> None:
        given_notices(now=seller.now)
        user = seller.subscriber()
        line = _line(seller, organization, user)
        demand = given_demand(subscriber=user, now=seller.now)
        assert selectors.has_line_under(demand=demand)
        assert selectors.list_lines_to_move(demand=demand, limit=10) == [(line.uid, True)]
        assert line_selectors.list_holders(operator_id=line.operator_id, subscriber_ids=[user.pk]) == {
            user.pk
        }


def test_whoever_uses_a_line_is_not_erased(seller: Seller, organization: Subscriber) -> None:
    user = seller.subscriber()
    line = _line(seller, organization, user)
    later = seller.now + timedelta(days=800)
    assert lines.erase_former_holders(actor=SYSTEM, now=later) == 0
    lines.terminate_line(actor=SYSTEM, line_id=line.pk, reason="test", now=later)
    assert lines.erase_former_holders(actor=SYSTEM, now=later + timedelta(days=729)) == 0
    # The organization, whose line it was, and the user.
    assert lines.erase_former_holders(actor=SYSTEM, now=later + timedelta(days=740)) == 2


def test_what_we_hold_about_a_user_names_the_line(seller: Seller, organization: Subscriber) -> None:
    user = seller.subscriber()
    line = _line(seller, organization, user)
    officer = actor_of_user(given_user(role=Role.COMPLIANCE, operator=seller.operator, now=seller.now))
    person = lines.export_person(
        actor=officer, subscriber_uid=user.uid, reason="asked for by the person", now=seller.now
    )
    assert person["lines"] == []
    assert [(each["id"], each["until"]) for each in person["used_lines"]] == [(line.uid, None)]


class TestOverRest:
    def test_ordered_shown_and_changed(
        self, seller: Seller, organization: Subscriber, api: ApiClient, other_api: ApiClient
    ) -> None:
        old, new = seller.subscriber(), seller.subscriber()
        body = {"type": "activate", "subscriber": organization.uid, "plan": seller.plan.uid}
        refusal = api.post("/api/v1/orders", body).json()
        assert (refusal["status"], refusal["code"], refusal["errors"][0]["pointer"]) == (
            422,
            "actual_user_missing",
            "/actual_user",
        )
        answer = api.post("/api/v1/orders", body | {"actual_user": old.uid})
        assert answer.status_code == 202
        seller.done(ServiceOrder.objects.get())
        path = f"/api/v1/lines/{answer.json()['line']}"
        assert api.get(path).json()["actual_user"] == old.uid
        assert api.get("/api/v1/lines").json()["items"][0]["actual_user"] == old.uid

        change = f"{path}/actual-user"
        assert api.post(change, {}).json()["errors"][0]["code"] == "required"
        assert api.post(change, {"actual_user": new.uid, "why": "x"}).json()["code"] == "unknown_field"
        assert other_api.post(change, {"actual_user": new.uid}).status_code == 404
        changed = api.post(change, {"actual_user": new.uid})
        assert (changed.status_code, changed.json()["actual_user"]) == (200, new.uid)
        assert api.get(path).json() == changed.json()

    def test_a_person_has_none(self, seller: Seller, api: ApiClient) -> None:
        line = seller.active_line()
        assert api.get(f"/api/v1/lines/{line.uid}").json()["actual_user"] is None
        answer = api.post(f"/api/v1/lines/{line.uid}/actual-user", {"actual_user": line.subscriber.uid})
        assert answer.json()["code"] == "actual_user_not_accepted"


@pytest.mark.django_db(transaction=True)
def test_in_the_admin(seller: Seller, organization: Subscriber) -> None:
    old, new = seller.subscriber(), seller.subscriber()
    line = _line(seller, organization, old)
    client = Client()
    client.force_login(given_user(role=Role.SUPPORT, operator=seller.operator, now=seller.now))
    press = reverse("admin:lines_line_press", args=(line.pk, "actual-user"))
    page = client.post(press, {"actual_user": organization.uid}).content.decode()
    assert "that is a person" in page
    assert client.post(press, {"actual_user": new.uid}).status_code == 302
    assert _users(line)[-1] == (new.pk, True)
    page = client.get(reverse("admin:lines_line_change", args=(line.pk,))).content.decode()
    assert "Actual users over time" in page
    used = client.get(reverse("admin:subscribers_subscriber_change", args=(new.pk,))).content.decode()
    assert line.uid in used

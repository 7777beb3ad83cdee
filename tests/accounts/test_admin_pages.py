"""Every page of the admin: it opens, costs the same whatever the number of rows, and reads no whole table."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.contrib.admin.exceptions import NotRegistered
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.db.models import Model
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from apps.accounts.admin_base import TenantAdmin, add_panel
from apps.accounts.admin_display import TARGETS, TONES, BoundedPaginator, Panel, change, short_id
from apps.accounts.admin_find import find
from apps.accounts.models import User
from apps.accounts.states import Role
from apps.audit.models import AuditEvent
from apps.carriers.base import CarrierLine, LineState
from apps.lines.models import Line
from apps.lines.states import LINE
from apps.numbering.models import PhoneNumber
from apps.numbering.numbers import to_e164
from apps.numbering.states import NUMBER, RANGE, RESERVATION, NumberStatus
from apps.operators.models import HostCarrier, Licence, VirtualOperator
from apps.operators.policies import PolicyKey
from apps.operators.states import OperatorMode, Validity
from apps.provisioning.models import ServiceOrder
from apps.provisioning.states import DISPUTE, JOB, ORDER, AttemptOutcome, CallbackOutcome
from apps.sims.models import SimCard
from apps.sims.states import SIM
from apps.subscribers.models import Subscriber
from apps.subscribers.states import REVIEW_CASE, VERIFICATION, CheckOutcome
from tests.factories.accounts import given_partner_app, given_user
from tests.factories.callbacks import callback_body, send_callback
from tests.factories.numbering import (
    given_early_release,
    given_import,
    given_range,
    given_reservation,
    given_rule,
    given_terms,
)
from tests.factories.operators import given_dealer, given_licence, given_policy
from tests.factories.provisioning import Seller, given_plan, given_seller
from tests.factories.reviews import given_dispute, given_doubt, given_holder_check
from tests.factories.sims import given_batch
from tests.factories.subscribers import (
    given_demand,
    given_notices,
    given_organization,
    given_watch_list_file,
)
from tests.reconciliation.conftest import View

pytestmark = pytest.mark.django_db

OURS = {config.label for config in apps.get_app_configs() if config.name.startswith("apps.")}
PAGES = {model: page for model, page in admin.site._registry.items() if model._meta.app_label in OURS}
READERS = (Role.PLATFORM, Role.OPERATOR_ADMIN)
# Tables that belong to no tenant and come from the seeds.
REFERENCE = {"AccessCode", "DocumentType", "HostCarrier"}


def name_of(model: type[Model], page: str) -> str:
    return f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}"


def client_of(role: Role, operator: VirtualOperator, now: datetime) -> Client:
    client = Client()
    client.force_login(given_user(role=role, operator=None if role is Role.PLATFORM else operator, now=now))
    return client


@pytest.fixture
def seller(operator: VirtualOperator, now: datetime) -> Seller:
    return given_seller(operator=operator, now=now, cards=3)


@pytest.fixture
def more(seller: Seller, now: datetime) -> Callable[[], None]:
    """Adds one more of nearly everything."""
    numbers: Iterator[int] = iter(range(100))

    def add() -> None:
        number, operator = next(numbers), seller.operator
        line = seller.active_line()
        given_dispute(line=line, now=now)
        given_holder_check(person=line.subscriber, now=now)
        given_doubt(operator=operator, now=now)
        given_notices(now=now)
        given_demand(subscriber=line.subscriber, line_uid=line.uid, now=now)
        send_callback(seller.connection, callback_body(seller.accepted_job(), now=now), now=now)
        stranger = CarrierLine(
            f"+86170988888{number:02d}", f"89860119999999999{number:02d}", LineState.ACTIVE, "X"
        )
        View.of(seller).add(stranger).reconcile()
        given_range(operator=operator, now=now)
        given_reservation(operator=operator, now=now)
        given_early_release(leased=given_range(operator=operator, now=now), now=now)
        given_import(operator=operator, now=now)
        given_rule(operator=operator, now=now, priority=number + 1)
        given_terms(operator=operator, now=now, valid_from=now + timedelta(days=number))
        given_batch(operator=operator, host_carrier=seller.carrier, now=now)
        given_plan(operator=operator, carrier=seller.carrier, now=now, code=f"PLAN-{number}")
        given_licence(operator=operator, now=now)
        given_dealer(operator=operator, now=now)
        given_organization(operator=operator, now=now)
        given_partner_app(operator=operator, now=now)
        given_user(role=Role.SUPPORT, operator=operator, now=now)
        given_watch_list_file(operator=operator, now=now)
        given_policy(
            key=PolicyKey.HOLDER_LIMIT,
            value=5,
            now=now,
            operator=operator,
            valid_from=now + timedelta(days=number + 1),
        )

    return add


# --- Pages and menu -------------------------------------------------------------------------------------------------
def test_every_page_is_a_tenant_admin() -> None:
    assert [str(page) for page in PAGES.values() if not isinstance(page, TenantAdmin)] == []
    assert len(PAGES) > 20


def test_the_menu_leads_to_every_page_and_nowhere_else() -> None:
    groups: Any = settings.UNFOLD["SIDEBAR"]
    links = {str(item["link"]) for group in groups["navigation"] for item in group["items"]}
    assert links == {reverse("admin:index")} | {reverse(name_of(model, "changelist")) for model in PAGES}


@pytest.mark.parametrize("role", READERS)
def test_every_page_opens_at_a_cost_that_does_not_grow(
    operator: VirtualOperator, more: Callable[[], None], now: datetime, role: Role
) -> None:
    client = client_of(role, operator, now)
    more()
    rows = {model: first_row(page, client) for model, page in PAGES.items()}

    def costs() -> dict[str, int]:
        spent = {}
        for model, row in rows.items():
            pages = [reverse(name_of(model, "changelist"))]
            pages += [reverse(name_of(model, "change"), args=(row.pk,))] if row is not None else []
            for page in pages:
                with CaptureQueriesContext(connection) as queries:
                    assert client.get(page).status_code == 200, page
                spent[page] = len(queries)
        return spent

    ContentType.objects.get_for_models(*PAGES)  # read once per process
    with_one = costs()
    for _ in range(4):
        more()
    assert costs() == with_one
    assert {model.__name__ for model, row in rows.items() if row is None} <= REFERENCE


def first_row(page: admin.ModelAdmin, client: Client) -> Any:
    request = RequestFactory().get("/")
    request.user = User.objects.get(pk=client.session["_auth_user_id"])
    return page.get_queryset(request).first()


def test_a_subscriber_s_page_costs_the_same_with_five_lines(
    operator: VirtualOperator, seller: Seller, now: datetime
) -> None:
    client = client_of(Role.OPERATOR_ADMIN, operator, now)
    person = seller.subscriber()
    page = reverse(name_of(Subscriber, "change"), args=(person.pk,))
    ContentType.objects.get_for_models(*PAGES)
    spent = []
    for _ in range(3):
        seller.active_line(subscriber=person)
        with CaptureQueriesContext(connection) as queries:
            client.get(page)
        spent.append(len(queries))
    assert len(set(spent)) == 1


# --- Large tables ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("role", READERS)
def test_no_list_counts_or_sorts_a_whole_table(
    operator: VirtualOperator, more: Callable[[], None], now: datetime, role: Role
) -> None:
    more()
    client = client_of(role, operator, now)
    unbounded = []
    for model in PAGES:
        with CaptureQueriesContext(connection) as queries:
            response = client.get(
                reverse(name_of(model, "changelist")), {"o": "2.-3", "all": "", "_facets": "True"}
            )
        assert response.status_code == 200
        assert "Show all" not in response.content.decode()
        asked = response.context["cl"].queryset.query.order_by
        plain = client.get(reverse(name_of(model, "changelist"))).context["cl"].queryset.query.order_by
        assert set(asked) == set(plain) != set()
        unbounded += [
            query["sql"]
            for query in queries
            if ("COUNT(" in query["sql"] and f"LIMIT {BoundedPaginator.MOST + 1}" not in query["sql"])
            or "DISTINCT" in query["sql"]
        ]
    assert unbounded == []


def test_a_long_list_says_that_there_are_more(operator: VirtualOperator, now: datetime) -> None:
    given_range(operator=operator, now=now)
    client = client_of(Role.SUPPORT, operator, now)
    page = reverse(name_of(PhoneNumber, "changelist"))
    assert "1000 numbers" in client.get(page).content.decode()
    given_range(operator=operator, now=now)
    shown = client.get(page, {"p": "20"})
    assert "More than 1000 numbers" in shown.content.decode()
    assert len(shown.context["cl"].result_list) == 50
    assert client.get(page, {"p": "21"}).status_code == 302


def test_numbers_are_read_between_the_ends_of_one_s_own_ranges(
    operator: VirtualOperator, other_operator: VirtualOperator, now: datetime
) -> None:
    own, theirs = given_range(operator=operator, now=now), given_range(operator=other_operator, now=now)
    client = client_of(Role.SUPPORT, operator, now)
    with CaptureQueriesContext(connection) as queries:
        client.get(reverse(name_of(PhoneNumber, "changelist")))
    listed = [query["sql"] for query in queries if "numbering_phonenumber" in query["sql"]]
    assert listed
    assert all(f"BETWEEN {own.first} AND {own.last}" in sql for sql in listed)
    assert str(theirs.first) not in str(listed)


# --- Finding --------------------------------------------------------------------------------------------------------
def test_a_whole_id_leads_to_its_page_and_a_foreign_one_nowhere(
    operator: VirtualOperator, other_operator: VirtualOperator, seller: Seller, now: datetime
) -> None:
    order, foreign = seller.order(), given_seller(operator=other_operator, now=now).order()
    client = client_of(Role.SUPPORT, operator, now)
    page = reverse(name_of(ServiceOrder, "changelist"))
    led: Any = client.get(page, {"q": f" {order.uid} "})
    assert led.url == reverse(name_of(ServiceOrder, "change"), args=(order.pk,))
    missed = client.get(page, {"q": foreign.uid})
    assert missed.status_code == 200
    assert missed.context["cl"].result_count == 0
    assert "Nothing matches" in missed.content.decode()


def test_the_search_over_all_pages_finds_numbers_cards_and_ids(
    operator: VirtualOperator, other_operator: VirtualOperator, seller: Seller, now: datetime
) -> None:
    line: Any = Line.objects.with_fittings().get(pk=seller.active_line().pk)
    foreign = given_seller(operator=other_operator, now=now).active_line()
    theirs: Any = Line.objects.with_fittings().get(pk=foreign.pk)
    request = RequestFactory().get("/")
    request.user = given_user(role=Role.SUPPORT, operator=operator, now=now)

    def found(term: str) -> set[str]:
        return {f"{result.description}: {result.title}" for result in find(request, term)}

    both = {f"Line: {line.uid}", f"Number: {to_e164(line.number)}"}
    assert found(to_e164(line.number)) == found(str(line.number)) == found(f"86{line.number}") == both
    assert found(line.iccid.lower()) == {f"Line: {line.uid}", f"SIM card: {line.iccid}"}
    assert found(line.uid) == {f"Line: {line.uid}"}
    assert found(line.subscriber.uid) == {f"Subscriber: {line.subscriber}"}
    for term in (to_e164(theirs.number), theirs.iccid, theirs.uid, "张三丰", "1709", "lin_", "", "'"):
        assert found(term) == set(), term
    licence = Licence.objects.get(operator=operator)
    assert found(licence.uid) == set(), "support may not open licences"


def test_cards_are_found_by_beginning_imsi_and_batch(
    operator: VirtualOperator, carriers: dict[str, HostCarrier], now: datetime
) -> None:
    batch = given_batch(operator=operator, host_carrier=carriers["unicom"], now=now)
    given_batch(operator=operator, host_carrier=carriers["unicom"], now=now)
    card = SimCard.objects.filter(batch=batch).earliest("iccid")
    client = client_of(Role.SUPPORT, operator, now)

    def hits(term: str) -> int:
        return client.get(reverse(name_of(SimCard, "changelist")), {"q": term}).context["cl"].result_count

    assert [
        hits(card.iccid),
        hits(card.iccid[:19]),
        hits(f"{card.iccid[:6]} {card.iccid[6:]}"),
        hits(card.imsi),
    ] == [1] * 4
    assert hits(batch.uid) == 3
    assert hits("8986") == 6
    assert [hits("smb_nothing"), hits("460"), hits("x")] == [0, 0, 0]


def test_the_trail_is_found_by_thing_person_and_action(
    operator: VirtualOperator, seller: Seller, now: datetime
) -> None:
    line = seller.active_line()
    client = client_of(Role.COMPLIANCE, operator, now)
    page = reverse(name_of(AuditEvent, "changelist"))

    def actions(**query: str) -> set[str]:
        return {event.action for event in client.get(page, query).context["cl"].result_list}

    assert actions(q=line.uid) == {"line.open", "line.activate"}
    assert actions(q="line.open") == {"line.open"}
    assert actions(q="holder.limit") == set(), "defaults of all operators are not this operator's doings"
    assert actions(actor_kind="STAFF") == set()
    assert actions(target_type="line") == {"line.open", "line.activate"}


# --- How things are called ------------------------------------------------------------------------------------------
def test_every_state_has_its_colour() -> None:
    words = {
        getattr(state, "name", state)
        for machine in (DISPUTE, JOB, LINE, NUMBER, ORDER, RANGE, RESERVATION, REVIEW_CASE, SIM, VERIFICATION)
        for state in machine.states
    }
    words |= set(Validity) | set(CheckOutcome) | set(OperatorMode) | {status.name for status in NumberStatus}
    words |= set(AttemptOutcome) | set(CallbackOutcome)
    assert {str(word) for word in words} - set(TONES) == set()


def test_whatever_the_trail_speaks_of_has_a_page() -> None:
    """Target types are named where audit rows are written."""
    written = {
        keyword.value.value
        for path in Path("apps").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "target_type" and isinstance(keyword.value, ast.Constant)
    }
    assert len(written) > 10
    # Sealing keys are made and retired by a command; there is nothing to look at.
    assert written - set(TARGETS) == {"sealing_key"}
    pages = {f"{model._meta.app_label}_{model._meta.model_name}" for model in PAGES}
    assert set(TARGETS.values()) <= pages
    trails = {page.trail for page in PAGES.values() if isinstance(page, TenantAdmin) and page.trail}
    assert trails <= set(TARGETS)


def test_names_are_those_of_the_field() -> None:
    plural = {model.__name__: str(model._meta.verbose_name_plural) for model in PAGES}
    assert plural["SimCard"] == "SIM cards"
    assert plural["SimBatch"] == "SIM batches"
    assert plural["Policy"] == "policies"
    assert plural["ActivationJob"] == "carrier jobs"
    assert not [name for name in plural.values() if name.endswith("ys") or "activation" in name]


def test_texts_of_rows_are_escaped() -> None:
    assert "<b>" not in short_id("<b>_x")
    assert (
        change({"status": "HELD"}, {"status": "FAILED", "reason": "x"}) == "status: HELD → FAILED; reason: x"
    )
    assert change(None, None) == ""


def test_panels_are_for_tenant_pages_only() -> None:
    panel = Panel("Nothing", (), lambda *, actor, row: (), "None.")
    with pytest.raises(NotRegistered):
        add_panel(AuditEvent._meta.apps.get_model("accounts", "AccessToken"), panel)

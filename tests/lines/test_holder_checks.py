"""Which numbers are in a name: told to whom it may be told, and to others nothing at all."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from apps.accounts.models import PartnerApp
from apps.accounts.states import Role
from apps.audit.models import AuditEvent
from apps.core import ratelimit
from apps.core.actor import Actor
from apps.core.errors import Forbidden, NotFound
from apps.lines import selectors, services
from apps.lines.errors import HolderCheckInvalid, HolderCheckReasonMissing
from apps.lines.models import HolderCheck, Line
from apps.lines.services.holder_checks import Question
from apps.operators.models import VirtualOperator
from apps.operators.policies import PolicyKey
from apps.subscribers.models import Subscriber
from apps.subscribers.realname.documents import DocumentType
from apps.subscribers.realname.providers.base import AuthorityAnswer
from apps.subscribers.services import run_due_verifications
from tests.factories.accounts import ApiClient, given_partner_app, given_token, given_user
from tests.factories.operators import given_policy
from tests.factories.provisioning import Seller, given_seller
from tests.factories.reviews import actor_of, given_holder_check, given_staff, question_about
from tests.factories.subscribers import answering, fifteen_digits, given_verification, resident_number
from tests.refusals import refused

pytestmark = pytest.mark.django_db

NAME = "张三丰"


@pytest.fixture
def seller(operator: VirtualOperator, now: datetime) -> Seller:
    return given_seller(operator=operator, now=now)


@pytest.fixture
def partner(partner_app: PartnerApp) -> Actor:
    return actor_of(partner_app)


@pytest.fixture
def person(seller: Seller, partner: Actor, now: datetime) -> Subscriber:
    """With two lines, and just verified for the app."""
    someone = seller.subscriber()
    for _ in range(2):
        seller.active_line(subscriber=someone)
    _verify(someone, partner, now)
    return someone


def _verify(
    someone: Subscriber, actor: Actor, now: datetime, answer: AuthorityAnswer = AuthorityAnswer.MATCH
) -> None:
    given_verification(subscriber=someone, now=now, actor=actor)
    run_due_verifications(clock=lambda: now, providers=answering(answer))


def _number(someone: Subscriber) -> str:
    return someone.documents.get().open_number()


def _ask(actor: Actor, someone: Subscriber, now: datetime, **fields: Any) -> tuple[str, int]:
    check = services.ask_for_holdings(
        actor=actor,
        operator_id=someone.operator_id,
        question=question_about(someone, **fields),
        reason="at the counter",
        now=now,
    )
    return check.status, len(check.line_ids)


def _body(number: str, type: str = "resident_id", **fields: Any) -> dict[str, Any]:
    return {"document": {"type": type, "number": number}, **fields}


# --- The count ------------------------------------------------------------------------------------------------------
def test_the_partner_is_told_how_many_and_four_digits(api: ApiClient, person: Subscriber) -> None:
    answer = api.post("/api/v1/holder-checks", _body(_number(person), name=NAME))

    assert answer.status_code == 201
    body = answer.json()
    assert (body["status"], body["count"]) == ("ANSWERED", 2)
    held = selectors.get_fittings(line_ids=list(Line.objects.values_list("pk", flat=True)))
    assert body["numbers"] == [
        {"item": item, "number": "*******" + str(fittings.number)[-4:]}
        for item, fittings in enumerate(held.values(), start=1)
    ]
    check = HolderCheck.objects.get()
    assert (check.uid, check.subscriber) == (body["id"], person)
    event = AuditEvent.objects.get(action="holder_check.ask")
    assert (event.target_id, event.after) == (check.uid, {"status": "ANSWERED", "count": 2})
    assert _number(person) not in json.dumps([body, event.after])


def test_every_document_of_the_family_finds_the_person(
    partner: Actor, person: Subscriber, now: datetime
) -> None:
    number = _number(person)
    for type, written in (
        (DocumentType.RESIDENT_ID, number.lower()),
        (DocumentType.RESIDENT_ID, fifteen_digits(number)),
        (DocumentType.HOUSEHOLD_REGISTER, number),
        (DocumentType.TEMPORARY_RESIDENT_ID, f" {number} "),
    ):
        check = services.ask_for_holdings(
            actor=partner,
            operator_id=person.operator_id,
            question=Question(document_type=type, document_number=written),
            now=now,
        )
        assert len(check.line_ids) == 2, type


def test_only_what_is_in_the_network_counts(
    seller: Seller, partner: Actor, person: Subscriber, now: datetime
) -> None:
    seller.order(subscriber=person)
    assert _ask(partner, person, now) == ("ANSWERED", 2), "a pending line is not in the network"
    line = Line.objects.filter(status="ACTIVE").earliest("pk")
    seller.done(seller.ask("suspend", line))
    assert _ask(partner, person, now) == ("ANSWERED", 2), "a suspended one is"
    seller.done(seller.ask("terminate", line))
    assert _ask(partner, person, now) == ("ANSWERED", 1)
    other = seller.subscriber()
    seller.done(seller.ask("transfer", Line.objects.get(status="ACTIVE"), subscriber=other.uid))
    assert _ask(partner, person, now) == ("ANSWERED", 0)


# --- To whom --------------------------------------------------------------------------------------------------------
def test_everybody_else_gets_the_same_answer_as_about_a_stranger(
    seller: Seller, api: ApiClient, person: Subscriber, partner: Actor, now: datetime
) -> None:
    unverified = seller.subscriber()
    seller.active_line(subscriber=unverified)
    asked = {
        "nobody knows": _body(resident_number()),
        "verified, but not for this app": _body(_number(unverified)),
        "another name": _body(_number(person), name="李四"),
    }
    shapes = {}
    for why, body in asked.items():
        answer = api.post("/api/v1/holder-checks", body)
        shown = answer.json()
        assert shown.pop("id")
        assert shown.pop("created_at")
        shapes[why] = (answer.status_code, shown)
    assert set(map(str, shapes.values())) == {
        str((201, {"status": "NOT_VERIFIED", "count": None, "numbers": []}))
    }
    assert set(HolderCheck.objects.values_list("subscriber", flat=True)) == {None}
    assert AuditEvent.objects.filter(action="holder_check.ask").count() == 3


def test_they_cost_the_same_queries(
    seller: Seller, person: Subscriber, partner: Actor, now: datetime, django_assert_num_queries: Any
) -> None:
    unverified = seller.subscriber()
    stranger = Question(document_type=DocumentType.RESIDENT_ID, document_number=resident_number())
    for question in (question_about(person), question_about(unverified), stranger):
        with django_assert_num_queries(6):
            services.ask_for_holdings(
                actor=partner, operator_id=seller.operator.pk, question=question, now=now
            )


def test_a_pass_of_yesterday_or_a_failure_since_does_not_do(
    partner: Actor, person: Subscriber, now: datetime
) -> None:
    assert _ask(partner, person, now + timedelta(minutes=1440))[0] == "ANSWERED"
    assert _ask(partner, person, now + timedelta(minutes=1441))[0] == "NOT_VERIFIED"
    _verify(person, partner, now, AuthorityAnswer.DOCUMENT_VOID)
    assert _ask(partner, person, now)[0] == "NOT_VERIFIED"


def test_another_operator_s_lines_are_nobody_s(
    other_api: ApiClient, other_operator: VirtualOperator, person: Subscriber, partner: Actor, now: datetime
) -> None:
    body = other_api.post("/api/v1/holder-checks", _body(_number(person))).json()
    assert (body["status"], body["count"]) == ("NOT_VERIFIED", None)
    with refused(NotFound):
        services.ask_for_holdings(
            actor=partner, operator_id=other_operator.pk, question=question_about(person), now=now
        )


def test_staff_say_why(operator: VirtualOperator, person: Subscriber, now: datetime) -> None:
    support = given_staff(role=Role.SUPPORT, operator=operator, now=now)
    assert _ask(support, person, now + timedelta(days=9)) == ("ANSWERED", 2)
    for reason in ("", "ok"):
        with refused(HolderCheckReasonMissing):
            services.ask_for_holdings(
                actor=support,
                operator_id=operator.pk,
                question=question_about(person),
                reason=reason,
                now=now,
            )
    engineer = given_staff(role=Role.ENGINEER, operator=operator, now=now)
    with refused(Forbidden):
        _ask(engineer, person, now)


# --- How often ------------------------------------------------------------------------------------------------------
@pytest.mark.django_db(transaction=True)
class TestLimits:
    def test_of_the_app(
        self, operator: VirtualOperator, api: ApiClient, other_api: ApiClient, now: datetime
    ) -> None:
        given_policy(key=PolicyKey.HOLDER_CHECKS_PER_HOUR, value=2, now=now, operator=operator)
        answers = [api.post("/api/v1/holder-checks", _body(resident_number())) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [201, 201, 429]
        assert answers[2].json()["code"] == "rate_limited"
        assert answers[2].json()["retryable"] is True
        assert 1 < int(answers[2]["Retry-After"]) <= 1800
        assert HolderCheck.objects.count() == 2

    def test_of_the_document_whoever_asks(
        self, operator: VirtualOperator, api: ApiClient, now: datetime
    ) -> None:
        given_policy(key=PolicyKey.HOLDER_CHECKS_PER_DOCUMENT, value=2, now=now, operator=operator)
        app, _ = given_partner_app(operator=operator, now=now)
        another = ApiClient(given_token(app=app, now=now))
        number = resident_number()
        answers = [
            client.post("/api/v1/holder-checks", _body(number, type))
            for client, type in ((api, "resident_id"), (another, "household_register"), (api, "resident_id"))
        ]
        assert [answer.status_code for answer in answers] == [201, 201, 429]
        assert api.post("/api/v1/holder-checks", _body(resident_number())).status_code == 201

    def test_redis_holds_nobody_in_clear(self, api: ApiClient) -> None:
        number = resident_number()
        api.post("/api/v1/holder-checks", _body(number))
        keys = [key.decode() for key in ratelimit._client().keys("rate:holder-checks:*")]
        assert keys
        assert not [key for key in keys if number in key or number[6:17] in key]

    def test_the_same_key_answers_the_same_once(self, api: ApiClient) -> None:
        body = _body(resident_number())
        first = api.post("/api/v1/holder-checks", body, key="k1")
        again = api.post("/api/v1/holder-checks", body, key="k1")
        assert (again.content, again["Idempotent-Replayed"]) == (first.content, "true")
        assert api.post("/api/v1/holder-checks", _body(resident_number()), key="k1").status_code == 422
        assert api.post("/api/v1/holder-checks", body, key=None).status_code == 400
        assert HolderCheck.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (_body("110105190001010002"), 422, "document_invalid"),
        (_body("C01X00T47", "passport"), 422, "document_invalid"),
        (_body("1" * 41), 400, "validation_error"),
        (_body(resident_number(), "library_card"), 400, "validation_error"),
        ({}, 400, "validation_error"),
        (_body(resident_number(), phone="1"), 400, "unknown_field"),
        (_body(resident_number(), name=""), 400, "validation_error"),
    ],
)
def test_bad_questions(api: ApiClient, body: dict[str, Any], status: int, code: str) -> None:
    answer = api.post("/api/v1/holder-checks", body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert not HolderCheck.objects.exists()


def test_a_number_that_cannot_be_is_said_to_be_so(
    partner: Actor, operator: VirtualOperator, now: datetime
) -> None:
    with refused(HolderCheckInvalid):
        services.ask_for_holdings(
            actor=partner,
            operator_id=operator.pk,
            question=Question(document_type=DocumentType.RESIDENT_ID, document_number="1"),
            now=now,
        )


# --- The page -------------------------------------------------------------------------------------------------------
def test_the_form_answers_with_masked_numbers(
    operator: VirtualOperator, person: Subscriber, now: datetime
) -> None:
    client = Client()
    client.force_login(given_user(role=Role.SUPPORT, operator=operator, now=now))
    form = {
        "operator": operator.pk,
        "document_type": "resident_id",
        "document_number": _number(person),
        "name": NAME,
        "reason": "came to the shop with the card",
    }

    shown: Any = client.post(reverse("admin:lines_holdercheck_add"), form, follow=True)

    text = shown.content.decode()
    last = str(selectors.get_fittings(line_ids=[Line.objects.earliest("pk").pk]).popitem()[1].number)
    assert f"*******{last[-4:]}" in text
    assert last not in text
    assert _number(person) not in text
    assert NAME not in text
    check = HolderCheck.objects.get()
    assert (check.reason, check.asked_by_label) == (form["reason"], shown.wsgi_request.user.username)


def test_who_may_not_ask_finds_no_form(operator: VirtualOperator, now: datetime, person: Subscriber) -> None:
    client = Client()
    client.force_login(given_user(role=Role.ENGINEER, operator=operator, now=now))
    assert client.get(reverse("admin:lines_holdercheck_add")).status_code == 403
    given_holder_check(person=person, now=now)
    assert client.get(reverse("admin:lines_holdercheck_changelist")).status_code == 200

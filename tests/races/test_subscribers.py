"""Races for people: one person registered by many at once, one verification asked for and worked on by many."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

import pytest
from django.db import transaction

from apps.audit.models import AuditEvent
from apps.core.actor import Actor
from apps.core.errors import InvalidTransition
from apps.events.models import OutboxEvent
from apps.operators.models import VirtualOperator
from apps.subscribers import errors, services
from apps.subscribers.models import IdentityDocument, Subscriber, Verification, VerificationCheck
from apps.subscribers.realname.checks import CHECKS, Finding
from apps.subscribers.realname.providers.base import FaceAnswer
from apps.subscribers.states import Channel, CheckOutcome
from tests.factories.accounts import ApiClient
from tests.factories.subscribers import (
    SYSTEM,
    answering,
    given_subscriber,
    given_verification,
    registration,
    resident_number,
)
from tests.threads import in_parallel

pytestmark = pytest.mark.django_db(transaction=True)

ALL_PASSED = tuple(Finding(check.__name__, CheckOutcome.PASS, "ok") for check in CHECKS)


@pytest.mark.parametrize("external_id", ["", "c-1"])
def test_twelve_registrations_of_one_person_make_one_subscriber(
    operator: VirtualOperator, now: datetime, external_id: str
) -> None:
    number = resident_number()

    def register(_: int) -> tuple[int, bool]:
        subscriber, created = services.register_individual(
            actor=SYSTEM,
            operator_id=operator.pk,
            name="张三丰",
            document=services.DocumentInput(type=services.DocumentType.RESIDENT_ID, number=number),
            external_id=external_id,
            now=now,
        )
        return subscriber.pk, created

    answers = in_parallel(12, register)

    assert len({pk for pk, _ in answers}) == 1
    assert sorted(created for _, created in answers) == [False] * 11 + [True]
    assert Subscriber.objects.count() == IdentityDocument.objects.count() == 1
    assert AuditEvent.objects.filter(action="subscriber.register").count() == 1


def test_one_face_session_proves_one_of_many_at_once(operator: VirtualOperator, now: datetime) -> None:
    people = [given_subscriber(operator=operator, now=now) for _ in range(4)]

    def ask(thread: int) -> str:
        try:
            services.request_verification(
                actor=SYSTEM,
                subscriber_uid=people[thread].uid,
                channel=Channel.ONLINE_VIDEO,
                face_session="fs-one",
                now=now,
            )
        except errors.EvidenceUsed as error:
            return error.errors[0].pointer
        return "asked"

    assert sorted(in_parallel(4, ask)) == ["/evidence/face_session"] * 3 + ["asked"]
    assert Verification.objects.count() == 1


def test_the_loser_of_the_race_finds_the_winner_inside_a_bigger_transaction(
    operator: VirtualOperator, now: datetime
) -> None:
    """Everybody has looked and found nothing before anybody writes."""
    number = resident_number()

    def register(thread: int) -> bool:
        with transaction.atomic():
            services.register_individual(
                actor=SYSTEM,
                operator_id=operator.pk,
                name="李四",
                document=services.DocumentInput(
                    type=services.DocumentType.RESIDENT_ID, number=resident_number(str(120_000 + thread))
                ),
                now=now,
            )
            _, created = services.register_individual(
                actor=SYSTEM,
                operator_id=operator.pk,
                name="张三丰",
                document=services.DocumentInput(type=services.DocumentType.RESIDENT_ID, number=number),
                now=now,
            )
            return created

    answers = in_parallel(6, register)

    assert sorted(answers) == [False] * 5 + [True]
    assert Subscriber.objects.count() == 7


def test_twelve_requests_for_one_person_through_the_api(api: ApiClient) -> None:
    number = resident_number()
    token = api.token

    responses = in_parallel(
        12, lambda _: ApiClient(token).post("/api/v1/subscribers", registration(number=number))
    )

    assert sorted(response.status_code for response in responses) == [200] * 11 + [201]
    assert len({response.json()["id"] for response in responses}) == 1
    assert Subscriber.objects.count() == 1


def test_two_people_and_one_external_id(operator: VirtualOperator, now: datetime) -> None:
    def register(_: int) -> str:
        try:
            given_subscriber(operator=operator, now=now, external_id="c-1")
        except errors.ExternalIdTaken:
            return "taken"
        return "registered"

    assert sorted(in_parallel(6, register)) == ["registered"] + ["taken"] * 5
    assert Subscriber.objects.count() == IdentityDocument.objects.count() == 1


def test_twelve_requests_start_one_verification(operator: VirtualOperator, now: datetime) -> None:
    subscriber = given_subscriber(operator=operator, now=now)

    def request(_: int) -> str:
        try:
            given_verification(subscriber=subscriber, now=now)
        except errors.VerificationInProgress:
            return "open"
        return "started"

    assert sorted(in_parallel(12, request)) == ["open"] * 11 + ["started"]
    assert Verification.objects.count() == 1
    assert AuditEvent.objects.filter(action="verification.request").count() == 1


def test_workers_never_get_the_same_verification(operator: VirtualOperator, now: datetime) -> None:
    for _ in range(30):
        given_verification(subscriber=given_subscriber(operator=operator, now=now), now=now)

    claims = in_parallel(6, lambda _: services.claim_due_verifications(now=now, limit=10))

    claimed = [claim.uid for part in claims for claim in part]
    assert len(claimed) == len(set(claimed)) == 30
    assert set(Verification.objects.values_list("attempts", "token")) == {(1, 1)}


def test_six_workers_drain_a_queue_and_each_verification_is_recorded_once(
    operator: VirtualOperator, now: datetime
) -> None:
    for _ in range(60):
        given_verification(subscriber=given_subscriber(operator=operator, now=now), now=now)

    recorded = in_parallel(
        6, lambda _: services.run_due_verifications(clock=lambda: now, providers=answering(), limit=7)
    )

    assert sum(recorded) == 60
    assert set(Verification.objects.values_list("status", "attempts")) == {("PASSED", 1)}
    assert AuditEvent.objects.filter(action="verification.pass").count() == 60
    assert OutboxEvent.objects.filter(type="verification.completed").count() == 60


def test_a_zombie_and_its_successor_record_at_the_same_time(operator: VirtualOperator, now: datetime) -> None:
    """The zombie says passed, its successor failed; whoever comes first, only the successor counts."""
    failed = (Finding(CHECKS[0].__name__, CheckOutcome.FAIL, "dealer_not_allowed"),)
    minute = timedelta(minutes=1)
    for _ in range(10):
        verification = given_verification(subscriber=given_subscriber(operator=operator, now=now), now=now)
        (zombie,) = services.claim_due_verifications(now=now, lease=minute)
        (successor,) = services.claim_due_verifications(now=now + minute, lease=minute)
        work = [(zombie, ALL_PASSED), (successor, failed)]
        random.shuffle(work)

        in_parallel(
            2,
            lambda thread, work=work: services.record_verification(  # type: ignore[misc]
                actor=SYSTEM, claim=work[thread][0], findings=work[thread][1], now=now + minute
            ),
        )

        verification.refresh_from_db()
        assert verification.status == "FAILED"
        assert VerificationCheck.objects.filter(verification=verification).count() == 1
        assert OutboxEvent.objects.filter(subject=verification.uid).count() == 1


def test_one_run_recorded_by_many_counts_once(operator: VirtualOperator, now: datetime) -> None:
    verification = given_verification(subscriber=given_subscriber(operator=operator, now=now), now=now)
    (claim,) = services.claim_due_verifications(now=now)

    recorded = in_parallel(
        6, lambda _: services.record_verification(actor=SYSTEM, claim=claim, findings=ALL_PASSED, now=now)
    )

    assert sum(row is not None for row in recorded) == 1
    assert AuditEvent.objects.filter(action="verification.pass").count() == 1
    assert OutboxEvent.objects.filter(subject=verification.uid).count() == 1


def test_two_reviewers_decide_once(operator: VirtualOperator, operator_admin: Actor, now: datetime) -> None:
    verification = given_verification(subscriber=given_subscriber(operator=operator, now=now), now=now)
    services.run_due_verifications(clock=lambda: now, providers=answering(face=FaceAnswer.UNCERTAIN))

    def decide(thread: int) -> str:
        try:
            services.decide_review(
                actor=operator_admin,
                verification_uid=verification.uid,
                passed=thread % 2 == 0,
                reason="compared both pictures",
                now=now,
            )
        except InvalidTransition:
            return "too late"
        return "decided"

    assert sorted(in_parallel(4, decide)) == ["decided"] + ["too late"] * 3
    assert OutboxEvent.objects.filter(subject=verification.uid).count() == 1


def test_expiry_runs_twice_at_once(operator: VirtualOperator, now: datetime) -> None:
    for _ in range(20):
        given_verification(subscriber=given_subscriber(operator=operator, now=now), now=now)
    services.run_due_verifications(clock=lambda: now, providers=answering())
    later = now + timedelta(days=31)

    expired = in_parallel(4, lambda _: services.expire_verifications(actor=SYSTEM, now=later))

    assert sum(expired) == 20
    assert AuditEvent.objects.filter(action="verification.expire").count() == 20

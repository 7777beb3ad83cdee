"""Verifications that get no answer end some day, and one that is broken costs the others nothing."""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime, timedelta

import pytest

from apps.audit.models import AuditEvent
from apps.events.models import OutboxEvent
from apps.operators.models import VirtualOperator
from apps.operators.policies import PolicyKey
from apps.subscribers import selectors, services
from apps.subscribers.models import IdentityDocument, Subscriber, Verification
from apps.subscribers.realname import words
from apps.subscribers.realname.checks import CHECKS, Finding
from apps.subscribers.realname.providers.base import AuthorityAnswer, FaceAnswer, Providers
from apps.subscribers.services import verify
from apps.subscribers.services.verify import LEASE
from apps.subscribers.states import CheckOutcome, VerificationStatus
from tests.factories.operators import given_policy
from tests.factories.subscribers import (
    SYSTEM,
    answering,
    given_subscriber,
    given_verification,
    resident_number,
)

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
PATIENCE = 48 * HOUR
MOMENT = timedelta(milliseconds=1)


@pytest.fixture
def subscriber(operator: VirtualOperator, now: datetime) -> Subscriber:
    return given_subscriber(operator=operator, now=now)


@pytest.fixture
def verification(subscriber: Subscriber, now: datetime) -> Verification:
    return given_verification(subscriber=subscriber, now=now)


def _run(now: datetime, providers: Providers | None = None) -> int:
    return services.run_due_verifications(clock=lambda: now, providers=providers or answering())


def _events() -> list[str]:
    return [
        event.data["status"]
        for event in OutboxEvent.objects.filter(type="verification.completed").order_by("id")
    ]


class TestPatience:
    @pytest.mark.parametrize(
        ("providers", "code"),
        [
            (answering("provider_refused_us"), "provider_refused_us"),
            (answering(face="timed_out"), "timed_out"),
        ],
    )
    def test_what_is_never_answered_fails_with_the_checks_code(
        self,
        subscriber: Subscriber,
        verification: Verification,
        now: datetime,
        providers: Providers,
        code: str,
    ) -> None:
        _run(now + PATIENCE - MOMENT, providers)
        assert (Verification.objects.get().status, _events()) == ("PENDING", [])

        _run(now + PATIENCE + HOUR, providers)

        stored = Verification.objects.get()
        assert (stored.status, stored.decided_at, stored.fresh_until) == (
            "FAILED",
            now + PATIENCE + HOUR,
            None,
        )
        last = stored.checks.order_by("position").last()
        assert last is not None
        assert (last.outcome, last.code) == ("UNAVAILABLE", code)
        row = AuditEvent.objects.get(action="verification.fail")
        assert (row.before, row.after, row.reason) == ({"status": "PENDING"}, {"status": "FAILED"}, code)
        assert _events() == ["FAILED"]
        state = selectors.get_verification_state(subscriber_id=subscriber.pk, now=now + PATIENCE + HOUR)
        assert (state.standing, state.code) == ("FAILED", code)

    def test_then_the_person_can_ask_again(
        self, subscriber: Subscriber, verification: Verification, now: datetime
    ) -> None:
        later = now + PATIENCE
        _run(later, answering("provider_unavailable"))

        given_verification(subscriber=subscriber, now=later)
        _run(later)

        assert list(Verification.objects.order_by("id").values_list("status", flat=True)) == [
            "FAILED",
            "PASSED",
        ]

    def test_an_answer_counts_however_late_it_is(self, verification: Verification, now: datetime) -> None:
        _run(now + 2 * PATIENCE)

        assert (Verification.objects.get().status, _events()) == ("PASSED", ["PASSED"])

    def test_a_refusal_needs_no_second_reason(self, verification: Verification, now: datetime) -> None:
        _run(now + 2 * PATIENCE, answering(AuthorityAnswer.DOCUMENT_VOID))

        assert AuditEvent.objects.get(action="verification.fail").reason == ""

    def test_how_long_is_each_operators_policy(
        self,
        operator: VirtualOperator,
        other_operator: VirtualOperator,
        verification: Verification,
        now: datetime,
    ) -> None:
        given_verification(subscriber=given_subscriber(operator=other_operator, now=now), now=now)
        given_policy(key=PolicyKey.VERIFICATION_PATIENCE_HOURS, value=1, now=now, operator=operator)

        _run(now + HOUR, answering("provider_unavailable"))

        found = dict(Verification.objects.values_list("operator_id", "status"))
        assert found == {operator.pk: "FAILED", other_operator.pk: "PENDING"}

    def test_an_identity_that_never_opens_ends_too(
        self, subscriber: Subscriber, verification: Verification, now: datetime
    ) -> None:
        Subscriber.objects.update(name_sealed=b"t1\0\0" + bytes(40))

        _run(now + PATIENCE)

        state = selectors.get_verification_state(subscriber_id=subscriber.pk, now=now + PATIENCE)
        assert (state.standing, state.code) == ("FAILED", "identity_unreadable")

    def test_workers_that_died_over_it_count(
        self, subscriber: Subscriber, verification: Verification, now: datetime
    ) -> None:
        providers = answering()
        services.claim_due_verifications(now=now + PATIENCE - LEASE)

        _run(now + PATIENCE, providers)

        assert Verification.objects.get().status == "FAILED"
        assert providers.authority.asked == [], "what killed a worker is not run again"  # type: ignore[attr-defined]
        state = selectors.get_verification_state(subscriber_id=subscriber.pk, now=now + PATIENCE)
        assert (state.standing, state.code) == ("FAILED", "run_not_finished")
        assert _events() == ["FAILED"]

    def test_before_that_a_dead_worker_costs_only_time(
        self, verification: Verification, now: datetime
    ) -> None:
        services.claim_due_verifications(now=now)

        _run(now + LEASE)

        assert Verification.objects.get().status == "PASSED"

    def test_workers_that_were_away_for_long_begin_where_they_stopped(
        self, verification: Verification, now: datetime
    ) -> None:
        _run(now, answering("provider_unavailable"))

        _run(now + 2 * PATIENCE)

        assert Verification.objects.get().status == "PASSED"

    def test_findings_that_are_not_the_whole_list_never_pass(
        self, verification: Verification, now: datetime
    ) -> None:
        (claim,) = services.claim_due_verifications(now=now + PATIENCE)
        some = tuple(Finding(check.__name__, CheckOutcome.PASS, "ok") for check in CHECKS[:-1])

        services.record_verification(actor=SYSTEM, claim=claim, findings=some, now=now + PATIENCE)

        assert Verification.objects.get().status == "FAILED"
        assert AuditEvent.objects.get(action="verification.fail").reason == "checks_incomplete"


class TestAttempts:
    """The other end of patience: how often it is tried."""

    def _use_up(self, now: datetime) -> datetime:
        at = now
        for _ in range(3):
            assert Verification.objects.get().status == "PENDING"
            _run(at, answering("provider_unavailable"))
            at = Verification.objects.get().next_attempt_at or at
        return at

    def test_used_up_it_fails(
        self, operator: VirtualOperator, verification: Verification, now: datetime
    ) -> None:
        given_policy(key=PolicyKey.VERIFICATION_MAX_ATTEMPTS, value=3, now=now, operator=operator)

        at = self._use_up(now)

        assert at - now < HOUR
        stored = Verification.objects.get()
        assert (stored.status, stored.attempts, stored.fresh_until) == ("FAILED", 3, None)
        assert AuditEvent.objects.get(action="verification.fail").reason == "provider_unavailable"
        assert _events() == ["FAILED"]

    def test_or_goes_to_a_person_where_policy_says_so(
        self, operator: VirtualOperator, verification: Verification, now: datetime
    ) -> None:
        given_policy(key=PolicyKey.VERIFICATION_MAX_ATTEMPTS, value=3, now=now, operator=operator)
        given_policy(key=PolicyKey.UNANSWERED_TO_REVIEW, value=True, now=now, operator=operator)

        self._use_up(now)

        stored = Verification.objects.get()
        assert (stored.status, stored.next_attempt_at, stored.fresh_until) == ("REVIEW", None, None)
        assert AuditEvent.objects.get(action="verification.review").reason == "provider_unavailable"
        findings = [(CheckOutcome(check.outcome), check.code) for check in stored.checks.order_by("position")]
        assert words.summary(
            status=VerificationStatus.REVIEW, attempts=stored.attempts, findings=findings
        ) == ("The provider does not answer. Given up after 3 tries; a person decides.")

    @pytest.mark.parametrize(
        ("attempts", "longest"),
        [
            (1, timedelta(seconds=2)),
            (4, timedelta(seconds=16)),
            (40, timedelta(minutes=10)),
            (10_000, timedelta(minutes=10)),
        ],
    )
    def test_back_off_is_a_share_of_what_doubles_up_to_a_cap(self, attempts: int, longest: timedelta) -> None:
        assert verify.back_off(attempts, spread=0.0) == timedelta()
        assert verify.back_off(attempts, spread=0.5) == longest / 2
        assert verify.back_off(attempts, spread=1.0) == longest


class TestLastDays:
    @pytest.mark.parametrize("last_day", [date(9999, 12, 31), date(9999, 12, 30)])
    def test_a_document_until_the_end_of_time_can_be_verified(
        self, operator: VirtualOperator, now: datetime, last_day: date
    ) -> None:
        given_verification(
            subscriber=given_subscriber(operator=operator, now=now, valid_until=last_day), now=now
        )

        assert _run(now) == 1

        stored = Verification.objects.get()
        assert (stored.status, stored.fresh_until) == ("PASSED", now + timedelta(days=30))

    @pytest.mark.parametrize(
        ("last_day", "fresh_until"),
        [
            (date(2090, 12, 19), datetime(2090, 12, 19, 16, tzinfo=UTC)),
            # The pass ends on the document's last day, before that day does.
            (date(2090, 12, 20), datetime(2090, 12, 20, 3, tzinfo=UTC)),
        ],
    )
    def test_the_earlier_of_policy_and_document_counts(
        self, operator: VirtualOperator, last_day: date, fresh_until: datetime
    ) -> None:
        at = datetime(2090, 11, 20, 3, tzinfo=UTC)
        given_verification(
            subscriber=given_subscriber(operator=operator, now=at, valid_until=last_day), now=at
        )

        _run(at)

        assert Verification.objects.get().fresh_until == fresh_until


class TestOneAmongMany:
    def test_one_that_cannot_be_recorded_does_not_lose_the_others_answers(
        self,
        operator: VirtualOperator,
        now: datetime,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        many = [
            given_verification(subscriber=given_subscriber(operator=operator, now=now), now=now)
            for _ in range(5)
        ]
        broken = many[2]
        fresh_until = verify.fresh_until

        def fails_for_one(verification: Verification, *, days: int, now: datetime) -> datetime:
            if verification.pk == broken.pk:
                raise ZeroDivisionError
            return fresh_until(verification, days=days, now=now)

        monkeypatch.setattr(verify, "fresh_until", fails_for_one)
        with caplog.at_level(logging.ERROR):
            assert _run(now) == 4

        found = {row.pk: row for row in Verification.objects.all()}
        assert {pk: row.status for pk, row in found.items()} == {
            row.pk: "PENDING" if row is broken else "PASSED" for row in many
        }
        assert not found[broken.pk].checks.exists(), "undone as a whole"
        (record,) = caplog.records
        assert (record.message, record.verification) == ("verification not recorded", broken.uid)  # type: ignore[attr-defined]
        assert "张三丰" not in caplog.text

        # It keeps its lease, is tried again, and ends when patience does, even if it can never be recorded as passed.
        assert _run(now + LEASE / 2) == 0
        assert _run(now + PATIENCE) == 1
        assert Verification.objects.get(pk=broken.pk).status == "FAILED"


def test_a_doubtful_one_is_completed_by_the_decision_only(
    operator: VirtualOperator, verification: Verification, now: datetime
) -> None:
    _run(now, answering(face=FaceAnswer.UNCERTAIN))

    assert Verification.objects.get().status == "REVIEW"
    assert AuditEvent.objects.filter(action="verification.review").count() == 1
    assert not OutboxEvent.objects.filter(type="verification.completed").exists()


def test_holders_who_cannot_be_opened_are_left_out_and_told_by_id(
    operator: VirtualOperator, now: datetime, caplog: pytest.LogCaptureFixture
) -> None:
    number = resident_number()
    good = given_subscriber(operator=operator, now=now, number=number)
    name_broken, number_broken, without = (given_subscriber(operator=operator, now=now) for _ in range(3))
    Subscriber.objects.filter(pk=name_broken.pk).update(name_sealed=good.name_sealed)
    IdentityDocument.objects.filter(subscriber=number_broken).update(number_sealed=b"k0\0\0" + bytes(40))
    IdentityDocument.objects.filter(subscriber=without).delete()
    asked = [name_broken.pk, good.pk, number_broken.pk, without.pk]

    with caplog.at_level(logging.ERROR):
        found = services.open_identity_for_carrier(actor=SYSTEM, subscriber_ids=asked)

    assert {key: (one.name, one.document_number) for key, one in found.items()} == {
        good.pk: ("张三丰", number)
    }
    opened = [record for record in caplog.records if record.message == "sealed identity does not open"]
    assert {record.subscriber for record in opened} == {name_broken.uid, number_broken.uid}  # type: ignore[attr-defined]
    (summary,) = (record for record in caplog.records if record not in opened)
    assert summary.subscriber_ids == sorted({*asked} - {good.pk})  # type: ignore[attr-defined]
    assert "张三丰" not in caplog.text

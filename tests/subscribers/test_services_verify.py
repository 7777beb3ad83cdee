"""Verifications: asked for, claimed, checked, recorded behind a fence, put off, expired."""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.db import transaction

from apps.audit.models import AuditEvent
from apps.core.actor import Actor, ActorKind
from apps.core.errors import Forbidden, NotFound
from apps.events.models import OutboxEvent
from apps.operators import services as operators
from apps.operators.errors import DealerNotAllowed
from apps.operators.models import VirtualOperator
from apps.operators.policies import PolicyKey
from apps.subscribers import errors, services
from apps.subscribers.models import IdentityDocument, Subscriber, Verification, VerificationCheck
from apps.subscribers.realname.checks import CHECKS, Finding
from apps.subscribers.realname.providers.base import AuthorityAnswer, FaceAnswer, Providers
from apps.subscribers.services.verify import FIRST_BACK_OFF, LONGEST_BACK_OFF, RUN_FOR
from apps.subscribers.states import CheckOutcome
from tests.factories.operators import given_dealer, given_policy
from tests.factories.subscribers import SYSTEM, answering, given_subscriber, given_verification
from tests.refusals import refused
from tests.subscribers.conftest import Nudges

pytestmark = pytest.mark.django_db

NAMES = [check.__name__ for check in CHECKS]
ALL_PASSED = tuple(Finding(name, CheckOutcome.PASS, "ok") for name in NAMES)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def subscriber(operator: VirtualOperator, now: datetime) -> Subscriber:
    return given_subscriber(operator=operator, now=now)


@pytest.fixture
def verification(subscriber: Subscriber, now: datetime) -> Verification:
    return given_verification(subscriber=subscriber, now=now)


def _run(now: datetime, providers: Providers | None = None) -> int:
    return services.run_due_verifications(clock=lambda: now, providers=providers or answering())


def _checks(verification: Verification) -> list[tuple[int, str, str, str]]:
    rows = VerificationCheck.objects.filter(verification=verification).order_by("position")
    return list(rows.values_list("position", "name", "outcome", "code"))


def _traces(verification: Verification) -> tuple[list[str], list[dict[str, str]]]:
    """Audit actions and events about it, oldest first."""
    audited = (
        AuditEvent.objects.filter(target_id=verification.uid).order_by("id").values_list("action", flat=True)
    )
    published = (
        OutboxEvent.objects.filter(subject=verification.uid).order_by("id").values_list("data", flat=True)
    )
    return list(audited), list(published)


class TestRequesting:
    def test_it_waits_and_is_due_at_once(self, subscriber: Subscriber, now: datetime) -> None:
        verification = given_verification(subscriber=subscriber, now=now, face_session="fs-1")

        stored = Verification.objects.get(pk=verification.pk)
        assert (stored.status, stored.attempts, stored.token) == ("PENDING", 0, 0)
        assert (stored.next_attempt_at, stored.lease_until, stored.decided_at, stored.fresh_until) == (
            now,
            None,
            None,
            None,
        )
        assert (stored.channel, stored.face_session, stored.requested_by) == (
            "IN_STORE",
            "fs-1",
            "SYSTEM:tests",
        )
        assert stored.document == IdentityDocument.objects.get()
        assert _traces(verification) == (["verification.request"], [])

    def test_the_nudge_goes_out_after_the_commit(
        self, subscriber: Subscriber, now: datetime, nudges: Nudges, django_capture_on_commit_callbacks: Any
    ) -> None:
        with django_capture_on_commit_callbacks() as callbacks:
            given_verification(subscriber=subscriber, now=now)

        assert nudges() == []
        for callback in callbacks:
            callback()
        assert nudges() == ["subscribers.run_verifications"]

    def test_one_at_a_time(self, subscriber: Subscriber, verification: Verification, now: datetime) -> None:
        with refused(errors.VerificationInProgress):
            given_verification(subscriber=subscriber, now=now)

        assert Verification.objects.count() == 1

    def test_none_while_a_person_has_to_decide(
        self, subscriber: Subscriber, verification: Verification, now: datetime
    ) -> None:
        _run(now, answering(face=FaceAnswer.UNCERTAIN))

        with refused(errors.VerificationInProgress):
            given_verification(subscriber=subscriber, now=now)

    @pytest.mark.parametrize("authority", [AuthorityAnswer.MATCH, AuthorityAnswer.DOCUMENT_VOID])
    def test_again_once_it_is_decided(
        self, subscriber: Subscriber, verification: Verification, now: datetime, authority: AuthorityAnswer
    ) -> None:
        _run(now, answering(authority))

        assert given_verification(subscriber=subscriber, now=now).status == "PENDING"

    def test_through_a_dealer_of_the_operator(self, subscriber: Subscriber, now: datetime) -> None:
        dealer = given_dealer(operator=subscriber.operator, now=now)

        verification = given_verification(subscriber=subscriber, now=now, dealer=dealer.code)

        assert verification.dealer == dealer

    @pytest.mark.parametrize("which", ["unknown", "foreign", "suspended", "ended"])
    def test_not_through_any_other(
        self, subscriber: Subscriber, other_operator: VirtualOperator, now: datetime, which: str
    ) -> None:
        today = now.date()
        code = {
            "unknown": lambda: "nobody",
            "foreign": lambda: given_dealer(operator=other_operator, now=now).code,
            "suspended": lambda: (
                operators.suspend_dealer(
                    actor=SYSTEM,
                    dealer_uid=given_dealer(operator=subscriber.operator, now=now).uid,
                    reason="batch opening",
                    now=now,
                ).code
            ),
            "ended": lambda: (
                given_dealer(
                    operator=subscriber.operator,
                    now=now,
                    valid_from=today - timedelta(days=9),
                    valid_until=today - timedelta(days=2),
                ).code
            ),
        }[which]()

        with refused(DealerNotAllowed):
            given_verification(subscriber=subscriber, now=now, dealer=code)

        assert not Verification.objects.exists()

    def test_a_face_session_where_policy_wants_one(self, subscriber: Subscriber, now: datetime) -> None:
        given_policy(key=PolicyKey.FACE_EVIDENCE_REQUIRED, value=True, now=now, operator=subscriber.operator)

        with refused(errors.EvidenceMissing) as info:
            given_verification(subscriber=subscriber, now=now)

        assert [fault.pointer for fault in info.value.errors] == ["/evidence/face_session"]
        assert not Verification.objects.exists()
        assert given_verification(subscriber=subscriber, now=now, face_session="fs-1").status == "PENDING"

    @pytest.mark.parametrize("session", ["number", "name", "fs\u202e1", "x" * 129])
    def test_a_face_session_is_a_handle_and_nothing_personal(
        self, subscriber: Subscriber, now: datetime, session: str
    ) -> None:
        document = IdentityDocument.objects.get()
        hiding = {"number": f"s-{document.open_number().lower()}", "name": f"s-{subscriber.open_name()}"}

        with refused(errors.TextInvalid):
            given_verification(subscriber=subscriber, now=now, face_session=hiding.get(session, session))

        assert not Verification.objects.exists()

    def test_another_operators_subscriber_does_not_exist(
        self, subscriber: Subscriber, other_operator: VirtualOperator, now: datetime
    ) -> None:
        partner = Actor(ActorKind.PARTNER, "app_x", "an app", other_operator.pk)

        with refused(NotFound):
            given_verification(subscriber=subscriber, now=now, actor=partner)

    def test_staff_need_the_right(self, subscriber: Subscriber, now: datetime) -> None:
        with refused(Forbidden):
            given_verification(
                subscriber=subscriber,
                now=now,
                actor=Actor(ActorKind.STAFF, "usr_x", "x", subscriber.operator_id),
            )


class TestClaiming:
    def test_a_claim_counts_the_attempt_and_takes_a_lease(
        self, verification: Verification, now: datetime
    ) -> None:
        claims = services.claim_due_verifications(now=now, lease=MINUTE)

        stored = Verification.objects.get()
        assert [(claim.uid, claim.token, claim.attempts) for claim in claims] == [(verification.uid, 1, 1)]
        assert (stored.attempts, stored.token, stored.lease_until, stored.status) == (
            1,
            1,
            now + MINUTE,
            "PENDING",
        )

    def test_nobody_else_gets_it_until_the_lease_ends(
        self, verification: Verification, now: datetime
    ) -> None:
        services.claim_due_verifications(now=now, lease=MINUTE)

        assert services.claim_due_verifications(now=now + MINUTE / 2, lease=MINUTE) == []
        assert [
            claim.token for claim in services.claim_due_verifications(now=now + MINUTE, lease=MINUTE)
        ] == [2]

    def test_the_longest_due_come_first_and_no_more_than_the_limit(
        self, operator: VirtualOperator, now: datetime
    ) -> None:
        waiting = [
            given_verification(
                subscriber=given_subscriber(operator=operator, now=now), now=now - MINUTE * age
            )
            for age in (1, 3, 2)
        ]

        claims = services.claim_due_verifications(now=now, limit=2)

        assert [claim.uid for claim in claims] == [waiting[1].uid, waiting[2].uid]

    def test_what_is_not_due_or_decided_is_left_alone(
        self, verification: Verification, now: datetime
    ) -> None:
        assert services.claim_due_verifications(now=now - MINUTE) == []
        _run(now)
        assert services.claim_due_verifications(now=now + MINUTE) == []

    def test_a_claim_prints_nothing_personal(
        self, subscriber: Subscriber, verification: Verification, now: datetime
    ) -> None:
        claims = services.claim_due_verifications(now=now)

        assert claims[0].subject is not None
        assert claims[0].subject.name == "张三丰"
        assert "张三丰" not in repr(claims)
        assert claims[0].subject.document_number not in repr(claims)


class TestRecording:
    @pytest.mark.parametrize(
        ("providers", "status", "last"),
        [
            (answering(), "PASSED", (12, "face_match", "PASS", "ok")),
            (
                answering(AuthorityAnswer.NAME_MISMATCH),
                "FAILED",
                (9, "authority_match", "FAIL", "name_mismatch"),
            ),
            (
                answering(AuthorityAnswer.DOCUMENT_VOID),
                "FAILED",
                (9, "authority_match", "FAIL", "document_void"),
            ),
            (
                answering(AuthorityAnswer.NOT_FOUND),
                "FAILED",
                (9, "authority_match", "FAIL", "document_unknown"),
            ),
            (answering(face=FaceAnswer.MISMATCH), "FAILED", (12, "face_match", "FAIL", "face_mismatch")),
            (answering(face=FaceAnswer.UNCERTAIN), "REVIEW", (12, "face_match", "REVIEW", "face_uncertain")),
        ],
    )
    def test_what_the_providers_say_decides(
        self,
        verification: Verification,
        now: datetime,
        providers: Providers,
        status: str,
        last: tuple[int, str, str, str],
    ) -> None:
        assert _run(now, providers) == 1

        stored = Verification.objects.get()
        assert stored.status == status
        assert (stored.next_attempt_at, stored.lease_until) == (None, None)
        assert stored.decided_at == (None if status == "REVIEW" else now)
        assert stored.fresh_until == (now + timedelta(days=30) if status == "PASSED" else None)
        found = _checks(verification)
        assert [row[1] for row in found] == NAMES[: len(found)]
        assert [row[2:] for row in found[:-1]] == [("PASS", "ok")] * (len(found) - 1)
        assert found[-1] == last
        verb = {"PASSED": "pass", "FAILED": "fail", "REVIEW": "review"}[status]
        assert _traces(verification) == (
            ["verification.request", f"verification.{verb}"],
            []
            if status == "REVIEW"  # nothing is completed before somebody has decided
            else [{"subscriber": verification.subscriber.uid, "before": "PENDING", "status": status}],
        )

    @pytest.mark.parametrize(
        "providers", [answering("provider_unavailable"), answering(face="provider_unavailable")]
    )
    def test_no_answer_puts_it_off_and_passes_nothing(
        self, verification: Verification, now: datetime, providers: Providers
    ) -> None:
        _run(now, providers)

        stored = Verification.objects.get()
        assert stored.status == "PENDING"
        assert stored.lease_until is None
        assert stored.next_attempt_at is not None
        assert now <= stored.next_attempt_at <= now + FIRST_BACK_OFF
        assert _checks(verification)[-1][2:] == ("UNAVAILABLE", "provider_unavailable")
        assert _traces(verification) == (["verification.request"], []), "no step was taken"

    def test_it_never_passes_by_waiting(self, verification: Verification, now: datetime) -> None:
        at = now
        for attempt in range(1, 15):
            _run(at, answering("provider_unavailable"))
            stored = Verification.objects.get()
            assert (stored.status, stored.attempts) == ("PENDING", attempt)
            assert stored.next_attempt_at is not None
            assert at <= stored.next_attempt_at <= at + LONGEST_BACK_OFF
            at = stored.next_attempt_at

    def test_an_answer_later_replaces_what_was_recorded(
        self, verification: Verification, now: datetime
    ) -> None:
        _run(now, answering(face="provider_unavailable"))
        assert len(_checks(verification)) == 11

        _run(now + MINUTE, answering(AuthorityAnswer.NAME_MISMATCH))

        assert Verification.objects.get().status == "FAILED"
        assert [row[1:] for row in _checks(verification)][8:] == [
            ("authority_match", "FAIL", "name_mismatch")
        ]

    def test_the_checks_run_again_on_the_day_of_the_answer(
        self, subscriber: Subscriber, now: datetime
    ) -> None:
        dealer = given_dealer(operator=subscriber.operator, now=now)
        verification = given_verification(subscriber=subscriber, now=now, dealer=dealer.uid)
        operators.suspend_dealer(actor=SYSTEM, dealer_uid=dealer.uid, reason="batch opening", now=now)
        providers = answering()

        _run(now, providers)

        assert Verification.objects.get().status == "FAILED"
        assert _checks(verification) == [(1, "dealer_allowed", "FAIL", "dealer_not_allowed")]
        assert providers.authority.asked == []  # type: ignore[attr-defined]

    def test_a_pass_is_no_fresher_than_the_document(self, operator: VirtualOperator, now: datetime) -> None:
        at = datetime(2090, 11, 20, 3, tzinfo=UTC)
        subscriber = given_subscriber(operator=operator, now=at, valid_until=date(2090, 11, 24))
        given_verification(subscriber=subscriber, now=at)

        _run(at)

        # Midnight in China, at the end of the document's last day.
        assert Verification.objects.get().fresh_until == datetime(2090, 11, 24, 16, tzinfo=UTC)

    def test_a_zombie_changes_nothing(
        self, verification: Verification, now: datetime, caplog: pytest.LogCaptureFixture
    ) -> None:
        (old,) = services.claim_due_verifications(now=now, lease=MINUTE)
        (new,) = services.claim_due_verifications(now=now + MINUTE, lease=MINUTE)
        before = Verification.objects.values().get()

        with caplog.at_level(logging.WARNING):
            recorded = services.record_verification(
                actor=SYSTEM, claim=old, findings=ALL_PASSED, now=now + MINUTE
            )

        assert recorded is None
        assert Verification.objects.values().get() == before
        assert _checks(verification) == []
        assert _traces(verification) == (["verification.request"], [])
        assert [record.message for record in caplog.records] == ["verification not recorded: fenced"]

        failed = (Finding(NAMES[0], CheckOutcome.FAIL, "dealer_not_allowed"),)
        services.record_verification(actor=SYSTEM, claim=new, findings=failed, now=now + MINUTE)
        assert Verification.objects.get().status == "FAILED"

    def test_what_is_decided_stays_decided(self, verification: Verification, now: datetime) -> None:
        (claim,) = services.claim_due_verifications(now=now)
        failed = (Finding(NAMES[0], CheckOutcome.FAIL, "dealer_not_allowed"),)
        services.record_verification(actor=SYSTEM, claim=claim, findings=failed, now=now)

        assert services.record_verification(actor=SYSTEM, claim=claim, findings=ALL_PASSED, now=now) is None
        assert Verification.objects.get().status == "FAILED"
        assert len(_checks(verification)) == 1

    def test_an_identity_that_does_not_open_holds_back(
        self, subscriber: Subscriber, verification: Verification, now: datetime
    ) -> None:
        Subscriber.objects.update(name_sealed=b"t1\0\0" + bytes(40))
        providers = answering()

        _run(now, providers)

        assert Verification.objects.get().status == "PENDING"
        assert _checks(verification) == [(1, "identity", "UNAVAILABLE", "identity_unreadable")]
        assert providers.authority.asked == []  # type: ignore[attr-defined]

    def test_the_providers_are_never_called_inside_a_transaction(
        self, verification: Verification, now: datetime
    ) -> None:
        claims = services.claim_due_verifications(now=now)

        with pytest.raises(RuntimeError, match="must not run inside a transaction"), transaction.atomic():
            services.run_checks(claims=claims, providers=answering())


class TestDraining:
    def test_many_at_once_of_several_operators(
        self, operator: VirtualOperator, other_operator: VirtualOperator, now: datetime
    ) -> None:
        for number in range(40):
            owner = other_operator if number % 3 == 0 else operator
            given_verification(subscriber=given_subscriber(operator=owner, now=now), now=now)

        assert _run(now) == 40
        assert set(Verification.objects.values_list("status", "attempts")) == {("PASSED", 1)}

    def test_rules_are_each_operators_own(
        self, operator: VirtualOperator, other_operator: VirtualOperator, now: datetime
    ) -> None:
        mine = given_verification(subscriber=given_subscriber(operator=operator, now=now), now=now)
        given_verification(subscriber=given_subscriber(operator=other_operator, now=now), now=now)
        given_policy(key=PolicyKey.VERIFICATION_FRESH_DAYS, value=7, now=now, operator=operator)

        _run(now)

        fresh = {row.pk == mine.pk: row.fresh_until for row in Verification.objects.all()}
        assert fresh == {True: now + timedelta(days=7), False: now + timedelta(days=30)}

    def test_when_time_is_up_the_rest_gets_a_nudge(
        self, operator: VirtualOperator, now: datetime, nudges: Nudges
    ) -> None:
        for _ in range(3):
            given_verification(subscriber=given_subscriber(operator=operator, now=now), now=now)
        # Start, claim, record, look at the clock: time is up after the first.
        moments = iter([now, now, now, now + RUN_FOR + timedelta(seconds=1)])

        assert (
            services.run_due_verifications(clock=lambda: next(moments), providers=answering(), limit=1) == 1
        )

        assert Verification.objects.filter(status="PENDING").count() == 2
        assert nudges() == ["subscribers.run_verifications"]

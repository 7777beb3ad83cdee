"""Staff decisions on doubtful verifications, and identities in clear."""

from __future__ import annotations

import dataclasses
from datetime import UTC, date, datetime, timedelta

import pytest

from apps.accounts.actors import actor_of_user
from apps.accounts.states import Role
from apps.audit.models import AuditEvent
from apps.core.actor import Actor, ActorKind
from apps.core.errors import DomainError, Forbidden, InvalidTransition, NotFound
from apps.core.sealing import SealBroken
from apps.events.models import OutboxEvent
from apps.operators.models import VirtualOperator
from apps.subscribers import errors, services
from apps.subscribers.models import IdentityDocument, Subscriber, Verification
from apps.subscribers.realname.providers.base import FaceAnswer
from tests.factories.accounts import given_user
from tests.factories.subscribers import (
    SYSTEM,
    answering,
    given_subscriber,
    given_verification,
    given_verified_subscriber,
    resident_number,
)
from tests.refusals import refused

pytestmark = pytest.mark.django_db

REASON = "compared both pictures on screen"


@pytest.fixture
def reviewer(operator: VirtualOperator, now: datetime) -> Actor:
    return actor_of_user(given_user(role=Role.COMPLIANCE, operator=operator, now=now))


def _in_review(
    operator: VirtualOperator, now: datetime, *, entered_by: Actor = SYSTEM, requested_by: Actor = SYSTEM
) -> Verification:
    subscriber = given_subscriber(operator=operator, now=now, actor=entered_by)
    verification = given_verification(subscriber=subscriber, now=now, actor=requested_by)
    services.run_due_verifications(clock=lambda: now, providers=answering(face=FaceAnswer.UNCERTAIN))
    return verification


def _status() -> str:
    return Verification.objects.get().status


class TestReview:
    @pytest.mark.parametrize(
        ("passed", "status", "verb"), [(True, "PASSED", "pass"), (False, "FAILED", "fail")]
    )
    def test_a_person_decides(
        self, operator: VirtualOperator, reviewer: Actor, now: datetime, passed: bool, status: str, verb: str
    ) -> None:
        verification = _in_review(operator, now)
        later = now + timedelta(hours=1)
        reviewer = dataclasses.replace(reviewer, request_id="req-1", trace_id="ab" * 16)

        services.decide_review(
            actor=reviewer, verification_uid=verification.uid, passed=passed, reason=REASON, now=later
        )

        stored = Verification.objects.get()
        assert (stored.status, stored.decided_at) == (status, later)
        assert stored.fresh_until == (later + timedelta(days=30) if passed else None)
        audited = AuditEvent.objects.get(action=f"verification.{verb}")
        assert (audited.actor_id, audited.reason) == (reviewer.id, REASON)
        assert (audited.before, audited.after) == ({"status": "REVIEW"}, {"status": status})
        published = OutboxEvent.objects.get(subject=verification.uid)
        assert (published.type, published.data["before"], published.data["status"]) == (
            "verification.completed",
            "REVIEW",
            status,
        )
        assert (published.request_id, published.trace_id) == ("req-1", "ab" * 16)

    @pytest.mark.parametrize("did", ["entered", "requested"])
    def test_nobody_decides_on_what_they_entered(
        self, operator: VirtualOperator, operator_admin: Actor, reviewer: Actor, now: datetime, did: str
    ) -> None:
        verification = _in_review(
            operator,
            now,
            entered_by=operator_admin if did == "entered" else SYSTEM,
            requested_by=operator_admin if did == "requested" else SYSTEM,
        )

        with refused(errors.ReviewNeedsSecondPerson):
            services.decide_review(
                actor=operator_admin, verification_uid=verification.uid, passed=True, reason=REASON, now=now
            )
        assert _status() == "REVIEW"
        assert not AuditEvent.objects.filter(action="verification.pass").exists()

        services.decide_review(
            actor=reviewer, verification_uid=verification.uid, passed=True, reason=REASON, now=now
        )
        assert _status() == "PASSED"

    def test_nor_without_the_right(self, operator: VirtualOperator, now: datetime) -> None:
        verification = _in_review(operator, now)
        support = actor_of_user(given_user(role=Role.SUPPORT, operator=operator, now=now))

        for actor in (support, SYSTEM):
            with refused(Forbidden):
                services.decide_review(
                    actor=actor, verification_uid=verification.uid, passed=True, reason=REASON, now=now
                )
        assert _status() == "REVIEW"

    @pytest.mark.parametrize("reason", ["", "   ", "ok", "x" * 501, "because\u202eof this", "\0" * 9])
    def test_nor_without_a_reason(
        self, operator: VirtualOperator, reviewer: Actor, now: datetime, reason: str
    ) -> None:
        verification = _in_review(operator, now)

        with refused(errors.ReasonMissing):
            services.decide_review(
                actor=reviewer, verification_uid=verification.uid, passed=True, reason=reason, now=now
            )
        assert _status() == "REVIEW"

    def test_nor_at_another_operator(
        self, operator: VirtualOperator, other_operator: VirtualOperator, now: datetime
    ) -> None:
        verification = _in_review(operator, now)
        stranger = actor_of_user(given_user(role=Role.COMPLIANCE, operator=other_operator, now=now))

        with refused(NotFound):
            services.decide_review(
                actor=stranger, verification_uid=verification.uid, passed=True, reason=REASON, now=now
            )
        assert _status() == "REVIEW"

    @pytest.mark.parametrize("status", ["PENDING", "PASSED"])
    def test_nor_when_there_is_nothing_to_decide(
        self, operator: VirtualOperator, reviewer: Actor, now: datetime, status: str
    ) -> None:
        verification = given_verification(subscriber=given_subscriber(operator=operator, now=now), now=now)
        if status == "PASSED":
            services.run_due_verifications(clock=lambda: now, providers=answering())
        written = AuditEvent.objects.count(), OutboxEvent.objects.count()

        with refused(InvalidTransition):
            services.decide_review(
                actor=reviewer, verification_uid=verification.uid, passed=False, reason=REASON, now=now
            )
        assert _status() == status
        assert (AuditEvent.objects.count(), OutboxEvent.objects.count()) == written

    def test_a_pass_by_hand_is_no_fresher_than_the_document_either(
        self, operator: VirtualOperator, reviewer: Actor
    ) -> None:
        at = datetime(2090, 11, 20, 3, tzinfo=UTC)
        subscriber = given_subscriber(operator=operator, now=at, valid_until=date(2090, 11, 24))
        verification = given_verification(subscriber=subscriber, now=at)
        services.run_due_verifications(clock=lambda: at, providers=answering(face=FaceAnswer.UNCERTAIN))

        services.decide_review(
            actor=reviewer, verification_uid=verification.uid, passed=True, reason=REASON, now=at
        )

        assert Verification.objects.get().fresh_until == datetime(2090, 11, 24, 16, tzinfo=UTC)


class TestReveal:
    NUMBER = resident_number("110103")

    @pytest.fixture
    def document(self, operator: VirtualOperator, now: datetime) -> IdentityDocument:
        given_subscriber(operator=operator, now=now, name="阿卜杜拉•买买提", number=self.NUMBER)
        return IdentityDocument.objects.get()

    def test_with_right_and_reason_and_a_trace(
        self, document: IdentityDocument, reviewer: Actor, now: datetime
    ) -> None:
        identity = services.reveal_document(
            actor=reviewer, document_uid=document.uid, reason="police request 2026/17", now=now
        )

        assert (identity.name, identity.document_type, identity.document_number) == (
            "阿卜杜拉•买买提",
            "resident_id",
            self.NUMBER,
        )
        assert self.NUMBER not in repr(identity)
        row = AuditEvent.objects.get(action="identity.reveal")
        assert (row.actor_id, row.target_id, row.reason) == (
            reviewer.id,
            document.uid,
            "police request 2026/17",
        )
        assert self.NUMBER not in f"{row.before}{row.after}{row.reason}"

    def test_a_number_in_the_reason_is_blotted_out(
        self, document: IdentityDocument, reviewer: Actor, now: datetime
    ) -> None:
        services.reveal_document(
            actor=reviewer, document_uid=document.uid, reason=f"holder of {self.NUMBER} called", now=now
        )

        assert AuditEvent.objects.get(action="identity.reveal").reason == "holder of [personal] called"

    def _refused(
        self, error: type[DomainError], document: IdentityDocument, actor: Actor, reason: str, now: datetime
    ) -> None:
        with refused(error):
            services.reveal_document(actor=actor, document_uid=document.uid, reason=reason, now=now)
        assert not AuditEvent.objects.filter(action="identity.reveal").exists()

    def test_not_without_the_right(
        self, document: IdentityDocument, operator: VirtualOperator, now: datetime
    ) -> None:
        support = actor_of_user(given_user(role=Role.SUPPORT, operator=operator, now=now))
        partner = Actor(
            ActorKind.PARTNER, "app_x", "x", operator.pk, capabilities=frozenset({"subscribers:read"})
        )

        self._refused(Forbidden, document, support, REASON, now)
        self._refused(Forbidden, document, partner, REASON, now)

    def test_not_without_a_reason(self, document: IdentityDocument, reviewer: Actor, now: datetime) -> None:
        self._refused(errors.ReasonMissing, document, reviewer, " ", now)

    def test_not_at_another_operator(
        self, document: IdentityDocument, other_operator: VirtualOperator, now: datetime
    ) -> None:
        stranger = actor_of_user(given_user(role=Role.COMPLIANCE, operator=other_operator, now=now))

        self._refused(NotFound, document, stranger, REASON, now)

    def test_a_tampered_row_shows_nothing(
        self, document: IdentityDocument, reviewer: Actor, now: datetime
    ) -> None:
        given_subscriber(operator=document.operator, now=now)
        other = IdentityDocument.objects.exclude(pk=document.pk).get()
        IdentityDocument.objects.filter(pk=document.pk).update(number_sealed=other.number_sealed)

        with pytest.raises(SealBroken):
            services.reveal_document(actor=reviewer, document_uid=document.uid, reason=REASON, now=now)


class TestOpeningForTheCarrier:
    def test_many_in_one_query(
        self,
        operator: VirtualOperator,
        other_operator: VirtualOperator,
        now: datetime,
        django_assert_num_queries: object,
    ) -> None:
        numbers = [resident_number() for _ in range(3)]
        rows = [
            given_subscriber(operator=operator, now=now, name="阿卜杜拉•买买提", number=number)
            for number in numbers
        ]
        foreign = given_subscriber(operator=other_operator, now=now)
        actor = Actor.system("provisioning", operator_id=operator.pk)

        with django_assert_num_queries(1):  # type: ignore[operator]
            found = services.open_identity_for_carrier(
                actor=actor, subscriber_ids=[*(row.pk for row in rows), foreign.pk]
            )

        assert {key: (one.name, one.document_type, one.document_number) for key, one in found.items()} == {
            row.pk: ("阿卜杜拉·买买提", "resident_id", number)
            for row, number in zip(rows, numbers, strict=True)
        }
        assert not any(number in repr(found) for number in numbers)

    def test_nobody_asked_for_nobody_opened(self) -> None:
        assert services.open_identity_for_carrier(actor=SYSTEM, subscriber_ids=[]) == {}


def test_the_factory_verifies(operator: VirtualOperator, now: datetime) -> None:
    subscriber = given_verified_subscriber(operator=operator, now=now)

    assert isinstance(subscriber, Subscriber)
    assert _status() == "PASSED"

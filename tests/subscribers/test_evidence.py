"""What shows that somebody was there: brought once, new, and the holder's own where it has to be."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.db import IntegrityError, transaction

from apps.accounts.states import Role
from apps.core.actor import Actor
from apps.operators.calendar import china_date
from apps.operators.models import VirtualOperator
from apps.operators.policies import PolicyKey
from apps.subscribers import errors, services
from apps.subscribers.models import IdentityImage, Subscriber, Verification
from apps.subscribers.realname import checks
from apps.subscribers.realname.providers.base import AuthorityAnswer, FaceAnswer
from tests.factories.operators import given_policy
from tests.factories.reviews import REASON, given_doubt, given_failure, given_staff
from tests.factories.subscribers import (
    SYSTEM,
    answering,
    given_demand,
    given_minor,
    given_notices,
    given_subscriber,
    given_verification,
    somebody,
)
from tests.refusals import refused

pytestmark = pytest.mark.django_db

MOMENT = timedelta(seconds=1)
HOUR = timedelta(hours=1)


def _run(now: datetime) -> None:
    services.run_due_verifications(clock=lambda: now, providers=answering())


def _photo(subscriber: Subscriber, at: datetime, *, by: str = "SYSTEM:tests") -> IdentityImage:
    return IdentityImage.objects.create(
        operator_id=subscriber.operator_id,
        subscriber=subscriber,
        kind="PERSON",
        storage_name=f"picture-{IdentityImage.objects.count()}",
        key_sealed=b"sealed",
        sha256=b"0" * 32,
        width=1,
        height=1,
        uploaded_by=by,
        created_at=at,
    )


class TestOnce:
    def test_a_face_session_shows_one_person_once(self, operator: VirtualOperator, now: datetime) -> None:
        first = given_subscriber(operator=operator, now=now)
        given_verification(subscriber=first, now=now, face_session="fs-1")
        _run(now)
        for subscriber in (first, given_subscriber(operator=operator, now=now)):
            with refused(errors.EvidenceUsed) as error:
                given_verification(subscriber=subscriber, now=now + HOUR, face_session="fs-1")
            assert [fault.pointer for fault in error.value.errors] == ["/evidence/face_session"]
        assert Verification.objects.count() == 1

    def test_at_another_operator_it_is_another(
        self, operator: VirtualOperator, other_operator: VirtualOperator, now: datetime
    ) -> None:
        for each in (operator, other_operator):
            given_verification(
                subscriber=given_subscriber(operator=each, now=now), now=now, face_session="fs-1"
            )
        assert Verification.objects.count() == 2

    def test_so_does_a_photo(self, operator: VirtualOperator, now: datetime) -> None:
        subscriber = given_subscriber(operator=operator, now=now)
        photo = _photo(subscriber, now)
        given_verification(subscriber=subscriber, now=now, photo=photo.uid, face_session="fs-1")
        services.run_due_verifications(clock=lambda: now, providers=answering(AuthorityAnswer.NAME_MISMATCH))
        with refused(errors.EvidenceUsed) as error:
            given_verification(subscriber=subscriber, now=now, photo=photo.uid, face_session="fs-2")
        assert [fault.pointer for fault in error.value.errors] == ["/evidence/photo"]

    def test_the_database_keeps_two_at_once_apart(self, operator: VirtualOperator, now: datetime) -> None:
        used = given_verification(
            subscriber=given_subscriber(operator=operator, now=now), now=now, face_session="fs-1"
        )
        other = given_verification(
            subscriber=given_subscriber(operator=operator, now=now), now=now, face_session="fs-2"
        )
        with pytest.raises(IntegrityError, match="verification_face_session"), transaction.atomic():
            Verification.objects.filter(pk=other.pk).update(face_session=used.face_session)

    def test_a_photo_of_today(self, operator: VirtualOperator, now: datetime) -> None:
        given_policy(key=PolicyKey.PHOTO_MAX_HOURS, value=2, now=now, operator=operator)
        subscriber = given_subscriber(operator=operator, now=now)
        old, new = _photo(subscriber, now - 2 * HOUR - MOMENT), _photo(subscriber, now - 2 * HOUR)
        with refused(errors.PhotoNotUsable):
            given_verification(subscriber=subscriber, now=now, photo=old.uid)
        assert given_verification(subscriber=subscriber, now=now, photo=new.uid).photo == new

    def test_a_photo_taken_since_it_was_demanded(self, operator: VirtualOperator, now: datetime) -> None:
        given_notices(now=now)
        subscriber = given_subscriber(operator=operator, now=now)
        before, since = _photo(subscriber, now), _photo(subscriber, now + 2 * MOMENT)
        given_demand(subscriber=subscriber, now=now + MOMENT)
        with refused(errors.PhotoNotUsable):
            given_verification(subscriber=subscriber, now=now + HOUR, photo=before.uid)
        given_verification(subscriber=subscriber, now=now + HOUR, photo=since.uid)


class TestDemands:
    def test_a_proxy_does_not_meet_one(self, operator: VirtualOperator, now: datetime) -> None:
        given_notices(now=now)
        subscriber = given_subscriber(operator=operator, now=now)
        demand = given_demand(subscriber=subscriber, now=now)
        given_verification(subscriber=subscriber, now=now + HOUR, proxy=somebody())
        _run(now + HOUR)
        assert subscriber.verifications.get().status == "PASSED"
        # Nor when the next step looks whether anybody has passed.
        services.take_due_steps(actor=SYSTEM, now=now + 400 * HOUR)
        demand.refresh_from_db()
        assert demand.status == "ONE_WAY"
        given_verification(subscriber=subscriber, now=now + 401 * HOUR)
        _run(now + 401 * HOUR)
        demand.refresh_from_db()
        assert demand.status == "PASSED"

    def test_evidence_from_before_does_not_meet_one(self, operator: VirtualOperator, now: datetime) -> None:
        given_notices(now=now)
        first, second = (given_staff(role=Role.COMPLIANCE, operator=operator, now=now) for _ in range(2))
        failed = given_failure(operator=operator, now=now)
        demand = given_demand(subscriber=failed.subscriber, now=now + MOMENT)
        later = now + HOUR
        case = services.propose_override(actor=first, verification_uid=failed.uid, reason=REASON, now=later)
        services.claim_case(actor=second, case_uid=case.uid, now=later)
        rerun = services.decide_override(
            actor=second, case_uid=case.uid, accepted=True, reason=REASON, now=later
        ).rerun
        assert rerun is not None
        assert (rerun.evidence_at, rerun.again_of) == (now, failed)
        _run(later)
        rerun.refresh_from_db()
        demand.refresh_from_db()
        assert (rerun.status, demand.status) == ("PASSED", "WARNED")


class TestReviews:
    @pytest.fixture
    def officer(self, operator: VirtualOperator, now: datetime) -> Actor:
        return given_staff(role=Role.COMPLIANCE, operator=operator, now=now)

    def _decide(self, check: Verification, officer: Actor, now: datetime) -> Verification:
        return services.decide_review(
            actor=officer, verification_uid=check.uid, passed=True, reason=REASON, now=now
        )

    def test_what_nobody_answered_does_not_pass(
        self, operator: VirtualOperator, officer: Actor, now: datetime
    ) -> None:
        given_policy(key=PolicyKey.UNANSWERED_TO_REVIEW, value=True, now=now, operator=operator)
        given_policy(key=PolicyKey.VERIFICATION_MAX_ATTEMPTS, value=1, now=now, operator=operator)
        check = given_verification(subscriber=given_subscriber(operator=operator, now=now), now=now)
        services.run_due_verifications(clock=lambda: now, providers=answering(face="provider_unavailable"))
        check.refresh_from_db()
        assert check.status == "REVIEW"
        with refused(errors.ChecksUnanswered):
            self._decide(check, officer, now)
        # Nor where a check was never reached.
        check.checks.filter(outcome="UNAVAILABLE").delete()
        with refused(errors.ChecksUnanswered):
            self._decide(check, officer, now)

    def test_nor_a_document_that_has_ended_meanwhile(
        self, operator: VirtualOperator, officer: Actor, now: datetime
    ) -> None:
        last_day = china_date(now) + timedelta(days=1)
        person = given_subscriber(operator=operator, now=now, valid_until=last_day)
        check = given_doubt(operator=operator, now=now, subscriber=person).verification
        with refused(errors.DocumentExpired):
            self._decide(check, officer, now + timedelta(days=3))
        assert self._decide(check, officer, now).status == "PASSED"

    def test_not_by_who_has_recorded_whoever_stands_for_the_person(
        self, operator: VirtualOperator, officer: Actor, now: datetime
    ) -> None:
        minor = given_minor(operator=operator, now=now)
        minor.representatives.update(recorded_by=f"STAFF:{officer.id}")
        case = given_doubt(operator=operator, now=now, subscriber=minor)
        with refused(errors.ReviewNeedsSecondPerson):
            services.claim_case(actor=officer, case_uid=case.uid, now=now)

    def test_not_by_who_has_brought_a_picture(
        self, operator: VirtualOperator, officer: Actor, now: datetime
    ) -> None:
        case = given_doubt(operator=operator, now=now)
        _photo(case.verification.subscriber, now, by=f"STAFF:{officer.id}")
        with refused(errors.ReviewNeedsSecondPerson):
            services.claim_case(actor=officer, case_uid=case.uid, now=now)

    def test_not_by_who_asked_for_the_check_that_was_overruled(
        self, operator: VirtualOperator, operator_admin: Actor, now: datetime
    ) -> None:
        first, second = (given_staff(role=Role.COMPLIANCE, operator=operator, now=now) for _ in range(2))
        failed = given_failure(operator=operator, now=now, requested_by=operator_admin)
        case = services.propose_override(actor=first, verification_uid=failed.uid, reason=REASON, now=now)
        services.claim_case(actor=second, case_uid=case.uid, now=now)
        rerun = services.decide_override(
            actor=second, case_uid=case.uid, accepted=True, reason=REASON, now=now
        ).rerun
        assert rerun is not None
        services.run_due_verifications(clock=lambda: now, providers=answering(face=FaceAnswer.UNCERTAIN))
        with refused(errors.ReviewNeedsSecondPerson):
            self._decide(rerun, operator_admin, now)


class TestWhoStandsForThem:
    def test_a_pass_ends_with_their_document(self, operator: VirtualOperator, now: datetime) -> None:
        last_day = china_date(now) + timedelta(days=2)
        minor = given_minor(operator=operator, now=now, guardian=somebody(valid_until=last_day))
        given_verification(subscriber=minor, now=now)
        _run(now)
        check = minor.verifications.get()
        assert check.status == "PASSED"
        assert check.fresh_until is not None
        assert china_date(check.fresh_until - MOMENT) == last_day
        assert china_date(check.fresh_until) == last_day + timedelta(days=1)

    def test_an_overruling_needs_them_still(self, operator: VirtualOperator, now: datetime) -> None:
        first, second = (given_staff(role=Role.COMPLIANCE, operator=operator, now=now) for _ in range(2))
        failed = given_failure(operator=operator, now=now)
        minor = given_minor(operator=operator, now=now)
        guardian = minor.representatives.get()
        Verification.objects.filter(pk=failed.pk).update(representative=guardian)
        case = services.propose_override(actor=first, verification_uid=failed.uid, reason=REASON, now=now)
        services.claim_case(actor=second, case_uid=case.uid, now=now)
        guardian.end(now=now)
        with refused(errors.OverrideOvertaken):
            services.decide_override(actor=second, case_uid=case.uid, accepted=True, reason=REASON, now=now)

    def test_every_attempt_is_one_question_about_them(self, operator: VirtualOperator, now: datetime) -> None:
        minor = given_minor(operator=operator, now=now)
        check = given_verification(subscriber=minor, now=now)
        providers = answering()
        [claim] = services.claim_due_verifications(now=now)
        assert claim.subject is not None
        checks.run(claim.subject, providers)
        asked = [each["request_id"] for each in providers.authority.asked]  # type: ignore[attr-defined]
        assert asked == [f"{check.uid}-1", f"{check.uid}-guardian-1"]

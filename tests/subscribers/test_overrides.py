"""Overruling a failed check takes two people, and only that failure no longer counts."""

from __future__ import annotations

from datetime import datetime

import pytest
from django.db import IntegrityError, transaction

from apps.accounts.states import Role
from apps.audit.models import AuditEvent
from apps.core.actor import Actor
from apps.core.errors import Forbidden, InvalidTransition
from apps.operators.models import VirtualOperator
from apps.subscribers import errors, services
from apps.subscribers.models import ReviewCase, Verification
from apps.subscribers.realname.providers.base import AuthorityAnswer, FaceAnswer
from tests.factories.reviews import REASON, given_doubt, given_failure, given_staff
from tests.factories.subscribers import SYSTEM, answering, given_subscriber, given_verification
from tests.refusals import refused

pytestmark = pytest.mark.django_db

MISMATCH = AuthorityAnswer.NAME_MISMATCH


@pytest.fixture
def first(operator: VirtualOperator, now: datetime) -> Actor:
    return given_staff(role=Role.COMPLIANCE, operator=operator, now=now)


@pytest.fixture
def second(operator: VirtualOperator, now: datetime) -> Actor:
    return given_staff(role=Role.COMPLIANCE, operator=operator, now=now)


def _propose(failed: Verification, actor: Actor, now: datetime) -> ReviewCase:
    return services.propose_override(actor=actor, verification_uid=failed.uid, reason=REASON, now=now)


def _decide(case: ReviewCase, actor: Actor, now: datetime, *, accepted: bool = True) -> ReviewCase:
    services.claim_case(actor=actor, case_uid=case.uid, now=now)
    return services.decide_override(
        actor=actor, case_uid=case.uid, accepted=accepted, reason="register is behind", now=now
    )


def _outcomes(verification: Verification) -> dict[str, str]:
    return dict(verification.checks.order_by("position").values_list("name", "code"))


def test_two_people_overrule_and_everything_else_is_checked(
    operator: VirtualOperator, first: Actor, second: Actor, now: datetime
) -> None:
    failed = given_failure(operator=operator, now=now)
    assert "face_match" not in _outcomes(failed), "the run had ended before it"
    case = _propose(failed, first, now)
    assert Verification.objects.count() == 1

    rerun = _decide(case, second, now).rerun
    assert rerun is not None
    services.run_due_verifications(clock=lambda: now, providers=answering(MISMATCH))

    failed.refresh_from_db()
    rerun.refresh_from_db()
    assert (failed.status, rerun.status) == ("FAILED", "PASSED")
    for evidence in ("face_session", "reader", "photo_id", "representative_id"):
        assert getattr(rerun, evidence) == getattr(failed, evidence)
    assert _outcomes(rerun)["authority_match"] == "overruled"
    assert _outcomes(rerun)["face_match"] == "ok"
    trail = {event.action: event for event in AuditEvent.objects.filter(action__startswith="override.")}
    assert trail["override.propose"].actor_id == first.id
    assert trail["override.propose"].reason == REASON
    assert trail["override.confirm"].actor_id == second.id
    assert trail["override.confirm"].after["rerun"] == rerun.uid


@pytest.mark.parametrize(
    ("authority", "face"),
    [
        (MISMATCH, FaceAnswer.MISMATCH),
        (AuthorityAnswer.DOCUMENT_VOID, FaceAnswer.MATCH),
        (AuthorityAnswer.NOT_FOUND, FaceAnswer.MATCH),
    ],
)
def test_another_failure_still_counts(
    operator: VirtualOperator,
    first: Actor,
    second: Actor,
    now: datetime,
    authority: AuthorityAnswer,
    face: FaceAnswer,
) -> None:
    rerun = _decide(_propose(given_failure(operator=operator, now=now), first, now), second, now).rerun
    assert rerun is not None
    services.run_due_verifications(clock=lambda: now, providers=answering(authority, face))
    rerun.refresh_from_db()
    assert rerun.status == "FAILED"


def test_an_authority_without_an_answer_is_not_overruled(
    operator: VirtualOperator, first: Actor, second: Actor, now: datetime
) -> None:
    rerun = _decide(_propose(given_failure(operator=operator, now=now), first, now), second, now).rerun
    assert rerun is not None
    services.run_due_verifications(clock=lambda: now, providers=answering("authority_unavailable"))
    rerun.refresh_from_db()
    assert rerun.status == "PENDING"


def test_it_holds_for_that_one_verification(
    operator: VirtualOperator, first: Actor, second: Actor, now: datetime
) -> None:
    failed = given_failure(operator=operator, now=now)
    _decide(_propose(failed, first, now), second, now)
    services.run_due_verifications(clock=lambda: now, providers=answering(MISMATCH))
    next_one = given_verification(subscriber=failed.subscriber, now=now)
    services.run_due_verifications(clock=lambda: now, providers=answering(MISMATCH))
    next_one.refresh_from_db()
    assert next_one.status == "FAILED"


def test_never_the_same_person_twice(operator: VirtualOperator, first: Actor, now: datetime) -> None:
    case = _propose(given_failure(operator=operator, now=now), first, now)
    with refused(errors.ReviewNeedsSecondPerson):
        services.claim_case(actor=first, case_uid=case.uid, now=now)
    # Even if somebody forgot to ask.
    with pytest.raises(IntegrityError, match="review_case_second_person"), transaction.atomic():
        case.decide("ACCEPTED", by=first.id, label=first.label, now=now)
    for accepted in (True, False):
        with refused(errors.ReviewNeedsSecondPerson):
            services.decide_override(
                actor=first, case_uid=case.uid, accepted=accepted, reason=REASON, now=now
            )
    assert Verification.objects.count() == 1


def test_nor_whoever_entered_it(
    operator: VirtualOperator, first: Actor, operator_admin: Actor, now: datetime
) -> None:
    for given in ({"entered_by": operator_admin}, {"requested_by": operator_admin}):
        failed = given_failure(operator=operator, now=now, **given)
        with refused(errors.ReviewNeedsSecondPerson):
            _propose(failed, operator_admin, now)
        case = _propose(failed, first, now)
        with refused(errors.ReviewNeedsSecondPerson):
            _decide(case, operator_admin, now)


def test_neither_of_the_two_decides_a_doubt_of_the_new_run(
    operator: VirtualOperator, first: Actor, second: Actor, now: datetime
) -> None:
    rerun = _decide(_propose(given_failure(operator=operator, now=now), first, now), second, now).rerun
    assert rerun is not None
    services.run_due_verifications(clock=lambda: now, providers=answering(MISMATCH, FaceAnswer.UNCERTAIN))
    for actor in (first, second):
        with refused(errors.ReviewNeedsSecondPerson):
            services.decide_review(
                actor=actor, verification_uid=rerun.uid, passed=True, reason=REASON, now=now
            )


def test_a_refusal_changes_nothing(
    operator: VirtualOperator, first: Actor, second: Actor, now: datetime
) -> None:
    failed = given_failure(operator=operator, now=now)
    case = _decide(_propose(failed, first, now), second, now, accepted=False)
    assert (case.status, case.rerun) == ("REFUSED", None)
    assert Verification.objects.count() == 1
    with refused(InvalidTransition):
        services.decide_override(actor=second, case_uid=case.uid, accepted=True, reason=REASON, now=now)
    _propose(failed, first, now)


def test_it_is_taken_before_it_is_decided(
    operator: VirtualOperator, first: Actor, second: Actor, now: datetime
) -> None:
    case = _propose(given_failure(operator=operator, now=now), first, now)
    with refused(errors.ReviewNotClaimed):
        services.decide_override(actor=second, case_uid=case.uid, accepted=True, reason=REASON, now=now)


@pytest.mark.parametrize(
    ("authority", "face"),
    [(AuthorityAnswer.DOCUMENT_VOID, FaceAnswer.MATCH), (AuthorityAnswer.MATCH, FaceAnswer.MATCH)],
)
def test_what_the_law_leaves_no_room_for_is_not_overruled(
    operator: VirtualOperator, first: Actor, now: datetime, authority: AuthorityAnswer, face: FaceAnswer
) -> None:
    """A void document; and what has not failed at all."""
    checked = given_failure(operator=operator, now=now, authority=authority, face=face)
    with refused(errors.CheckNotOverrulable):
        _propose(checked, first, now)


def test_only_the_latest_and_only_once(
    operator: VirtualOperator, first: Actor, second: Actor, now: datetime
) -> None:
    failed = given_failure(operator=operator, now=now)
    case = _propose(failed, first, now)
    with refused(errors.OverridePending):
        _propose(failed, second, now)
    given_verification(subscriber=failed.subscriber, now=now)
    with refused(errors.OverrideOvertaken):
        _decide(case, second, now)
    with refused(errors.OverrideOvertaken):
        _propose(failed, second, now)


def test_only_reviewers_propose(operator: VirtualOperator, now: datetime) -> None:
    failed = given_failure(operator=operator, now=now)
    for actor in (given_staff(role=Role.SUPPORT, operator=operator, now=now), SYSTEM):
        with refused(Forbidden):
            _propose(failed, actor, now)
    officer = given_staff(role=Role.COMPLIANCE, operator=operator, now=now)
    with refused(errors.ReasonMissing):
        services.propose_override(actor=officer, verification_uid=failed.uid, reason="ok", now=now)


def test_a_doubt_is_no_failure(operator: VirtualOperator, first: Actor, now: datetime) -> None:
    person = given_subscriber(operator=operator, now=now)
    case = given_doubt(operator=operator, now=now, subscriber=person)
    with refused(errors.CheckNotOverrulable):
        _propose(case.verification, first, now)

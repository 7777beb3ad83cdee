"""The review queue: who takes a case, who sees the pictures, who may not decide."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from apps.accounts.models import User
from apps.accounts.states import Role
from apps.audit.models import AuditEvent
from apps.core.actor import Actor
from apps.core.errors import Forbidden, InvalidTransition, NotFound
from apps.operators.models import VirtualOperator
from apps.subscribers import errors, selectors, services
from apps.subscribers.models import ReviewCase, Verification, VerificationCheck
from apps.subscribers.states import CaseStatus, CheckOutcome, ImageKind
from tests.factories.accounts import given_user
from tests.factories.reviews import REASON, given_doubt, given_failure, given_staff
from tests.factories.subscribers import SYSTEM, given_subscriber
from tests.refusals import refused
from tests.subscribers import pictures

pytestmark = pytest.mark.django_db

NAME = "上官婉儿"


@pytest.fixture
def officer(operator: VirtualOperator, now: datetime) -> Actor:
    return given_staff(role=Role.COMPLIANCE, operator=operator, now=now)


@pytest.fixture
def colleague(operator: VirtualOperator, now: datetime) -> Actor:
    return given_staff(role=Role.COMPLIANCE, operator=operator, now=now)


@pytest.fixture(autouse=True)
def folder(settings: Any, tmp_path: Path) -> None:
    storage = {**settings.STORAGES["images"], "OPTIONS": {"location": str(tmp_path)}}
    settings.STORAGES = {**settings.STORAGES, "images": storage}


def _give_picture(case: ReviewCase, now: datetime) -> None:
    services.add_image(
        actor=SYSTEM,
        subscriber_uid=case.verification.subscriber.uid,
        kind=ImageKind.DOCUMENT_FRONT,
        stored=services.store_image_file(content=pictures.jpeg()),
        now=now,
    )


# --- The queue ------------------------------------------------------------------------------------------------------
def test_a_doubtful_check_opens_a_case_and_a_decision_closes_it(
    operator: VirtualOperator, officer: Actor, now: datetime
) -> None:
    case = given_doubt(operator=operator, now=now)
    assert (case.check_name, case.check_code, case.opened_at) == ("face_match", "face_uncertain", now)
    assert selectors.get_waiting_cases(actor=officer) == selectors.Waiting(1, now)

    services.decide_review(
        actor=officer, verification_uid=case.verification.uid, passed=True, reason=REASON, now=now
    )

    case.refresh_from_db()
    assert (case.status, case.decided_by, case.decided_at) == ("ACCEPTED", officer.id, now)
    assert selectors.get_waiting_cases(actor=officer) == selectors.Waiting(0, None)


def test_the_queue_is_the_operators_own(
    operator: VirtualOperator, other_operator: VirtualOperator, now: datetime
) -> None:
    case = given_doubt(operator=operator, now=now)
    stranger = given_staff(role=Role.COMPLIANCE, operator=other_operator, now=now)
    assert selectors.get_waiting_cases(actor=stranger).count == 0
    with refused(NotFound):
        services.claim_case(actor=stranger, case_uid=case.uid, now=now)


# --- Taking ---------------------------------------------------------------------------------------------------------
def test_two_people_do_not_do_one_case(
    operator: VirtualOperator, officer: Actor, colleague: Actor, now: datetime
) -> None:
    case = given_doubt(operator=operator, now=now)
    services.claim_case(actor=officer, case_uid=case.uid, now=now)
    for passed in (True, False):
        with refused(errors.ReviewClaimed):
            services.decide_review(
                actor=colleague,
                verification_uid=case.verification.uid,
                passed=passed,
                reason=REASON,
                now=now,
            )
    with refused(errors.ReviewClaimed):
        services.claim_case(actor=colleague, case_uid=case.uid, now=now)
    with refused(errors.ReviewNotClaimed):
        services.release_case(actor=colleague, case_uid=case.uid, now=now)

    # Policy realname.review_claim_minutes.
    later = now + timedelta(minutes=31)
    services.claim_case(actor=colleague, case_uid=case.uid, now=later)
    services.release_case(actor=colleague, case_uid=case.uid, now=later)
    services.claim_case(actor=officer, case_uid=case.uid, now=later)
    assert list(
        AuditEvent.objects.filter(action__startswith="review.")
        .order_by("id")
        .values_list("action", flat=True)
    ) == [
        "review.claim",
        "review.claim",
        "review.release",
        "review.claim",
    ]


def test_who_entered_it_does_not_even_take_it(
    operator: VirtualOperator, operator_admin: Actor, now: datetime
) -> None:
    for given in ({"entered_by": operator_admin}, {"requested_by": operator_admin}):
        case = given_doubt(operator=operator, now=now, **given)
        with refused(errors.ReviewNeedsSecondPerson):
            services.claim_case(actor=operator_admin, case_uid=case.uid, now=now)


def test_only_reviewers_take_cases_and_only_open_ones(
    operator: VirtualOperator, officer: Actor, now: datetime
) -> None:
    case = given_doubt(operator=operator, now=now)
    for actor in (given_staff(role=Role.SUPPORT, operator=operator, now=now), SYSTEM):
        with refused(Forbidden):
            services.claim_case(actor=actor, case_uid=case.uid, now=now)
    services.decide_review(
        actor=officer, verification_uid=case.verification.uid, passed=False, reason=REASON, now=now
    )
    with refused(InvalidTransition):
        services.claim_case(actor=officer, case_uid=case.uid, now=now)


# --- Looking --------------------------------------------------------------------------------------------------------
def test_pictures_are_for_who_has_taken_the_case_and_every_look_is_audited(
    operator: VirtualOperator, officer: Actor, colleague: Actor, now: datetime
) -> None:
    case = given_doubt(operator=operator, now=now)
    _give_picture(case, now)
    with pytest.raises(errors.ReviewNotClaimed):
        services.look_at_case(actor=officer, case_uid=case.uid, now=now)
    services.claim_case(actor=officer, case_uid=case.uid, now=now)

    [shown] = services.look_at_case(actor=officer, case_uid=case.uid, now=now)

    assert shown.jpeg.startswith(b"\xff\xd8\xff")
    event = AuditEvent.objects.get(action="image.reveal")
    assert (event.actor_id, event.reason) == (officer.id, f"Review of {case.verification.uid}")
    with pytest.raises(errors.ReviewNotClaimed):
        services.look_at_case(actor=colleague, case_uid=case.uid, now=now)
    with pytest.raises(errors.ReviewNotClaimed):
        services.look_at_case(actor=officer, case_uid=case.uid, now=now + timedelta(minutes=31))


# --- Deciding -------------------------------------------------------------------------------------------------------
def test_a_doubt_beside_a_failure_cannot_be_let_pass_by_one_person(
    operator: VirtualOperator, officer: Actor, now: datetime
) -> None:
    case = given_doubt(operator=operator, now=now)
    VerificationCheck.objects.filter(name="authority_match").update(outcome=CheckOutcome.FAIL)
    with refused(errors.OverrideNeeded):
        services.decide_review(
            actor=officer, verification_uid=case.verification.uid, passed=True, reason=REASON, now=now
        )
    assert Verification.objects.get().status == "REVIEW"


def test_nobody_is_asked_about_an_erased_person_any_more(operator: VirtualOperator, now: datetime) -> None:
    doubt, failed = given_doubt(operator=operator, now=now), given_failure(operator=operator, now=now)
    officer = given_staff(role=Role.COMPLIANCE, operator=operator, now=now)
    services.propose_override(actor=officer, verification_uid=failed.uid, reason=REASON, now=now)
    for person in (doubt.verification.subscriber, failed.subscriber):
        assert services.erase_subscriber(actor=SYSTEM, subscriber_id=person.pk, now=now)
    assert set(ReviewCase.objects.values_list("status", "decided_by")) == {(CaseStatus.DROPPED, "kaihu")}


# --- The page -------------------------------------------------------------------------------------------------------
class TestPage:
    @pytest.fixture
    def user(self, operator: VirtualOperator, now: datetime) -> User:
        return given_user(role=Role.COMPLIANCE, operator=operator, now=now)

    @pytest.fixture
    def client(self, user: User) -> Client:
        client = Client()
        client.force_login(user)
        return client

    @pytest.fixture
    def case(self, operator: VirtualOperator, now: datetime) -> ReviewCase:
        person = given_subscriber(operator=operator, now=now, name=NAME)
        case = given_doubt(operator=operator, now=now, subscriber=person)
        _give_picture(case, now)
        return case

    def _page(self, case: ReviewCase) -> str:
        return reverse("admin:subscribers_reviewcase_change", args=(case.pk,))

    def _press(self, client: Client, case: ReviewCase, button: str, reason: str = REASON) -> Any:
        path = reverse("admin:subscribers_reviewcase_press", args=(case.pk, button))
        return client.post(path, {"reason": reason}, follow=True)

    def test_from_the_queue_to_the_decision(self, client: Client, case: ReviewCase) -> None:
        queue = client.get(reverse("admin:subscribers_reviewcase_changelist")).content.decode()
        assert self._page(case) in queue
        seen = client.get(self._page(case))
        text = seen.content.decode()
        assert "Compare the pictures yourself" in text
        assert "data:image/jpeg" not in text
        assert "Let it pass" not in text, "first the case is taken"
        assert NAME not in text

        text = self._press(client, case, "claim").content.decode()
        assert "data:image/jpeg" in text
        assert NAME not in text
        assert AuditEvent.objects.filter(action="image.reveal").count() == 1
        assert "no-store" in client.get(self._page(case))["Cache-Control"]

        text = self._press(client, case, "pass").content.decode()
        assert "The check has passed" in text
        assert "data:image/jpeg" not in text
        assert Verification.objects.get().status == "PASSED"
        assert (
            self._page(case)
            not in client.get(reverse("admin:subscribers_reviewcase_changelist")).content.decode()
        )

    @pytest.mark.django_db(transaction=True)
    def test_somebody_elses_case_shows_who_has_it_and_nothing_to_press(
        self, client: Client, case: ReviewCase, colleague: Actor, now: datetime
    ) -> None:
        services.claim_case(actor=colleague, case_uid=case.uid, now=now)
        text = client.get(self._page(case)).content.decode()
        assert f"{colleague.label} has it" in text
        assert "data:image/jpeg" not in text
        assert 'id="buttons"' not in text
        self._press(client, case, "pass")
        assert Verification.objects.get().status == "REVIEW"

    @pytest.mark.django_db(transaction=True)
    @pytest.mark.parametrize("reason", [" ", "ok"])
    def test_not_without_a_reason(self, client: Client, case: ReviewCase, reason: str) -> None:
        self._press(client, case, "claim")
        self._press(client, case, "fail", reason)
        assert Verification.objects.get().status == "REVIEW"

    @pytest.mark.parametrize("role", [Role.SUPPORT, Role.ENGINEER])
    def test_others_only_look(
        self, case: ReviewCase, operator: VirtualOperator, now: datetime, role: Role
    ) -> None:
        client = Client()
        client.force_login(given_user(role=role, operator=operator, now=now))
        assert client.get(self._page(case)).status_code == 200
        path = reverse("admin:subscribers_reviewcase_press", args=(case.pk, "claim"))
        assert client.post(path).status_code == 403

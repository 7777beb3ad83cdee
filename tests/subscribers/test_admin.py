"""The admin: one's own operator's people, masked; reviews and reveals through the services."""

from __future__ import annotations

from datetime import datetime

import pytest
from django.test import Client
from django.urls import reverse

from apps.accounts.states import Role
from apps.audit.models import AuditEvent
from apps.operators.models import VirtualOperator
from apps.subscribers.models import IdentityDocument, Subscriber, Verification
from tests.factories.accounts import given_user
from tests.factories.subscribers import given_subscriber, given_verification, resident_number

pytestmark = pytest.mark.django_db

NAME = "上官婉儿"
NUMBER = resident_number("110104")
REASON = "police request 2026/17"
MODELS = ["subscriber", "identitydocument", "verification"]


@pytest.fixture
def verification(operator: VirtualOperator, now: datetime) -> Verification:
    subscriber = given_subscriber(operator=operator, now=now, name=NAME, number=NUMBER, external_id="c-1")
    return given_verification(subscriber=subscriber, now=now)


def _login(role: Role, operator: VirtualOperator | None, now: datetime) -> Client:
    client = Client()
    client.force_login(given_user(role=role, operator=operator, now=now))
    return client


def _pages(verification: Verification) -> list[str]:
    rows = {
        "subscriber": verification.subscriber_id,
        "identitydocument": verification.document_id,
        "verification": verification.pk,
    }
    return [reverse(f"admin:subscribers_{model}_changelist") for model in MODELS] + [
        reverse(f"admin:subscribers_{model}_change", args=(pk,)) for model, pk in rows.items()
    ]


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.PLATFORM])
def test_every_page_is_masked(
    verification: Verification, operator: VirtualOperator, now: datetime, role: Role
) -> None:
    client = _login(role, operator, now)

    for page in _pages(verification):
        response = client.get(page)
        text = response.content.decode()
        assert response.status_code == 200, page
        assert NAME not in text
        assert NUMBER not in text
        assert verification.document.fingerprint.hex() not in text
        assert "上***" in text


def test_another_operators_people_do_not_exist(
    verification: Verification, other_operator: VirtualOperator, now: datetime
) -> None:
    client = _login(Role.COMPLIANCE, other_operator, now)

    lists, rows = _pages(verification)[:3], _pages(verification)[3:]
    for page in lists:
        assert "上***" not in client.get(page).content.decode()
    for page in rows:
        response = client.get(page)
        assert response.status_code in (302, 404)
    override = reverse("admin:subscribers_verification_press", args=(verification.pk, "override"))
    assert client.post(override, {"reason": REASON}).status_code == 404


def test_platform_staff_see_all(
    verification: Verification, other_operator: VirtualOperator, now: datetime
) -> None:
    given_subscriber(operator=other_operator, now=now)
    client = _login(Role.PLATFORM, None, now)

    text = client.get(_pages(verification)[0]).content.decode()

    assert verification.operator.code in text
    assert other_operator.code in text


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("role", [Role.OPERATOR_ADMIN, Role.COMPLIANCE])
def test_nothing_is_edited_added_or_deleted(
    verification: Verification, operator: VirtualOperator, now: datetime, role: Role, model: str
) -> None:
    client = _login(role, operator, now)
    pk = {"subscriber": verification.subscriber_id, "identitydocument": verification.document_id}.get(
        model, verification.pk
    )
    before = [list(kind.objects.values()) for kind in (Subscriber, IdentityDocument, Verification)]

    added = client.post(reverse(f"admin:subscribers_{model}_add"), {"name_masked": "x*"})
    changed = client.post(
        reverse(f"admin:subscribers_{model}_change", args=(pk,)), {"status": "PASSED", "name_masked": "x*"}
    )
    deleted = client.post(reverse(f"admin:subscribers_{model}_delete", args=(pk,)), {"post": "yes"})

    # Who may register people gets the form back: these are none of its fields.
    may_register = model == "subscriber" and role is Role.OPERATOR_ADMIN
    assert added.status_code == (200 if may_register else 403)
    assert [response.status_code for response in (changed, deleted)] == [403, 403]
    assert [list(kind.objects.values()) for kind in (Subscriber, IdentityDocument, Verification)] == before


def test_the_search_is_for_external_ids_only(
    verification: Verification, operator: VirtualOperator, now: datetime
) -> None:
    client = _login(Role.SUPPORT, operator, now)
    page = _pages(verification)[0]

    assert "上***" in client.get(page, {"q": "c-1"}).content.decode()
    assert "上***" not in client.get(page, {"q": "c-"}).content.decode()
    assert "上***" not in client.get(page, {"q": "上"}).content.decode()


class TestReveal:
    def _press(self, verification: Verification) -> str:
        return reverse("admin:subscribers_identitydocument_press", args=(verification.document_id, "reveal"))

    def test_with_right_and_reason_once_and_audited(
        self, verification: Verification, operator: VirtualOperator, now: datetime
    ) -> None:
        client = _login(Role.COMPLIANCE, operator, now)

        response = client.post(self._press(verification), {"reason": REASON})

        text = response.content.decode()
        assert NAME in text
        assert NUMBER in text
        assert "no-store" in response["Cache-Control"]
        row = AuditEvent.objects.get(action="identity.reveal")
        assert (row.target_id, row.reason, row.operator_id) == (
            verification.document.uid,
            REASON,
            operator.pk,
        )
        assert NUMBER not in client.get(_pages(verification)[4]).content.decode()

    @pytest.mark.django_db(transaction=True)
    @pytest.mark.parametrize("reason", ["", "  ", "ok"])
    def test_not_without_a_reason(
        self, verification: Verification, operator: VirtualOperator, now: datetime, reason: str
    ) -> None:
        client = _login(Role.COMPLIANCE, operator, now)

        response = client.post(self._press(verification), {"reason": reason}, follow=True)

        assert NUMBER not in response.content.decode()
        assert not AuditEvent.objects.filter(action="identity.reveal").exists()

    @pytest.mark.parametrize("role", [Role.SUPPORT, Role.ENGINEER])
    def test_not_without_the_right(
        self, verification: Verification, operator: VirtualOperator, now: datetime, role: Role
    ) -> None:
        client = _login(role, operator, now)

        response = client.post(self._press(verification), {"reason": REASON})

        assert response.status_code == 403
        assert not AuditEvent.objects.filter(action="identity.reveal").exists()

    def test_not_at_another_operator(
        self, verification: Verification, other_operator: VirtualOperator, now: datetime
    ) -> None:
        client = _login(Role.COMPLIANCE, other_operator, now)

        assert client.post(self._press(verification), {"reason": REASON}).status_code == 404
        assert not AuditEvent.objects.filter(action="identity.reveal").exists()

"""Registering at a counter: people, minors with guardians, proxies, organizations; what their pages show and offer."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from apps.accounts.states import Role
from apps.audit.models import AuditEvent
from apps.operators.models import VirtualOperator
from apps.operators.policies import PolicyKey
from apps.subscribers.models import Consent, IdentityImage, Representative, Subscriber
from tests.factories.accounts import given_user
from tests.factories.operators import given_policy
from tests.factories.subscribers import (
    given_minor,
    given_organization,
    given_subscriber,
    minor_number,
    resident_number,
    somebody,
    uscc,
)
from tests.subscribers import pictures

# A refusal ends the service's own transaction, and the page with the form is drawn after it.
pytestmark = pytest.mark.django_db(transaction=True)

ADD = "admin:subscribers_subscriber_add"


def _login(role: Role, operator: VirtualOperator, now: datetime) -> Client:
    client = Client()
    client.force_login(given_user(role=role, operator=operator, now=now))
    return client


@pytest.fixture
def clerk(operator: VirtualOperator, now: datetime) -> Client:
    return _login(Role.SUPPORT, operator, now)


def _form(operator: VirtualOperator, **fields: Any) -> dict[str, Any]:
    return {
        "operator": operator.pk,
        "kind": "INDIVIDUAL",
        "name": "张三丰",
        "document_type": "resident_id",
        "number": resident_number(),
        "other_document_type": "resident_id",
        "channel": "IN_STORE",
        **fields,
    }


def _other(role: str, **fields: Any) -> dict[str, Any]:
    return {"role": role, "other_name": "钱七星", "other_number": resident_number(), **fields}


def _press(row: Subscriber, button: str) -> str:
    return reverse("admin:subscribers_subscriber_press", args=(row.pk, button))


def test_every_kind(clerk: Client, operator: VirtualOperator, now: datetime) -> None:
    minor = resident_number(born=now.date().replace(year=now.year - 12))
    forms = [
        _form(operator, consents=["REAL_NAME", "MARKETING"], text_version="2026-01", address="某街1号"),
        _form(operator, number=minor, **_other("GUARDIAN")),
        _form(operator, **_other("PROXY")),
        _form(
            operator,
            kind="ORGANIZATION",
            name="某某（测试）有限公司",
            document_type="uscc",
            number=uscc(),
            **_other("RESPONSIBLE"),
        ),
    ]
    for form in forms:
        response = clerk.post(reverse(ADD), form)
        assert response.status_code == 302, response.content.decode()
        page = clerk.get(response["Location"]).content.decode()
        assert form["name"] not in page
        assert form["number"] not in page
    assert Subscriber.objects.count() == 4
    assert Consent.objects.count() == 2
    assert set(Representative.objects.values_list("role", flat=True)) == {"GUARDIAN", "PROXY", "RESPONSIBLE"}
    again = clerk.post(reverse(ADD), forms[0], follow=True)
    assert "registered before" in again.content.decode()
    assert Subscriber.objects.count() == 4
    assert Subscriber.objects.earliest("id").entered_by.startswith("STAFF:")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"number": "110105194912310021"}, ["check digit"]),
        ({"name": "1", "number": "1"}, ["18 characters", "no name has"]),
        (_other("GUARDIAN", other_number="1"), ["18 characters"]),
        ({"role": "GUARDIAN"}, ["Needed for whoever stands for them"]),
        ({"kind": "ORGANIZATION"}, ["An organization has a responsible person."]),
        (_other("RESPONSIBLE"), ["Only an organization has one."]),
        ({"consents": ["MARKETING"]}, ["Say which text they agreed to."]),
        ({"external_id": "张三丰"}, ["Use a key of your own"]),
    ],
)
def test_what_is_wrong_stands_beside_its_field(
    clerk: Client, operator: VirtualOperator, change: dict[str, Any], said: list[str]
) -> None:
    page = clerk.post(reverse(ADD), _form(operator, **change))
    assert page.status_code == 200
    for sentence in said:
        assert sentence in page.content.decode()
    assert not Subscriber.objects.exists()


def test_only_with_the_right_and_for_ones_own_operator(
    operator: VirtualOperator, other_operator: VirtualOperator, now: datetime
) -> None:
    assert _login(Role.COMPLIANCE, operator, now).get(reverse(ADD)).status_code == 403
    clerk = _login(Role.SUPPORT, other_operator, now)
    assert clerk.post(reverse(ADD), _form(operator)).status_code == 200
    assert not Subscriber.objects.exists()


def test_who_stands_for_them_changes(clerk: Client, operator: VirtualOperator, now: datetime) -> None:
    organization = given_organization(operator=operator, now=now)
    person = given_minor(operator=operator, now=now, number=minor_number(now, years=15))
    page = clerk.get(reverse("admin:subscribers_subscriber_change", args=(organization.pk,))).content.decode()
    assert "Change responsible person" in page
    assert "Set guardian" not in page
    form = {"name": "赵六一", "document_type": "resident_id", "number": resident_number()}
    assert clerk.post(_press(organization, "responsible"), form).status_code == 302
    assert clerk.post(_press(person, "guardian"), form).status_code == 302
    bad = clerk.post(_press(person, "guardian"), form | {"number": "2"})
    assert "18 characters" in bad.content.decode()
    given_policy(key=PolicyKey.MINIMUM_AGE, value=15, now=now, operator=operator)
    assert clerk.post(_press(person, "end-guardian")).status_code == 302
    assert organization.representatives.filter(ended_at=None).count() == 1
    assert not person.representatives.filter(ended_at=None).exists()


def test_consents_and_pictures(
    clerk: Client, operator: VirtualOperator, now: datetime, settings: Any, tmp_path: Path
) -> None:
    storage = {**settings.STORAGES["images"], "OPTIONS": {"location": str(tmp_path)}}
    settings.STORAGES = {**settings.STORAGES, "images": storage}
    person = given_subscriber(operator=operator, now=now)
    given = {"purpose": "MARKETING", "text_version": "v1", "channel": "IN_STORE"}
    assert clerk.post(_press(person, "consent"), given).status_code == 302
    assert clerk.post(_press(person, "withdraw"), {"purpose": "MARKETING"}).status_code == 302
    assert Consent.objects.get().withdrawn_at is not None
    for content, status in ((pictures.jpeg(), 302), (b"<svg/>", 200)):
        file = SimpleUploadedFile("letter.jpg", content)
        answer = clerk.post(_press(person, "picture"), {"kind": "PERSON", "file": file})
        assert answer.status_code == status
    assert IdentityImage.objects.get().kind == "PERSON"
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


def test_a_representative_is_masked_and_shown_with_a_reason_only(
    operator: VirtualOperator, other_operator: VirtualOperator, now: datetime
) -> None:
    number = resident_number()
    row = given_organization(
        operator=operator, now=now, responsible=somebody(number=number)
    ).representatives.get()
    page = reverse("admin:subscribers_representative_change", args=(row.pk,))
    press = reverse("admin:subscribers_representative_press", args=(row.pk, "reveal"))
    officer = _login(Role.COMPLIANCE, operator, now)
    for address in (page, reverse("admin:subscribers_representative_changelist")):
        text = officer.get(address).content.decode()
        assert "钱**" in text
        assert number not in text
    assert number not in officer.post(press, {"reason": ""}, follow=True).content.decode()
    assert number in officer.post(press, {"reason": "police request 2026/17"}).content.decode()
    assert AuditEvent.objects.get(action="identity.reveal").target_id == row.uid
    assert _login(Role.SUPPORT, operator, now).post(press, {"reason": "just so"}).status_code == 403
    assert _login(Role.COMPLIANCE, other_operator, now).post(press, {"reason": "just so"}).status_code == 404

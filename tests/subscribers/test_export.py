"""Everything we hold about one person: complete, in clear, for those with a right and a reason, and on record."""

from __future__ import annotations

import html
import json
from datetime import datetime

import pytest
from django.db import transaction
from django.test import Client
from django.urls import reverse

from apps.accounts.actors import actor_of_user
from apps.accounts.states import Role
from apps.audit.models import AuditEvent
from apps.core.actor import Actor
from apps.core.errors import Forbidden, NotFound
from apps.lines import services as lines
from apps.operators.models import VirtualOperator
from apps.subscribers import errors, services
from apps.subscribers.services import ConsentInput
from apps.subscribers.states import Channel, ConsentPurpose
from tests.factories.accounts import given_user
from tests.factories.provisioning import given_seller
from tests.factories.subscribers import (
    SYSTEM,
    document,
    given_subscriber,
    given_verified_subscriber,
    minor_number,
    resident_number,
    somebody,
)

pytestmark = pytest.mark.django_db

REASON = "asked for by the person, letter of today"


def _officer(operator: VirtualOperator, now: datetime, role: Role = Role.COMPLIANCE) -> Actor:
    return actor_of_user(given_user(role=role, operator=operator, now=now))


def test_it_is_all_there(operator: VirtualOperator, now: datetime) -> None:
    number = resident_number()
    seller = given_seller(operator=operator, now=now)
    subscriber = given_verified_subscriber(operator=operator, now=now, number=number)
    line = seller.active_line(subscriber=subscriber)
    services.record_consent(
        actor=SYSTEM,
        subscriber_uid=subscriber.uid,
        consent=ConsentInput(ConsentPurpose.FACE_MATCH, "v1", Channel.ONLINE_VIDEO),
        now=now,
    )

    person = lines.export_person(
        actor=_officer(operator, now), subscriber_uid=subscriber.uid, reason=REASON, now=now
    )

    json.dumps(person)
    assert (person["id"], person["name"]) == (subscriber.uid, "张三丰")
    assert [document["number"] for document in person["documents"]] == [number]
    assert [check["status"] for check in person["verifications"]] == ["PASSED"]
    assert person["verifications"][0]["checks"]
    assert [consent["purpose"] for consent in person["consents"]] == ["FACE_MATCH"]
    assert [(each["id"], each["status"]) for each in person["lines"]] == [(line.uid, "ACTIVE")]
    assert person["lines"][0]["number"].startswith("1709")
    event = AuditEvent.objects.get(action="identity.export")
    assert (event.target_id, event.reason, event.operator_id) == (subscriber.uid, REASON, operator.pk)


def test_of_others_only_what_is_masked_and_of_oneself_every_part(
    operator: VirtualOperator, now: datetime
) -> None:
    number = resident_number()
    guardian = given_subscriber(operator=operator, now=now, name="钱七星", number=number)
    minor, _ = services.register_individual(
        actor=SYSTEM,
        operator_id=operator.pk,
        name="张三丰",
        document=document(minor_number(now)),
        guardian=somebody(name="钱七星", number=number),
        now=now,
    )
    officer = _officer(operator, now)
    of_minor, of_guardian = (
        lines.export_person(actor=officer, subscriber_uid=person.uid, reason=REASON, now=now)
        for person in (minor, guardian)
    )
    [shown] = of_minor["representatives"]
    assert (shown["role"], shown["name"]) == ("GUARDIAN", "钱**")
    assert number not in json.dumps(of_minor)
    [own] = of_guardian["acts_for"]
    assert (own["for"], own["name"], own["document"]["number"]) == (minor.uid, "钱七星", number)


def test_refusals_leave_no_trace(
    operator: VirtualOperator, other_operator: VirtualOperator, now: datetime
) -> None:
    subscriber = given_subscriber(operator=operator, now=now)
    for refusal, actor, reason in (
        (Forbidden, _officer(operator, now, Role.SUPPORT), REASON),
        (errors.ReasonMissing, _officer(operator, now), " "),
        (NotFound, _officer(other_operator, now), REASON),
    ):
        with pytest.raises(refusal), transaction.atomic():
            lines.export_person(actor=actor, subscriber_uid=subscriber.uid, reason=reason, now=now)
    services.erase_subscriber(actor=SYSTEM, subscriber_id=subscriber.pk, now=now)
    with pytest.raises(errors.SubscriberErased), transaction.atomic():
        lines.export_person(
            actor=_officer(operator, now), subscriber_uid=subscriber.uid, reason=REASON, now=now
        )
    assert not AuditEvent.objects.filter(action="identity.export").exists()


def test_in_the_admin_once(operator: VirtualOperator, now: datetime) -> None:
    subscriber = given_subscriber(operator=operator, now=now)
    client = Client()
    client.force_login(given_user(role=Role.COMPLIANCE, operator=operator, now=now))
    path = reverse("admin:subscribers_subscriber_press", args=(subscriber.pk, "export"))

    response = client.post(path, {"reason": REASON})

    assert "no-store" in response["Cache-Control"]
    text = html.unescape(response.content.decode())
    assert '"name": "张三丰"' in text
    assert client.get(path).status_code == 405

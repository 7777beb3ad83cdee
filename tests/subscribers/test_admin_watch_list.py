"""The watch-list's pages: people by hand and by file, masked, taken off with a reason; a search for leaks."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from apps.accounts.states import Role
from apps.core import keyring
from apps.core.db import database_now
from apps.operators.models import VirtualOperator
from apps.provisioning.services import rotation
from apps.subscribers import services, tasks
from apps.subscribers.models import Subscriber, Verification, WatchListEntry
from tests.factories.accounts import given_user
from tests.factories.subscribers import (
    SYSTEM,
    answering,
    given_subscriber,
    given_verification,
    resident_number,
)
from tests.subscribers.test_personal_data import _everything_in_redis, _where_it_stands, logged

__all__ = ["logged"]

pytestmark = pytest.mark.django_db(transaction=True)

ADD = reverse("admin:subscribers_watchlistentry_add")
ADD_FILE = reverse("admin:subscribers_watchlistfile_add")
NUMBER = resident_number("659097")
OTHER = resident_number("659096")


@pytest.fixture
def staff(operator: VirtualOperator, now: datetime) -> Client:
    client = Client()
    client.force_login(given_user(role=Role.COMPLIANCE, operator=operator, now=now))
    return client


def _person(operator: VirtualOperator | None, **fields: Any) -> dict[str, Any]:
    return {
        "operator": operator.pk if operator else "",
        "document_type": "resident_id",
        "number": NUMBER,
        "source": "MPS 2026-11",
        "reason": "cards sold",
        "valid_until": "2090-01-01",
        **fields,
    }


def _csv(*numbers: str) -> SimpleUploadedFile:
    rows = "\n".join(f"resident_id,{number},cards sold,MPS,2090-01-01" for number in numbers)
    return SimpleUploadedFile(
        "list.csv", f"document_type,number,reason,source,valid_until\n{rows}\n".encode()
    )


def test_nobody_on_the_list_stands_anywhere_in_clear(
    staff: Client, operator: VirtualOperator, now: datetime, logged: list[str], rotating: None
) -> None:
    """By hand, by file, by refusals, through checks, a rotation and the end of it."""
    subscriber = given_subscriber(operator=operator, now=now, number=NUMBER)
    given_verification(subscriber=subscriber, now=now)
    services.run_due_verifications(clock=lambda: now, providers=answering())

    added = staff.post(ADD, _person(operator))
    assert added.status_code == 302, added.content.decode()
    imported = staff.post(ADD_FILE, {"operator": operator.pk, "file": _csv(NUMBER, OTHER)})
    assert imported.status_code == 302
    wrong = OTHER[:-1] + ("0" if OTHER[-1] != "0" else "1")
    refused = staff.post(ADD_FILE, {"operator": operator.pk, "file": _csv(OTHER, wrong, OTHER)})
    assert "number_check_digit" in refused.content.decode() or "check digit" in refused.content.decode()
    tasks.apply_listings()
    assert Verification.objects.get().status == "EXPIRED"
    given_verification(subscriber=subscriber, now=now)
    services.run_due_verifications(clock=lambda: now, providers=answering())
    assert Verification.objects.latest("id").status == "FAILED"
    pages = [
        staff.get(reverse("admin:subscribers_watchlistentry_changelist")),
        staff.get(reverse("admin:subscribers_watchlistfile_changelist")),
        staff.get(added["Location"]),
        staff.get(imported["Location"]),
        staff.get(
            reverse("admin:subscribers_verification_change", args=(Verification.objects.latest("id").pk,))
        ),
        refused,
    ]
    assert "On the watch-list" in pages[4].content.decode()
    assert "MPS 2026-11" in pages[4].content.decode()

    rotation.rotate_keys(actor=SYSTEM, clock=database_now, pause=time.sleep, tell=logged.append)
    assert {entry.open_number() for entry in WatchListEntry.objects.all()} == {NUMBER, OTHER}
    assert rotation.count_rows_to_move() == {}
    given_verification(subscriber=Subscriber.objects.get(), now=now)
    services.run_due_verifications(clock=lambda: now, providers=answering())
    assert Verification.objects.latest("id").status == "FAILED", (
        "found under the new key of the blind indexes"
    )

    in_redis = _everything_in_redis()
    for canary in (NUMBER, OTHER, wrong):
        assert _where_it_stands(canary) == []
        assert canary.encode() not in in_redis
        assert json.dumps(canary).encode() not in in_redis
        assert canary not in "\n".join(logged)
        for number, page in enumerate(pages):
            assert (number, canary in page.content.decode()) == (number, False)


@pytest.fixture
def rotating(settings: Any) -> Iterator[None]:
    settings.KAIHU_KEYRING_SECONDS = 0
    keyring.forget()
    yield
    keyring.assume_no_keys()


def test_off_the_list_with_a_reason(staff: Client, operator: VirtualOperator, now: datetime) -> None:
    staff.post(ADD, _person(operator))
    entry = WatchListEntry.objects.get()
    press = reverse("admin:subscribers_watchlistentry_press", args=(entry.pk, "lift"))

    staff.post(press, {"reason": ""})
    assert WatchListEntry.objects.get().lifted_at is None
    staff.post(press, {"reason": "the appeal was granted"})
    assert WatchListEntry.objects.get().lifted_at is not None


def test_an_operators_staff_cannot_touch_the_national_list(
    staff: Client, operator: VirtualOperator, now: datetime
) -> None:
    staff.post(ADD, _person(None))
    staff.post(ADD_FILE, {"operator": "", "file": _csv(OTHER)})

    assert not WatchListEntry.objects.exists()


def test_the_platform_keeps_the_national_list(operator: VirtualOperator, now: datetime) -> None:
    client = Client()
    client.force_login(given_user(role=Role.PLATFORM, now=now))

    assert client.post(ADD, _person(None)).status_code == 302
    assert WatchListEntry.objects.get().operator is None


def test_support_may_look_and_add_nobody(operator: VirtualOperator, now: datetime) -> None:
    client = Client()
    client.force_login(given_user(role=Role.SUPPORT, operator=operator, now=now))

    assert client.get(ADD).status_code == 403
    assert client.get(reverse("admin:subscribers_watchlistentry_changelist")).status_code == 200

"""The tasks: thin, nameless, safe to run at any time; driven against the simulator's second face."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from pytest_django import Settings

from apps.core import clock
from apps.operators.models import VirtualOperator
from apps.subscribers import tasks
from apps.subscribers.models import Verification, VerificationCheck
from tests import simulator
from tests.factories.subscribers import given_subscriber, given_verification, resident_number
from tests.subscribers.conftest import Nudges

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    with simulator.running_simulator() as url:
        yield url


@pytest.fixture
def simulated(base_url: str, settings: Settings) -> None:
    """The settings point at the simulator."""
    settings.REALNAME_AUTHORITY_URL = f"{base_url}/realname/authority"
    settings.REALNAME_FACE_URL = f"{base_url}/realname/face"
    settings.REALNAME_TOKEN = simulator.REALNAME_TOKEN
    settings.REALNAME_SECOND_AUTHORITY_URL = f"{base_url}/realname2/citizen"
    settings.REALNAME_SECOND_FACE_URL = f"{base_url}/realname2/portrait"
    settings.REALNAME_SECOND_SECRET = simulator.REALNAME_SECOND_SECRET


MAGIC = [
    ("110101", "PASSED", ("face_match", "ok")),
    ("700001", "PASSED", ("face_match", "ok")),
    ("700002", "FAILED", ("authority_match", "name_mismatch")),
    ("700003", "FAILED", ("face_match", "face_mismatch")),
    ("700004", "REVIEW", ("face_match", "face_uncertain")),
    ("700005", "PENDING", ("authority_match", "provider_unavailable")),
    ("700007", "FAILED", ("authority_match", "document_void")),
    ("700008", "FAILED", ("liveness", "not_live")),
    # The first providers are down: the second ones say what they would have said.
    ("720001", "PASSED", ("face_match", "ok")),
    ("720002", "FAILED", ("authority_match", "name_mismatch")),
    ("720003", "FAILED", ("face_match", "face_mismatch")),
    ("720004", "REVIEW", ("face_match", "face_uncertain")),
    # The first ones answer another question, or in words that nobody agreed on.
    ("730002", "PASSED", ("face_match", "ok")),
    ("730004", "PASSED", ("face_match", "ok")),
    # The second ones are no better.
    ("740011", "PENDING", ("authority_match", "provider_unavailable")),
    ("740022", "PENDING", ("authority_match", "provider_wrong_echo")),
    ("740014", "PENDING", ("authority_match", "provider_unavailable")),
]


ADDRESSES = (
    "REALNAME_AUTHORITY_URL",
    "REALNAME_FACE_URL",
    "REALNAME_SECOND_AUTHORITY_URL",
    "REALNAME_SECOND_FACE_URL",
)


@pytest.mark.parametrize(("area", "status", "last"), MAGIC)
def test_every_magic_number_ends_as_promised(
    simulated: None,
    settings: Settings,
    operator: VirtualOperator,
    now: datetime,
    area: str,
    status: str,
    last: tuple[str, str],
) -> None:
    # Addresses of its own have breakers of their own: which house is asked must not hang on what others have met.
    for name in ADDRESSES:
        setattr(settings, name, f"{getattr(settings, name)}?{area}")
    subscriber = given_subscriber(operator=operator, now=now, number=resident_number(area))
    started = given_verification(subscriber=subscriber, now=now)

    tasks.run_verifications()

    started.refresh_from_db()
    assert started.status == status
    checks = VerificationCheck.objects.filter(verification=started).order_by("-position")
    assert checks.values_list("name", "code").first() == last
    if area == "720001":
        providers = dict(checks.values_list("name", "provider"))
        assert (providers["face_match"], providers["authority_match"]) == ("second_face", "second_authority")


def test_an_authority_that_comes_back(
    simulated: None, settings: Settings, operator: VirtualOperator, now: datetime
) -> None:
    # An address of its own has a breaker of its own, whatever other tests did.
    settings.REALNAME_AUTHORITY_URL += "?comes-back"
    settings.REALNAME_SECOND_AUTHORITY_URL = ""
    number = resident_number("700006")
    given_verification(subscriber=given_subscriber(operator=operator, now=now, number=number), now=now)

    until = time.monotonic() + 20
    while Verification.objects.get().status == "PENDING" and time.monotonic() < until:
        tasks.run_verifications()
        time.sleep(0.1)

    stored = Verification.objects.get()
    assert (stored.status, stored.attempts) == ("PASSED", 3)


def test_an_authority_that_is_not_there(
    settings: Settings, closed_port: int, operator: VirtualOperator, now: datetime
) -> None:
    settings.REALNAME_AUTHORITY_URL = f"http://127.0.0.1:{closed_port}/realname/authority"
    given_verification(subscriber=given_subscriber(operator=operator, now=now), now=now)

    tasks.run_verifications(from_a_later_version="ignored")

    assert Verification.objects.get().status == "PENDING"


def test_the_sweep_nudges(operator: VirtualOperator, now: datetime, nudges: Nudges) -> None:
    tasks.sweep()
    assert nudges() == []

    given_verification(subscriber=given_subscriber(operator=operator, now=now), now=now)
    tasks.sweep()
    assert nudges() == ["subscribers.run_verifications"]


def test_old_passes_expire(operator: VirtualOperator, now: datetime) -> None:
    verification = given_verification(subscriber=given_subscriber(operator=operator, now=now), now=now)
    verification.pass_(now=now - timedelta(days=2), fresh_until=clock.now() - timedelta(days=1))

    tasks.expire_verifications()

    assert Verification.objects.get().status == "EXPIRED"

"""What nearly every test starts from: a moment, actors, a live operator, its partner app, a client that calls as it."""

from __future__ import annotations

from datetime import datetime

import pytest
from django.db import connection
from hypothesis import settings as hypothesis_settings
from pytest_django import DjangoDbBlocker

from apps.accounts.actors import actor_of_user
from apps.accounts.models import PartnerApp
from apps.accounts.states import Role
from apps.core import clock, keyring
from apps.core.actor import Actor
from apps.operators.models import HostCarrier, VirtualOperator
from tests.factories.accounts import ApiClient, given_partner_app, given_token, given_user
from tests.factories.operators import SYSTEM, given_carriers, given_operator, given_policies

# A busy machine is not a failure.
hypothesis_settings.register_profile("kaihu", deadline=None)
hypothesis_settings.load_profile("kaihu")


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    """Django empties the tables after a transactional test with TRUNCATE, which append-only tables refuse.

    A test of that refusal switches its trigger on again inside its own transaction.
    """
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT format('ALTER TABLE %s DISABLE TRIGGER %I', tgrelid::regclass, tgname) FROM pg_trigger"
            " WHERE tgtype & 32 > 0 AND NOT tgisinternal"
        )
        for (statement,) in cursor.fetchall():
            cursor.execute(statement)


@pytest.fixture(scope="session", autouse=True)
def _no_sealing_keys() -> None:
    """As the empty table would say, so that tests without a database may seal too."""
    keyring.assume_no_keys()


@pytest.fixture
def now() -> datetime:
    """The moment of the test; services get it passed in, so nothing is frozen."""
    return clock.now()


@pytest.fixture
def system() -> Actor:
    return SYSTEM


@pytest.fixture
def carriers(db: None, now: datetime) -> dict[str, HostCarrier]:
    """The three host carriers by code."""
    return given_carriers(now=now)


@pytest.fixture
def operator(db: None, now: datetime) -> VirtualOperator:
    """A live operator with a licence, agreements with all three carriers, and the default policies in force."""
    given_policies(now=now)
    return given_operator(now=now)


@pytest.fixture
def other_operator(operator: VirtualOperator, now: datetime) -> VirtualOperator:
    """A second one, for what must not be visible."""
    return given_operator(now=now)


@pytest.fixture
def operator_admin(operator: VirtualOperator, now: datetime) -> Actor:
    return actor_of_user(given_user(role=Role.OPERATOR_ADMIN, operator=operator, now=now))


@pytest.fixture
def platform_admin(db: None, now: datetime) -> Actor:
    return actor_of_user(given_user(role=Role.PLATFORM, now=now))


@pytest.fixture
def partner_app(operator: VirtualOperator, now: datetime) -> PartnerApp:
    """An app of `operator` with every scope and no rate limit worth the name."""
    return given_partner_app(operator=operator, now=now)[0]


@pytest.fixture
def token(partner_app: PartnerApp, now: datetime) -> str:
    return given_token(app=partner_app, now=now)


@pytest.fixture
def api(token: str) -> ApiClient:
    """Calls the partner API as `partner_app`."""
    return ApiClient(token)


@pytest.fixture
def other_api(other_operator: VirtualOperator, now: datetime) -> ApiClient:
    """Calls the partner API as an app of `other_operator`."""
    app, _ = given_partner_app(operator=other_operator, now=now)
    return ApiClient(given_token(app=app, now=now))

"""Connections: who may make them, what is refused, that secrets stay secret, and what the database forbids."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.test import override_settings

from apps.accounts.states import Role
from apps.audit.models import AuditEvent
from apps.carriers import selectors, services
from apps.carriers.adapters.unicom import UnicomAdapter
from apps.carriers.errors import (
    CarrierNotConnected,
    ConnectionExists,
    ConnectionInvalid,
    ConnectionNotLive,
    ConnectionUnknown,
)
from apps.carriers.models import CarrierConnection
from apps.carriers.transport import Limits, Transport
from apps.core.actor import Actor
from apps.core.errors import Forbidden
from apps.core.sealing import SealBroken
from apps.operators.models import HostCarrier, VirtualOperator
from tests.carriers.conftest import refused
from tests.factories.accounts import given_user

SECRET = "a-secret-of-the-carrier"
CALLBACK_SECRET = "another-secret-for-callbacks"

Connect = Callable[..., CarrierConnection]


@pytest.fixture
def connect(
    platform_admin: Actor, operator: VirtualOperator, carriers: dict[str, HostCarrier], now: datetime
) -> Connect:
    def make(**changes: Any) -> CarrierConnection:
        settings: dict[str, Any] = {
            "actor": platform_admin,
            "operator": operator,
            "host_carrier": carriers["unicom"],
            "dialect": "unicom",
            "base_url": "https://carrier.example/unicom/",
            "app_key": "snail-live",
            "secret": SECRET,
            "callback_secret": CALLBACK_SECRET,
            "now": now,
        }
        return services.connect(**{**settings, **changes})

    return make


def _written() -> tuple[int, int]:
    return CarrierConnection.objects.count(), AuditEvent.objects.filter(
        target_type="carrier_connection"
    ).count()


def test_connect_gives_a_live_connection_and_one_audit_row(
    connect: Connect, operator: VirtualOperator, now: datetime
) -> None:
    connection = connect()

    found = selectors.get_connection(operator_id=operator.pk, host_carrier_id=connection.host_carrier_id)
    assert found == connection
    assert found.is_active
    assert found.base_url == "https://carrier.example/unicom"
    assert found.uid.startswith("con_")
    [audited] = AuditEvent.objects.filter(target_type="carrier_connection")
    assert (audited.action, audited.target_id, audited.operator_id) == (
        "carrier_connection.connect",
        connection.uid,
        operator.pk,
    )


def test_secrets_are_sealed_and_in_no_text_of_the_database(connect: Connect) -> None:
    connection = connect()

    assert SECRET.encode() not in bytes(connection.secret_sealed)
    audited = AuditEvent.objects.get(target_id=connection.uid)
    assert SECRET not in str(audited.after)
    assert CALLBACK_SECRET not in str(audited.after)
    adapter = services.adapter_for(connection)
    assert (adapter.account.secret, adapter.account.callback_secret) == (SECRET, CALLBACK_SECRET)


def test_a_secret_moved_to_another_row_does_not_open(
    connect: Connect, other_operator: VirtualOperator
) -> None:
    mine = connect()
    others = connect(operator=other_operator, app_key="other-live", secret="the-secret-of-the-other-one")

    others.secret_sealed = mine.secret_sealed
    with pytest.raises(SealBroken):
        services.adapter_for(others)
    mine.callback_secret_sealed = mine.secret_sealed
    with pytest.raises(SealBroken):
        services.adapter_for(mine)


@override_settings(KAIHU_PUBLIC_URL="https://kaihu.example")
def test_adapter_speaks_as_that_operator_without_a_query(
    connect: Connect, django_assert_num_queries: Callable[[int], Any]
) -> None:
    connection = connect(timeout_seconds=3.5, max_in_flight=7)

    with django_assert_num_queries(0):
        adapter = services.adapter_for(connection)
        again = services.adapter_for(connection)

    assert isinstance(adapter, UnicomAdapter)
    assert adapter.account.app_key == "snail-live"
    assert adapter.account.base_url == "https://carrier.example/unicom"
    assert adapter.account.notify_url == f"https://kaihu.example/carrier/callbacks/{connection.uid}"
    assert adapter.exchange is again.exchange
    assert isinstance(adapter.exchange, Transport)
    assert adapter.exchange.limits == Limits(total_seconds=3.5, max_in_flight=7)


@pytest.mark.parametrize(
    ("changes", "pointers"),
    [
        ({"dialect": "morse"}, {"/dialect"}),
        ({"base_url": "http://carrier.example/unicom"}, {"/base_url"}),
        ({"base_url": "http://10.0.0.7:9100/unicom"}, {"/base_url"}),
        ({"base_url": "ftp://127.0.0.1/unicom"}, {"/base_url"}),
        ({"base_url": "https://user@carrier.example/unicom"}, {"/base_url"}),
        ({"base_url": "https://carrier.example/unicom?x=1"}, {"/base_url"}),
        ({"base_url": "https://carrier.example:port/unicom"}, {"/base_url"}),
        ({"base_url": "https://"}, {"/base_url"}),
        ({"base_url": ""}, {"/base_url"}),
        ({"app_key": "with space"}, {"/app_key"}),
        ({"secret": "short"}, {"/secret"}),
        ({"callback_secret": ""}, {"/callback_secret"}),
        ({"timeout_seconds": 0.0}, {"/timeout_seconds"}),
        ({"timeout_seconds": float("nan")}, {"/timeout_seconds"}),
        ({"settle_seconds": -1.0}, {"/settle_seconds"}),
        ({"max_in_flight": 0}, {"/max_in_flight"}),
        ({"max_in_flight": 1001, "app_key": "", "secret": ""}, {"/max_in_flight", "/app_key", "/secret"}),
    ],
)
def test_settings_that_cannot_work_are_refused_all_at_once(
    connect: Connect, changes: dict[str, Any], pointers: set[str]
) -> None:
    with refused(ConnectionInvalid) as info:
        connect(**changes)

    assert {error.pointer for error in info.value.errors} == pointers
    assert _written() == (0, 0)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9100/unicom", "http://localhost:9100", "http://[::1]:9100/unicom"]
)
def test_plain_http_is_for_this_machine(connect: Connect, url: str) -> None:
    assert connect(base_url=url).base_url == url


def test_without_the_right_nothing_happens(connect: Connect, operator_admin: Actor, now: datetime) -> None:
    connection = connect()
    before = _written()

    with refused(Forbidden):
        connect(actor=operator_admin)
    with refused(Forbidden):
        services.reconfigure(
            actor=operator_admin, connection_uid=connection.uid, timeout_seconds=1.0, now=now
        )
    with refused(Forbidden):
        services.disconnect(actor=operator_admin, connection_uid=connection.uid, reason="x", now=now)

    assert _written() == before
    assert CarrierConnection.objects.get().timeout_seconds == connection.timeout_seconds


def test_one_live_connection_per_operator_and_carrier(connect: Connect) -> None:
    connect()
    before = _written()

    with refused(ConnectionExists, match="live connection to this carrier"):
        connect(app_key="second-account")

    assert _written() == before


def test_one_operator_per_account_at_the_carrier(connect: Connect, other_operator: VirtualOperator) -> None:
    connect()
    before = _written()

    with refused(ConnectionExists, match="account at the carrier"):
        connect(operator=other_operator)

    assert _written() == before


def test_disconnected_is_not_used_for_jobs_but_heard(
    connect: Connect, platform_admin: Actor, operator: VirtualOperator, now: datetime
) -> None:
    connection = connect()

    services.disconnect(
        actor=platform_admin,
        connection_uid=connection.uid,
        reason="contract ended",
        now=now + timedelta(days=1),
    )

    with refused(CarrierNotConnected):
        selectors.get_connection(operator_id=operator.pk, host_carrier_id=connection.host_carrier_id)
    heard = selectors.get_connection_by_uid(uid=connection.uid)
    assert not heard.is_active
    assert services.adapter_for(heard).account.callback_secret == CALLBACK_SECRET
    audited = AuditEvent.objects.get(action="carrier_connection.disconnect")
    assert (audited.reason, audited.target_id) == ("contract ended", connection.uid)
    before = _written()
    with refused(ConnectionNotLive):
        services.disconnect(actor=platform_admin, connection_uid=connection.uid, reason="again", now=now)
    with refused(ConnectionNotLive):
        services.reconfigure(
            actor=platform_admin, connection_uid=connection.uid, timeout_seconds=1.0, now=now
        )
    assert _written() == before


def test_after_a_disconnect_the_operator_connects_anew(
    connect: Connect, platform_admin: Actor, now: datetime
) -> None:
    old = connect()
    services.disconnect(actor=platform_admin, connection_uid=old.uid, reason="moved", now=now)

    assert connect().pk != old.pk


def test_reconfigure_changes_what_is_given_and_says_so(
    connect: Connect, platform_admin: Actor, now: datetime
) -> None:
    connection = connect()

    services.reconfigure(
        actor=platform_admin,
        connection_uid=connection.uid,
        base_url="http://127.0.0.1:9200/unicom/",
        secret="a-rotated-secret-of-ours",
        max_in_flight=8,
        now=now,
    )

    changed = CarrierConnection.objects.get()
    adapter = services.adapter_for(changed)
    assert (adapter.account.base_url, adapter.account.secret) == (
        "http://127.0.0.1:9200/unicom",
        "a-rotated-secret-of-ours",
    )
    assert adapter.account.callback_secret == CALLBACK_SECRET
    assert (changed.max_in_flight, changed.timeout_seconds) == (8, connection.timeout_seconds)
    audited = AuditEvent.objects.get(action="carrier_connection.reconfigure")
    assert audited.before is not None
    assert audited.after is not None
    assert audited.after["changed"] == ["base_url", "max_in_flight", "secret_sealed"]
    assert (audited.before["max_in_flight"], audited.after["max_in_flight"]) == (64, 8)
    assert "a-rotated-secret" not in str(audited.after)


def test_reconfigure_to_the_same_writes_nothing(
    connect: Connect, platform_admin: Actor, now: datetime
) -> None:
    connection = connect()
    before = _written()

    services.reconfigure(
        actor=platform_admin,
        connection_uid=connection.uid,
        base_url="https://carrier.example/unicom",
        secret=SECRET,
        callback_secret=CALLBACK_SECRET,
        timeout_seconds=connection.timeout_seconds,
        dedupes_by_reference=True,
        now=now,
    )

    assert _written() == before


def test_reconfigure_refuses_what_connect_refuses(
    connect: Connect, platform_admin: Actor, now: datetime
) -> None:
    connection = connect()
    before = _written()

    with refused(ConnectionInvalid):
        services.reconfigure(
            actor=platform_admin, connection_uid=connection.uid, base_url="http://carrier.example", now=now
        )

    assert _written() == before
    assert CarrierConnection.objects.get().base_url == connection.base_url


@pytest.mark.parametrize(
    "uid", ["con_00000000000000000000000000", "con_x", "", "ord_01h455vb4pex5vsknk084sn02q"]
)
def test_an_unknown_connection_does_not_exist(platform_admin: Actor, now: datetime, uid: str) -> None:
    with refused(ConnectionUnknown):
        selectors.get_connection_by_uid(uid=uid)
    with refused(ConnectionUnknown):
        services.disconnect(actor=platform_admin, connection_uid=uid, reason="x", now=now)


def test_connections_of_others_are_not_listed(
    connect: Connect, operator_admin: Actor, platform_admin: Actor, other_operator: VirtualOperator
) -> None:
    mine = connect()
    others = connect(operator=other_operator, app_key="other-live")

    assert list(selectors.list_connections(actor=operator_admin)) == [mine]
    assert set(selectors.list_connections(actor=platform_admin)) == {mine, others}


@pytest.mark.parametrize(
    ("setting", "value", "constraint"),
    [
        ("timeout_seconds", 0, "connection_limits_are_positive"),
        ("settle_seconds", -1, "connection_limits_are_positive"),
        ("callback_wait_seconds", 0, "connection_limits_are_positive"),
        ("max_in_flight", 0, "connection_limits_are_positive"),
        ("disconnected_at", datetime(2000, 1, 1, tzinfo=UTC), "connection_ends_after_it_began"),
    ],
)
def test_the_database_refuses_what_must_never_be(
    connect: Connect, setting: str, value: Any, constraint: str
) -> None:
    connect()

    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        CarrierConnection.objects.update(**{setting: value})


# --- the admin ---


def test_the_admin_shows_own_connections_and_no_secret(
    connect: Connect, operator: VirtualOperator, other_operator: VirtualOperator, client: Any, now: datetime
) -> None:
    mine = connect()
    others = connect(operator=other_operator, app_key="other-live")
    client.force_login(given_user(role=Role.OPERATOR_ADMIN, operator=operator, now=now))

    listed = client.get("/admin/carriers/carrierconnection/").content.decode()
    shown = client.get(f"/admin/carriers/carrierconnection/{mine.pk}/change/")
    foreign = client.get(f"/admin/carriers/carrierconnection/{others.pk}/change/")

    assert mine.uid in listed
    assert others.uid not in listed
    assert shown.status_code == 200
    for secret in (SECRET, CALLBACK_SECRET, bytes(mine.secret_sealed).hex(), "secret_sealed"):
        assert secret not in shown.content.decode()
    assert foreign.status_code != 200
    assert others.app_key not in foreign.content.decode()


def test_the_admin_changes_nothing(connect: Connect, client: Any, now: datetime) -> None:
    connection = connect()
    client.force_login(given_user(role=Role.PLATFORM, now=now))

    for path in (f"{connection.pk}/change/", f"{connection.pk}/delete/", "add/"):
        assert (
            client.post(
                f"/admin/carriers/carrierconnection/{path}", {"base_url": "https://evil.example"}
            ).status_code
            == 403
        )

    assert CarrierConnection.objects.get().base_url == connection.base_url

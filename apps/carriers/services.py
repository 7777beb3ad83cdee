"""Connecting operators to host carriers, and getting from a connection to something that can be called."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from datetime import datetime
from urllib.parse import urlsplit

from django.conf import settings
from django.db import IntegrityError, transaction

from apps.audit import services as audit
from apps.carriers import transport
from apps.carriers.base import Account, Adapter
from apps.carriers.errors import ConnectionExists, ConnectionInvalid, ConnectionNotLive, ConnectionUnknown
from apps.carriers.models import CarrierConnection
from apps.carriers.registry import ADAPTERS
from apps.core.actor import Actor
from apps.core.db import operation, violated_constraint
from apps.core.errors import FieldError, NotFound
from apps.core.public_ids import get_by_uid
from apps.core.resealing import Batch, Columns, not_current, reseal
from apps.core.sealing import seal, unseal
from apps.operators.models import HostCarrier, VirtualOperator

CAPABILITY = "carriers.manage"
SHORTEST_SECRET = 16
LONGEST_WAIT_SECONDS = 86_400.0
LONGEST_CALL_SECONDS = 120.0
MOST_IN_FLIGHT = 1000
MOST_PER_SECOND = 10_000.0

_DETAILS = {
    "connection_one_live_per_carrier": "The operator has a live connection to this carrier already.",
    "connection_one_operator_per_account": "This account at the carrier is in use by another connection.",
}


@operation
def connect(
    *,
    actor: Actor,
    operator: VirtualOperator,
    host_carrier: HostCarrier,
    dialect: str,
    base_url: str,
    app_key: str,
    secret: str,
    callback_secret: str,
    now: datetime,
    timeout_seconds: float = 10.0,
    settle_seconds: float = 30.0,
    callback_wait_seconds: float = 60.0,
    max_in_flight: int = 64,
    calls_per_second: float = 100.0,
    dedupes_by_reference: bool = True,
) -> CarrierConnection:
    """Gives the operator its one live connection to that carrier; secrets are sealed and bound to the row.
    Audited.

    :raises Forbidden: without `carriers.manage`; NotFound for another operator's tenant.
    :raises ConnectionInvalid: every bad setting at once in `errors`.
    :raises ConnectionExists: the operator is connected to this carrier, or the account is taken.
    """
    actor.require(CAPABILITY)
    if not actor.sees(operator.pk):
        raise NotFound
    connection = CarrierConnection(
        operator=operator,
        host_carrier=host_carrier,
        dialect=dialect,
        base_url=base_url.rstrip("/"),
        app_key=app_key,
        timeout_seconds=timeout_seconds,
        settle_seconds=settle_seconds,
        callback_wait_seconds=callback_wait_seconds,
        max_in_flight=max_in_flight,
        calls_per_second=calls_per_second,
        dedupes_by_reference=dedupes_by_reference,
        connected_at=now,
    )
    _check(connection, secret=secret, callback_secret=callback_secret)
    connection.secret_sealed = seal(secret, context=connection.secret_context())
    connection.callback_secret_sealed = seal(callback_secret, context=connection.callback_secret_context())
    try:
        with transaction.atomic():
            connection.save(force_insert=True)
    except IntegrityError as error:
        detail = _DETAILS.get(violated_constraint(error) or "")
        if detail is None:
            raise
        raise ConnectionExists(detail) from None
    _record(actor, connection, "connect", now=now, after=_shown(connection))
    return connection


@operation
def reconfigure(
    *,
    actor: Actor,
    connection_uid: str,
    now: datetime,
    base_url: str | None = None,
    secret: str | None = None,
    callback_secret: str | None = None,
    timeout_seconds: float | None = None,
    settle_seconds: float | None = None,
    callback_wait_seconds: float | None = None,
    max_in_flight: int | None = None,
    calls_per_second: float | None = None,
    dedupes_by_reference: bool | None = None,
) -> CarrierConnection:
    """Changes what is given and leaves the rest; running jobs take the new settings with their next call.
    Audited, and nothing happens when nothing would change.

    :raises Forbidden, ConnectionUnknown, ConnectionNotLive, ConnectionInvalid: nothing is written then.
    """
    actor.require(CAPABILITY)
    connection = _locked(actor, connection_uid)
    before = _shown(connection)
    given = {
        "base_url": base_url.rstrip("/") if base_url is not None else None,
        "timeout_seconds": timeout_seconds,
        "settle_seconds": settle_seconds,
        "callback_wait_seconds": callback_wait_seconds,
        "max_in_flight": max_in_flight,
        "calls_per_second": calls_per_second,
        "dedupes_by_reference": dedupes_by_reference,
    }
    changed = [
        name for name, value in given.items() if value is not None and value != getattr(connection, name)
    ]
    for name in changed:
        setattr(connection, name, given[name])
    _check(connection, secret=secret, callback_secret=callback_secret)
    if secret is not None and secret != _secret(connection):
        connection.secret_sealed = seal(secret, context=connection.secret_context())
        changed.append("secret_sealed")
    if callback_secret is not None and callback_secret != _callback_secret(connection):
        connection.callback_secret_sealed = seal(
            callback_secret, context=connection.callback_secret_context()
        )
        changed.append("callback_secret_sealed")
    if changed:
        connection.save(update_fields=changed)
        after = {**_shown(connection), "changed": sorted(changed)}
        _record(actor, connection, "reconfigure", now=now, before=before, after=after)
    return connection


@operation
def disconnect(*, actor: Actor, connection_uid: str, reason: str, now: datetime) -> CarrierConnection:
    """Ends the connection: no job is sent over it from here on; callbacks are still heard. Audited.

    :raises Forbidden, ConnectionUnknown, ConnectionNotLive: nothing is written then.
    """
    actor.require(CAPABILITY)
    connection = _locked(actor, connection_uid)
    connection.disconnect(now=now)
    _record(
        actor, connection, "disconnect", now=now, before={"live": True}, after={"live": False}, reason=reason
    )
    return connection


@operation
def stop_calls(*, actor: Actor, connection_uid: str, reason: str, now: datetime) -> CarrierConnection:
    """The kill switch: no worker begins a call over it from here on, and jobs wait; callbacks are still heard. Audited.

    :raises Forbidden, ConnectionUnknown, ConnectionNotLive: nothing is written then.
    """
    actor.require(CAPABILITY)
    connection = _locked(actor, connection_uid)
    if connection.stopped_at is None:
        connection.stop(now=now)
        _record(
            actor,
            connection,
            "stop_calls",
            now=now,
            before={"calls": True},
            after={"calls": False},
            reason=reason,
        )
    return connection


@operation
def allow_calls(*, actor: Actor, connection_uid: str, reason: str, now: datetime) -> CarrierConnection:
    """Takes the kill switch back; the next sweep finds the jobs that wait. Audited.

    :raises Forbidden, ConnectionUnknown, ConnectionNotLive: nothing is written then.
    """
    actor.require(CAPABILITY)
    connection = _locked(actor, connection_uid)
    if connection.stopped_at is not None:
        connection.allow()
        _record(
            actor,
            connection,
            "allow_calls",
            now=now,
            before={"calls": False},
            after={"calls": True},
            reason=reason,
        )
    return connection


def hang_up(connections: Iterable[CarrierConnection]) -> None:
    """Closes this process's sockets to those carriers once nobody waits for an answer on them."""
    transport.hang_up([connection.pk for connection in connections])


def adapter_for(connection: CarrierConnection) -> Adapter:
    """Something that speaks to that carrier as that operator. Opens the secrets, so keep it no longer than
    the work; the sockets underneath are pooled per connection and process. No query, no network.
    """
    account = Account(
        base_url=connection.base_url,
        app_key=connection.app_key,
        secret=_secret(connection),
        callback_secret=_callback_secret(connection),
        notify_url=f"{settings.KAIHU_PUBLIC_URL}/carrier/callbacks/{connection.uid}",
    )
    limits = transport.Limits(
        total_seconds=connection.timeout_seconds, max_in_flight=connection.max_in_flight
    )
    exchange = transport.shared(connection_id=connection.pk, limits=limits)
    return ADAPTERS[connection.dialect](account=account, exchange=exchange)


def _locked(actor: Actor, uid: str) -> CarrierConnection:
    try:
        connection = get_by_uid(CarrierConnection.objects.visible_to(actor).select_for_update(), uid)
    except NotFound:
        raise ConnectionUnknown from None
    if not connection.is_active:
        raise ConnectionNotLive
    return connection


def _secret(connection: CarrierConnection) -> str:
    return unseal(bytes(connection.secret_sealed), context=connection.secret_context())


def _callback_secret(connection: CarrierConnection) -> str:
    return unseal(bytes(connection.callback_secret_sealed), context=connection.callback_secret_context())


def _check(connection: CarrierConnection, *, secret: str | None, callback_secret: str | None) -> None:
    errors = []
    if connection.dialect not in ADAPTERS:
        errors.append(FieldError("/dialect", "unknown_dialect", f"One of: {', '.join(sorted(ADAPTERS))}."))
    if not _is_usable_url(connection.base_url):
        errors.append(
            FieldError(
                "/base_url",
                "invalid_url",
                "An https address (http only to this machine), nothing after the path.",
            )
        )
    if not re.fullmatch(r"[A-Za-z0-9._-]{4,64}", connection.app_key):
        errors.append(
            FieldError(
                "/app_key", "invalid_app_key", "4 to 64 letters, digits, dots, underscores or hyphens."
            )
        )
    for name, value in (("secret", secret), ("callback_secret", callback_secret)):
        if value is not None and len(value) < SHORTEST_SECRET:
            errors.append(
                FieldError(f"/{name}", "secret_too_short", f"At least {SHORTEST_SECRET} characters.")
            )
    for name, lowest, highest in (
        ("timeout_seconds", 0.05, LONGEST_CALL_SECONDS),
        ("settle_seconds", 0.0, LONGEST_WAIT_SECONDS),
        ("callback_wait_seconds", 0.05, LONGEST_WAIT_SECONDS),
        ("max_in_flight", 1, MOST_IN_FLIGHT),
        ("calls_per_second", 0.1, MOST_PER_SECOND),
    ):
        if not lowest <= getattr(connection, name) <= highest:
            errors.append(FieldError(f"/{name}", "out_of_range", f"From {lowest} to {highest}."))
    if errors:
        raise ConnectionInvalid(errors=errors)


def _is_usable_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or parts.username or parts.query or parts.fragment or not url.isascii() or len(url) > 200:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_this_machine(host))


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _shown(connection: CarrierConnection) -> dict[str, object]:
    return {
        "dialect": connection.dialect,
        "base_url": connection.base_url,
        "app_key": connection.app_key,
        "timeout_seconds": connection.timeout_seconds,
        "settle_seconds": connection.settle_seconds,
        "callback_wait_seconds": connection.callback_wait_seconds,
        "max_in_flight": connection.max_in_flight,
        "calls_per_second": connection.calls_per_second,
        "dedupes_by_reference": connection.dedupes_by_reference,
    }


def _record(
    actor: Actor,
    connection: CarrierConnection,
    verb: str,
    *,
    now: datetime,
    before: dict[str, object] | None = None,
    after: dict[str, object] | None = None,
    reason: str = "",
) -> None:
    audit.record(
        actor=actor,
        action=f"carrier_connection.{verb}",
        target_type="carrier_connection",
        target_id=connection.uid,
        operator_id=connection.operator_id,
        before=before,
        after=after,
        reason=reason,
        now=now,
    )


_SEALED: Columns = {
    "secret_sealed": lambda row: row.secret_context(),
    "callback_secret_sealed": lambda row: row.callback_secret_context(),
}


@operation
def reseal_secrets(*, after: int, limit: int) -> Batch:
    """The next connections' secrets under the current data key; see `resealing.reseal`."""
    return reseal(model=CarrierConnection, columns=_SEALED, after=after, limit=limit)


def count_secrets_to_move() -> int:
    """How many connections hold secrets under another key than the current one."""
    return CarrierConnection.objects.filter(not_current(_SEALED)).count()

"""Writing and reading the audit trail."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import DataError, connection, transaction
from django.db.models import Q
from django.test.utils import CaptureQueriesContext

from apps.audit import selectors
from apps.audit import services as audit
from apps.audit.models import AuditEvent
from apps.core.actor import Actor, ActorKind
from tests.threads import in_parallel

STAFF = Actor(
    kind=ActorKind.STAFF,
    id="usr_1",
    label="li.na",
    operator_id=7,
    request_id="req-1",
    trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
    ip="192.0.2.1",
    capabilities=frozenset({"jobs.retry"}),
)


def record(
    *, now: datetime, actor: Actor = STAFF, operator_id: int | None = 7, target_id: str = "lin_1", **more
) -> None:
    audit.record(
        actor=actor,
        action="line.suspend",
        target_type="line",
        target_id=target_id,
        operator_id=operator_id,
        now=now,
        **more,
    )


@pytest.mark.django_db
def test_a_row_says_who_did_what_to_which_thing_and_how_it_changed(now: datetime) -> None:
    record(now=now, before={"status": "ACTIVE"}, after={"status": "SUSPENDED"}, reason="lost phone")
    [row] = AuditEvent.objects.values()
    assert row == {
        "id": row["id"],
        "at": now,
        "operator_id": 7,
        "actor_kind": "STAFF",
        "actor_id": "usr_1",
        "actor_label": "li.na",
        "request_id": "req-1",
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        "ip": "192.0.2.1",
        "action": "line.suspend",
        "target_type": "line",
        "target_id": "lin_1",
        "before": {"status": "ACTIVE"},
        "after": {"status": "SUSPENDED"},
        "reason": "lost phone",
    }


@pytest.mark.django_db
def test_what_did_not_change_is_null_and_not_empty(now: datetime) -> None:
    record(now=now, after={})
    row = AuditEvent.objects.get()
    assert row.before is None
    assert row.after == {}


@pytest.mark.django_db
@pytest.mark.parametrize("count", [0, 1, 2001])
def test_many_at_once_are_the_same_rows_as_one_by_one(now: datetime, count: int) -> None:
    """2001: more than go into one statement."""
    state = {
        "name": "开户 \U00020bb7 'quoted\" \\ {a,NULL}",
        "deep": {"list": [1, None, True, 1.5]},
        "n": None,
    }
    entries = [
        audit.Entry(
            target_id=f"lin_{number}",
            operator_id=(7, None, 2**40)[number % 3],
            before=(None, {}, state)[number % 3],
            after=({}, state, None)[number % 3],
        )
        for number in reversed(range(count))
    ]
    shared = {
        "actor": STAFF,
        "action": "line.suspend",
        "target_type": "line",
        "now": now,
        "reason": "原因" * 400,
    }
    for entry in entries:
        audit.record(
            target_id=entry.target_id,
            operator_id=entry.operator_id,
            before=entry.before,
            after=entry.after,
            **shared,
        )
    singly = rows()
    audit.record_many(entries=entries, **shared)
    together = rows()[count:]
    assert together == singly
    assert [row["target_id"] for row in together] == [entry.target_id for entry in entries]


def rows() -> list[dict[str, Any]]:
    """In the order of their ids, which they do not show; a JSON null is not a NULL."""
    columns = [field.attname for field in AuditEvent._meta.concrete_fields if field.attname != "id"]
    nulls = {"no_before": Q(before__isnull=True), "no_after": Q(after__isnull=True)}
    return list(AuditEvent.objects.order_by("id").values(*columns, **nulls))


@pytest.mark.django_db
def test_many_rows_have_no_statement_each(now: datetime) -> None:
    entries = [audit.Entry(target_id="lin_1", operator_id=7)] * 2001
    with CaptureQueriesContext(connection) as queries:
        audit.record_many(actor=STAFF, action="line.open", target_type="line", entries=entries, now=now)
    assert len(queries) == 2


@pytest.mark.django_db
@pytest.mark.parametrize("ip", ["192.0.2.1", "2001:db8::1", "", None])
def test_an_address_is_kept_and_an_empty_one_is_none(now: datetime, ip: str | None) -> None:
    actor = replace(STAFF, ip=ip)
    record(now=now, actor=actor)
    audit.record_many(
        actor=actor,
        action="a.b",
        target_type="t",
        entries=[audit.Entry(target_id="x", operator_id=7)],
        now=now,
    )
    assert list(AuditEvent.objects.values_list("ip", flat=True)) == [ip or None] * 2


@pytest.mark.django_db
@pytest.mark.parametrize(
    "wrong",
    [
        {"before": {"text": "\0"}},
        {"after": {"number": float("nan")}},
        {"target_id": "x" * 65},
        {"after": {"when": datetime(2026, 3, 1, tzinfo=UTC)}},
        {"now": datetime(2026, 3, 1)},  # noqa: DTZ001 - the fault in question
    ],
    ids=["NUL", "NaN", "long", "no JSON", "no time zone"],
)
def test_what_no_column_can_hold_is_refused_by_both(now: datetime, wrong: dict[str, Any]) -> None:
    shared = {"actor": STAFF, "action": "a.b", "target_type": "t", "now": wrong.pop("now", now)}
    one = {"target_id": "x", "operator_id": 7, **wrong}
    with pytest.raises((DataError, TypeError, ValueError)), transaction.atomic():
        audit.record(**shared, **one)
    with pytest.raises((DataError, TypeError, ValueError)), transaction.atomic():
        audit.record_many(**shared, entries=[audit.Entry(**one)])
    assert AuditEvent.objects.count() == 0


@pytest.mark.django_db
def test_a_long_reason_is_cut_and_not_refused(now: datetime) -> None:
    record(now=now, reason="原因" * 400)
    assert AuditEvent.objects.get().reason == "原因" * 250


@pytest.mark.django_db(transaction=True)
def test_it_is_undone_together_with_the_change_it_speaks_of(now: datetime) -> None:
    def change_that_fails() -> None:
        with transaction.atomic():
            record(now=now)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        change_that_fails()
    assert AuditEvent.objects.count() == 0
    record(now=now)
    assert AuditEvent.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_rows_are_added_at_the_same_time_without_waiting_for_each_other(now: datetime) -> None:
    in_parallel(4, lambda number: record(now=now, target_id=f"lin_{number}"))
    assert set(AuditEvent.objects.values_list("target_id", flat=True)) == {"lin_0", "lin_1", "lin_2", "lin_3"}


@pytest.mark.django_db
def test_the_history_of_things_is_read_oldest_first_and_only_by_those_who_see_them(now: datetime) -> None:
    record(now=now, reason="first")
    record(now=now, reason="second")
    record(now=now, target_id="lin_2", reason="third")
    record(now=now, target_id="lin_3", reason="another thing")
    record(now=now, operator_id=8, reason="another operator's thing of the same name")
    audit.record(
        actor=STAFF,
        action="sim.bind",
        target_type="sim",
        target_id="lin_1",
        operator_id=7,
        now=now,
        reason="a SIM",
    )

    def reasons(actor: Actor) -> list[str]:
        found = selectors.list_for_target(actor=actor, target_type="line", target_ids=["lin_1", "lin_2"])
        return [row.reason for row in found]

    assert reasons(STAFF) == ["first", "second", "third"]
    assert reasons(Actor.system("sweep")) == [
        "first",
        "second",
        "third",
        "another operator's thing of the same name",
    ]
    assert reasons(Actor.system("other", operator_id=8)) == ["another operator's thing of the same name"]
    assert reasons(Actor.system("nobody", operator_id=9)) == []

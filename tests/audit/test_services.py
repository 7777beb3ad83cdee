"""Writing and reading the audit trail."""

from __future__ import annotations

from datetime import datetime

import pytest
from django.db import transaction

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

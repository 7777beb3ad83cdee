"""The audit trail can only grow: the database itself refuses everything else."""

from __future__ import annotations

from datetime import datetime

import pytest
from django.db import IntegrityError, connection, transaction

from apps.audit import services as audit
from apps.audit.models import AuditEvent, AuditSeal
from apps.core.actor import Actor
from apps.core.db import violated_constraint

pytestmark = pytest.mark.django_db


@pytest.fixture
def event(now: datetime) -> AuditEvent:
    audit.record(
        actor=Actor.system("tests"),
        action="line.activate",
        target_type="line",
        target_id="lin_1",
        operator_id=7,
        now=now,
    )
    return AuditEvent.objects.get()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_auditevent SET actor_label = 'nobody'",
        "UPDATE audit_auditevent SET reason = reason",
        "DELETE FROM audit_auditevent",
        "TRUNCATE audit_auditevent",
        "TRUNCATE audit_auditevent CASCADE",
        "UPDATE audit_auditseal SET hash = hash",
        "DELETE FROM audit_auditseal",
        "TRUNCATE audit_auditseal",
    ],
)
def test_the_database_refuses_to_change_history(event: AuditEvent, statement: str) -> None:
    assert audit.seal() == 1
    with connection.cursor() as cursor:
        # Switched off for all tests by conftest.py; everything else is as the migrations made it.
        cursor.execute("ALTER TABLE audit_auditevent ENABLE TRIGGER audit_no_truncate")
        cursor.execute("ALTER TABLE audit_auditseal ENABLE TRIGGER audit_seal_no_truncate")
        with pytest.raises(IntegrityError, match="append-only") as refused, transaction.atomic():
            cursor.execute(statement)
    assert violated_constraint(refused.value) == "audit_append_only"
    kept = AuditEvent.objects.get()
    assert (kept.actor_label, kept.action, kept.target_id) == ("tests", "line.activate", "lin_1")
    assert AuditSeal.objects.get().audit_event_id == kept.pk


def test_the_model_cannot_change_history_either(event: AuditEvent) -> None:
    event.reason = "changed"
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        event.save()
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        event.delete()
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        AuditEvent.objects.update(reason="changed")
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        AuditEvent.objects.all().delete()
    assert AuditEvent.objects.get().reason == ""


def test_adding_works_with_every_trigger_on(event: AuditEvent) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE audit_auditevent ENABLE TRIGGER ALL")
    AuditEvent.objects.create(
        at=event.at,
        actor_kind="SYSTEM",
        actor_id="x",
        actor_label="x",
        action="a.b",
        target_type="t",
        target_id="i",
    )
    assert AuditEvent.objects.count() == 2

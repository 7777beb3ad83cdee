"""Reading the audit trail."""

from __future__ import annotations

from collections.abc import Collection

from django.db.models import QuerySet

from apps.audit.models import AuditEvent, AuditSeal
from apps.core.actor import Actor


def list_for_target(*, actor: Actor, target_type: str, target_ids: Collection[str]) -> QuerySet[AuditEvent]:
    """What happened to these things, oldest first, as far as the actor may see it."""
    return (
        AuditEvent.objects.visible_to(actor)
        .filter(target_type=target_type, target_id__in=target_ids)
        .order_by("id")
    )


def get_seal(*, event: AuditEvent) -> AuditSeal | None:
    """The place of a row, which the caller may see, in its chain; None in the seconds before it has one."""
    return AuditSeal.objects.filter(audit_event_id=event.pk).first()

"""Requests to end quarantines early."""

from __future__ import annotations

from collections.abc import Collection

from django.db.models import QuerySet

from apps.core.actor import Actor
from apps.core.errors import NotFound
from apps.core.public_ids import get_by_uid
from apps.numbering.models import EarlyRelease
from apps.numbering.selectors.rows import get_number_for_update
from apps.numbering.states import ReleaseStatus


def get_early_release_for_update(*, actor: Actor, uid: str) -> EarlyRelease:
    """Locks its number, which comes along, then the row.

    :raises NotFound: malformed, unknown, another operator's, or of a number that is another operator's by now.
    """
    seen = get_by_uid(EarlyRelease.objects.visible_to(actor), uid)
    number = get_number_for_update(number=seen.number_id, operator_id=seen.operator_id)
    if number is None:
        raise NotFound
    locked = EarlyRelease.objects.select_for_update().get(pk=seen.pk)
    locked.number = number
    return locked


def list_early_releases_for_update(*, numbers: Collection[int]) -> QuerySet[EarlyRelease]:
    """Locks those of these (locked) numbers that nobody has decided, in their order."""
    waiting = EarlyRelease.objects.filter(number_id__in=numbers, status=ReleaseStatus.REQUESTED)
    return waiting.select_for_update().order_by("pk")


def has_early_release(*, number: int) -> bool:
    """Whether a request for the number waits for a decision."""
    return EarlyRelease.objects.filter(number_id=number, status=ReleaseStatus.REQUESTED).exists()


def count_early_releases(*, actor: Actor) -> int:
    """How many wait for a decision."""
    return EarlyRelease.objects.visible_to(actor).filter(status=ReleaseStatus.REQUESTED).count()

"""When a person's service has ended for good: this app knows it, and has the data erased that subscribers keeps."""

from __future__ import annotations

from datetime import datetime

from django.db.models import Exists, OuterRef, Q, QuerySet

from apps.core.actor import Actor
from apps.core.db import operation
from apps.lines.models import Line, UserAssignment
from apps.operators import policies
from apps.operators import selectors as operators
from apps.operators.policies import PolicyKey
from apps.subscribers import selectors as people
from apps.subscribers import services as subscribers
from apps.subscribers.models import Subscriber


def erase_former_holders(*, actor: Actor, now: datetime, limit: int = 500) -> int:
    """Erases up to `limit` people of each operator whose retention has run out; returns how many.

    The clock (policy `subscribers.retention_years`, Order 25 art. 11) starts when the last line ended or went to
    somebody else, theirs or one they used; for those who never had one, when they registered. Held people are passed
    over. Each person is a transaction of their own, so it may be killed and run again.
    """
    erased = 0
    for operator in operators.list_operators(actor=actor):
        years = policies.get(operator_id=operator.pk, key=PolicyKey.RETENTION_YEARS, now=now)
        before = _years_before(now, years)
        due = _due(operator.pk, before).order_by("pk").values_list("pk", flat=True)
        for subscriber_id in due[:limit]:
            erased += erase_former_holder(
                actor=actor, operator_id=operator.pk, subscriber_id=subscriber_id, before=before, now=now
            )
    return erased


@operation
def erase_former_holder(
    *, actor: Actor, operator_id: int, subscriber_id: int, before: datetime, now: datetime
) -> bool:
    """Erases one person, when that is still due under the lock; see `subscribers.erase_subscriber`.

    Whoever opens a line for the person waits for the lock, and then finds a tombstone and stops.
    """
    subscribers.lock_for_erasure(subscriber_id=subscriber_id)
    if not _due(operator_id, before).filter(pk=subscriber_id).exists():
        return False
    return subscribers.erase_subscriber(actor=actor, subscriber_id=subscriber_id, now=now)


def _due(operator_id: int, before: datetime) -> QuerySet[Subscriber]:
    """People whom nothing keeps, and who have had or used no line since that moment."""
    served = Line.objects.filter(
        Q(terminated_at=None) | Q(terminated_at__gt=before), subscriber=OuterRef("pk")
    )
    used = UserAssignment.objects.filter(Q(released_at=None) | Q(released_at__gt=before), user=OuterRef("pk"))
    erasable = people.list_erasable(operator_id=operator_id, before=before)
    return erasable.filter(~Exists(served), ~Exists(used))


def _years_before(now: datetime, years: int) -> datetime:
    try:
        return now.replace(year=now.year - years)
    except ValueError:  # 29 February
        return now.replace(year=now.year - years, day=28)

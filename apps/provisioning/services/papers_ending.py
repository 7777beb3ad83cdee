"""Telling staff in time that a licence or agreement ends, after which no new line can be opened."""

from __future__ import annotations

from datetime import datetime

from apps.audit import services as audit
from apps.core.actor import Actor
from apps.core.db import use_case
from apps.events import services as events
from apps.operators import policies
from apps.operators import selectors as operators
from apps.operators.policies import REGISTRY, PolicyKey, Steps
from apps.operators.selectors import EndingPaper
from apps.provisioning.models import PaperWarning


def warn_of_ending_papers(*, actor: Actor, now: datetime) -> int:
    """An event and an audit row for every paper that has come to a step of its operator's ladder; returns how many.

    Each step is told once, however often this runs. Steps that were missed are told as one, the nearest; a paper that
    another one continues is not spoken of. Source of the steps: policy operators.paper_warning_days.
    """
    ladder = REGISTRY[PolicyKey.PAPER_WARNING_DAYS]
    assert isinstance(ladder, Steps)  # noqa: S101 - the registry is code
    warned = 0
    for paper in operators.list_ending_papers(actor=actor, now=now, within_days=ladder.most):
        steps = policies.get(operator_id=paper.operator.pk, key=PolicyKey.PAPER_WARNING_DAYS, now=now)
        reached = [days for days in steps if paper.days_left <= days]
        if reached:
            warned += warn_of_paper(actor=actor, paper=paper, days=min(reached), now=now)
    return warned


@use_case
def warn_of_paper(*, actor: Actor, paper: EndingPaper, days: int, now: datetime) -> bool:
    """Tells one step of one paper; False when it was told before."""
    _, is_new = PaperWarning.objects.get_or_create(
        paper=paper.uid,
        valid_until=paper.valid_until,
        days=days,
        defaults={"operator": paper.operator, "warned_at": now},
    )
    if not is_new:
        return False
    facts = {"valid_until": paper.valid_until.isoformat(), "days_left": paper.days_left}
    audit.record(
        actor=actor,
        action=f"{paper.kind}.warn",
        target_type=paper.kind,
        target_id=paper.uid,
        operator_id=paper.operator.pk,
        before=None,
        after=facts,
        now=now,
    )
    events.publish(
        type=f"{paper.kind}.ending",
        operator_id=paper.operator.pk,
        subject=paper.uid,
        data={paper.kind: paper.uid, **facts, **({"carrier": paper.carrier} if paper.carrier else {})},
        actor=actor,
        now=now,
    )
    return True

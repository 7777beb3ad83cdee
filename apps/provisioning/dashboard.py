"""The admin's first page: what waits for a person, what is on its way, and how long the papers last."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.timesince import timesince

from apps.accounts.actors import staff_actor
from apps.accounts.roles import may_see
from apps.core import clock
from apps.core.actor import Actor
from apps.numbering import selectors as numbering
from apps.operators import policies
from apps.operators import selectors as operators
from apps.operators.policies import PolicyKey
from apps.operators.states import Validity
from apps.provisioning import selectors
from apps.provisioning.selectors import Backlog
from apps.provisioning.services.reconciliation.runs import MANAGE
from apps.subscribers import selectors as subscribers

# Cards of papers that end, and when they turn red.
MOST_PAPERS = 8
URGENT_DAYS = 7


def context(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Hook of the admin's theme: adds `dashboard`, groups of cards for the person who looks."""
    actor = staff_actor(request)
    backlog = selectors.get_backlog(actor=actor)
    groups = [
        {"title": "Waits for a person", "cards": _waiting(actor, backlog)},
        {"title": "On its way", "cards": _moving(backlog)},
    ]
    if may_see(request.user.role, "operators"):  # type: ignore[union-attr]
        groups.append({"title": "Papers", "cards": _papers(actor)})
    return {**context, "dashboard": [group for group in groups if group["cards"]]}


def _card(
    title: str, value: object, *, note: str, href: str, bad: bool, word: str, tone: str = "danger"
) -> dict[str, Any]:
    return {
        "title": title,
        "value": value,
        "note": note,
        "href": href,
        "tone": tone if bad else "success",
        "word": word if bad else "ok",
    }


def _waiting(actor: Actor, backlog: Backlog) -> list[dict[str, Any]]:
    now = clock.now()
    reviews = subscribers.get_waiting_cases(actor=actor)
    disputes = selectors.get_waiting_disputes(actor=actor, now=now)
    jobs = reverse("admin:provisioning_activationjob_changelist")
    return [
        _card(
            "Dead letters",
            backlog.dead_letters,
            note="Jobs out of attempts or misconfigured; Retry asks the carrier first.",
            href=f"{jobs}?dead=1",
            bad=backlog.dead_letters > 0,
            word="look",
        ),
        _card(
            "Odd callbacks",
            backlog.odd_callbacks,
            note="They contradict what is final, or speak of no job of ours.",
            href=f"{reverse('admin:provisioning_carriercallback_changelist')}?outcome__in=CONFLICT,UNMATCHED",
            bad=backlog.odd_callbacks > 0,
            word="look",
        ),
        _discrepancies(actor),
        _card(
            "Reviews",
            reviews.count,
            note=f"Real-name checks in doubt. The oldest waits {timesince(reviews.oldest_at, now, depth=1)}."
            if reviews.oldest_at
            else "Real-name checks in doubt, which a second person decides.",
            href=f"{reverse('admin:subscribers_reviewcase_changelist')}?status__exact=OPEN",
            bad=reviews.count > 0,
            word="decide" if actor.can("realname.review") else "waiting",
            tone="warning",
        ),
        _card(
            "Disputes",
            disputes.count,
            note=f"“This number is not mine”; {disputes.overdue} past the deadline."
            if disputes.count
            else "“This number is not mine”: none is open.",
            href=f"{reverse('admin:provisioning_holderdispute_changelist')}?status__in=OPEN,VERIFYING",
            bad=disputes.count > 0,
            word="decide" if actor.can("disputes.decide") else "waiting",
            tone="danger" if disputes.overdue else "warning",
        ),
    ]


def _discrepancies(actor: Actor) -> dict[str, Any]:
    count = selectors.count_open_discrepancies(actor=actor, most=1000)
    return _card(
        "Discrepancies",
        "over 999" if count == 1000 else count,
        note="The carrier's own view differs from ours; each has a proposed repair.",
        href=f"{reverse('admin:provisioning_discrepancy_changelist')}?status__exact=OPEN",
        bad=count > 0,
        word="decide" if actor.can(MANAGE) else "waiting",
        tone="warning",
    )


def _moving(backlog: Backlog) -> list[dict[str, Any]]:
    jobs, orders = (
        reverse("admin:provisioning_activationjob_changelist"),
        reverse("admin:provisioning_serviceorder_changelist"),
    )
    oldest = (
        f"The oldest is {backlog.oldest_open_minutes} min old."
        if backlog.oldest_open_minutes is not None
        else "None is open."
    )
    return [
        _card(
            "Jobs in doubt",
            backlog.in_doubt,
            note="The carrier has not answered; it is being asked.",
            href=f"{jobs}?status__exact=IN_DOUBT",
            bad=backlog.in_doubt > 0,
            word="asking",
            tone="warning",
        ),
        _card(
            "Jobs open",
            backlog.open_jobs,
            note=oldest,
            href=jobs,
            bad=(backlog.oldest_open_minutes or 0) >= 15,
            word="slow",
            tone="warning",
        ),
        _card(
            "Orders held",
            backlog.held_orders,
            note="Waiting for their real-name check.",
            href=f"{orders}?status__exact=HELD",
            bad=False,
            word="",
        ),
    ]


def _papers(actor: Actor) -> list[dict[str, Any]]:
    now = clock.now()
    leases = [*_ending_papers(actor, now), _ending_leases(actor, now)]
    if actor.operator_id is None:
        return leases
    licence = operators.get_licence_state(operator_id=actor.operator_id, now=now)
    cards = [("Licence", licence, reverse("admin:operators_licence_changelist"))]
    agreements = operators.list_agreement_states(operator_id=actor.operator_id, now=now)
    page = reverse("admin:operators_wholesaleagreement_changelist")
    cards += [(f"Agreement with {paper.carrier}", paper, page) for paper in agreements]
    return [
        _card(
            title,
            paper.state.replace("_", " ").capitalize(),
            note=f"{paper.number}, until {paper.valid_until}" if paper.valid_until else "None is on record.",
            href=href,
            bad=paper.state != Validity.VALID,
            word="no new lines",
        )
        for title, paper, href in cards
    ] + leases


def _ending_papers(actor: Actor, now: datetime) -> list[dict[str, Any]]:
    """A card for each that ends within the longest warning; whoever sees all operators gets those that end first."""
    days = policies.get(operator_id=actor.operator_id, key=PolicyKey.PAPER_WARNING_DAYS, now=now)[0]
    pages = {"licence": "operators_licence", "agreement": "operators_wholesaleagreement"}
    papers = operators.list_ending_papers(actor=actor, now=now, within_days=days)
    return [
        _card(
            f"{paper.kind.capitalize()} ends"
            if not paper.carrier
            else f"Agreement with {paper.carrier} ends",
            "1 day" if paper.days_left == 1 else f"{paper.days_left} days",
            note=f"{paper.operator.code}: {paper.number}, valid until {paper.valid_until}; no new lines after that.",
            href=f"{reverse(f'admin:{pages[paper.kind]}_changelist')}?q={paper.uid}",
            bad=True,
            word="renew",
            tone="danger" if paper.days_left <= URGENT_DAYS else "warning",
        )
        for paper in papers[:MOST_PAPERS]
    ]


def _ending_leases(actor: Actor, now: datetime) -> dict[str, Any]:
    ending = numbering.list_ending(actor=actor, now=now).count()
    return _card(
        "Leases ending",
        ending,
        note="Number ranges to be renewed or given back; a lease that is over sells nothing.",
        href=f"{reverse('admin:numbering_numberrange_changelist')}?ending=soon",
        bad=ending > 0,
        word="renew",
        tone="warning",
    )

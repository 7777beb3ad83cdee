"""Reading SIM stock."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import F, QuerySet

from apps.core.actor import Actor
from apps.core.errors import NotFound
from apps.sims.iccids import IDENTIFYING, MalformedIccid, normalise
from apps.sims.models import SimBatch, SimCard
from apps.sims.states import FormFactor, SimStatus

_TAKEN_IDENTITIES = f"""
SELECT LEFT(iccid, {IDENTIFYING}) FROM sims_simcard WHERE LEFT(iccid, {IDENTIFYING}) = ANY(%s::text[])
"""  # noqa: S608 - only our own constant is formatted in
_TAKEN_IMSIS = "SELECT imsi FROM sims_simcard WHERE imsi = ANY(%s::text[])"


@dataclass(frozen=True, slots=True)
class SimFilter:
    """What a list of cards is narrowed to; None means anything."""

    carrier: str | None = None
    status: SimStatus | None = None
    form_factor: FormFactor | None = None


def list_sims(*, actor: Actor, wanted: SimFilter) -> QuerySet[SimCard, Any]:
    """The operator's cards as dicts with `iccid carrier form_factor status`, unordered."""
    cards = SimCard.objects.visible_to(actor)
    if wanted.carrier is not None:
        cards = cards.filter(host_carrier__code=wanted.carrier)
    if wanted.status is not None:
        cards = cards.filter(status=wanted.status)
    if wanted.form_factor is not None:
        cards = cards.filter(form_factor=wanted.form_factor)
    return _shown(cards)


def get_sim(*, actor: Actor, iccid: str) -> dict[str, Any]:
    """The card as in the list, by 19 or 20 characters.

    :raises NotFound: malformed, unknown, or another operator's.
    """
    try:
        known = normalise(iccid)
    except MalformedIccid:
        raise NotFound from None
    card: dict[str, Any] | None = _shown(SimCard.objects.visible_to(actor).with_iccid(known)).first()
    if card is None:
        raise NotFound
    return card


def _shown(cards: QuerySet[SimCard]) -> QuerySet[SimCard, Any]:
    return cards.values("iccid", "form_factor", "status", carrier=F("host_carrier__code"))


def get_sim_for_update(*, sim_id: int, operator_id: int | None) -> SimCard:
    """Locks the row.

    :raises NotFound: unknown, or not that operator's (None: any).
    """
    cards = SimCard.objects.filter(pk=sim_id)
    if operator_id is not None:
        cards = cards.filter(operator_id=operator_id)
    card = cards.select_for_update().first()
    if card is None:
        raise NotFound
    return card


def get_sim_of_operator_for_update(*, operator_id: int, iccid: str) -> SimCard | None:
    """Locks the operator's card with that ICCID (19 or 20 characters); None when there is none."""
    try:
        known = normalise(iccid)
    except MalformedIccid:
        return None
    return SimCard.objects.filter(operator_id=operator_id).with_iccid(known).select_for_update().first()


def list_taken(*, iccids: Collection[str], imsis: Collection[str]) -> tuple[set[str], set[str]]:
    """Which of these identify a card in anybody's stock: the first 19 characters of ICCIDs, and IMSIs."""
    with connection.cursor() as cursor:
        # Arrays, because a file has more rows than a statement may have parameters.
        cursor.execute(_TAKEN_IDENTITIES, [[iccid[:IDENTIFYING] for iccid in iccids]])
        identities = {row[0] for row in cursor.fetchall()}
        cursor.execute(_TAKEN_IMSIS, [list(imsis)])
        return identities, {row[0] for row in cursor.fetchall()}


def has_batch(*, actor: Actor, operator_id: int, filename: str) -> bool:
    """Whether a file of that name was imported for the operator."""
    return SimBatch.objects.visible_to(actor).filter(operator_id=operator_id, filename=filename).exists()

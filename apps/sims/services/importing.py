"""Taking SIM batches into stock."""

from __future__ import annotations

from datetime import datetime

from django.db import connection

from apps.audit import services as audit
from apps.core.actor import Actor
from apps.core.db import operation
from apps.core.errors import Busy, FieldError, NotFound
from apps.operators.models import HostCarrier, VirtualOperator
from apps.sims import batch_file, selectors
from apps.sims.batch_file import CardRow, error_at
from apps.sims.iccids import IDENTIFYING
from apps.sims.magic import is_magic
from apps.sims.models import SimBatch
from apps.sims.states import SimStatus

# The right that an actor needs.
MANAGE_SIMS = "sims.manage"

_INSERT = f"""
INSERT INTO sims_simcard (operator_id, host_carrier_id, batch_id, status, iccid, imsi, form_factor, is_magic)
SELECT %s, %s, %s, '{SimStatus.IN_STOCK.value}', row.iccid, row.imsi, row.form_factor, row.is_magic
FROM unnest(%s::text[], %s::text[], %s::text[], %s::boolean[]) AS row(iccid, imsi, form_factor, is_magic)
ON CONFLICT DO NOTHING
"""  # noqa: S608 - only our own constant is formatted in


@operation
def import_batch(
    *,
    actor: Actor,
    operator: VirtualOperator,
    host_carrier: HostCarrier,
    filename: str,
    content: bytes,
    now: datetime,
) -> SimBatch:
    """Puts all cards of the CSV into the operator's stock, or none of them.

    The header names `iccid`, and `imsi` and `form_factor` if there are any. A card that is in anybody's stock is
    refused; in whose is not said.

    :raises Forbidden: without the right sims.manage. :raises NotFound: another operator's business.
    :raises SimBatchTooLarge: :raises SimBatchInvalid: `errors` has every bad row as /rows/<row>/<column>.
    :raises Busy: somebody imported the same cards at the same moment.
    """
    actor.require(MANAGE_SIMS)
    if not actor.sees(operator.pk):
        raise NotFound
    cards = sorted(batch_file.parse(content), key=lambda card: card.iccid)
    _check_stock(cards)
    batch = SimBatch(
        operator=operator,
        host_carrier=host_carrier,
        filename="".join(character for character in filename if character.isprintable())[-200:],
        rows=len(cards),
        imported_at=now,
    )
    batch.save(force_insert=True)
    _insert(batch, cards)
    audit.record(
        actor=actor,
        action="sim_batch.import",
        target_type="sim_batch",
        target_id=batch.uid,
        operator_id=operator.pk,
        after={"filename": batch.filename, "rows": batch.rows, "carrier": host_carrier.code},
        now=now,
    )
    return batch


def _check_stock(cards: list[CardRow]) -> None:
    identities, imsis = selectors.list_taken(
        iccids=[card.iccid for card in cards], imsis=[card.imsi for card in cards if card.imsi is not None]
    )
    found: list[FieldError] = []
    for card in sorted(cards, key=lambda card: card.row):
        if card.iccid[:IDENTIFYING] in identities:
            found.append(error_at(card.row, "iccid", "already_in_stock", "This card is in stock already."))
        if card.imsi in imsis:
            found.append(error_at(card.row, "imsi", "already_in_stock", "A card in stock has this IMSI."))
    if found:
        raise batch_file.refusal(found)


def _insert(batch: SimBatch, cards: list[CardRow]) -> None:
    """All rows in one statement; fewer than all means that another import was faster, and undoes ours."""
    with connection.cursor() as cursor:
        cursor.execute(
            _INSERT,
            [
                batch.operator_id,
                batch.host_carrier_id,
                batch.pk,
                [card.iccid for card in cards],
                [card.imsi for card in cards],
                [card.form_factor.value for card in cards],
                [is_magic(card.iccid) for card in cards],
            ],
        )
        if cursor.rowcount != len(cards):
            raise Busy("Somebody imported some of these cards at the same moment; try again.")

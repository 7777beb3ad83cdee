"""SIM stock."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import datetime

from apps.core.actor import Actor
from apps.operators.models import HostCarrier, VirtualOperator
from apps.sims import services as sims
from apps.sims.models import SimBatch, SimCard

SYSTEM = Actor.system("tests")
_serials = itertools.count(1)


def new_iccid(*, ending: str = "0000") -> str:
    """20 characters that no other call has returned, with these last four."""
    return f"8986019{next(_serials):09d}{ending}"


def new_imsi() -> str:
    return f"46009{next(_serials):010d}"


def csv_of(*iccids: str) -> bytes:
    return "\n".join(("iccid,imsi", *(f"{iccid},{new_imsi()}" for iccid in iccids))).encode()


def given_batch(
    *, operator: VirtualOperator, host_carrier: HostCarrier, now: datetime, iccids: Sequence[str] = ()
) -> SimBatch:
    """These cards in stock, or three plain ones."""
    return sims.import_batch(
        actor=SYSTEM,
        operator=operator,
        host_carrier=host_carrier,
        filename="cards.csv",
        content=csv_of(*(iccids or [new_iccid() for _ in range(3)])),
        now=now,
    )


def given_card(
    *, operator: VirtualOperator, host_carrier: HostCarrier, now: datetime, ending: str = "0000"
) -> SimCard:
    iccid = new_iccid(ending=ending)
    given_batch(operator=operator, host_carrier=host_carrier, now=now, iccids=[iccid])
    return SimCard.objects.get(iccid=iccid)

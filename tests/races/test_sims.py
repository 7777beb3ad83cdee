"""Many hands on the same SIM cards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest

from apps.audit.models import AuditEvent
from apps.core.errors import DomainError
from apps.operators.models import HostCarrier, VirtualOperator
from apps.sims import services as sims
from apps.sims.models import SimBatch, SimCard
from tests.factories.sims import SYSTEM, csv_of, given_batch, new_iccid
from tests.races.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)


def codes(results: Sequence[Any]) -> Counter[str]:
    return Counter(_code(result) for result in results)


def _code(result: Any) -> str:
    if isinstance(result, DomainError):
        return result.code
    return repr(result) if isinstance(result, Exception) else "ok"


def test_no_card_is_given_out_twice(
    operator: VirtualOperator, carriers: dict[str, HostCarrier], now: datetime
) -> None:
    unicom = carriers["unicom"]
    iccids = [new_iccid() for _ in range(205)]
    given_batch(operator=operator, host_carrier=unicom, now=now, iccids=iccids)
    wanted = {"actor": SYSTEM, "operator_id": operator.pk, "host_carrier_id": unicom.pk, "now": now}
    results = at_once(*[lambda: [sims.take_sim(**wanted).iccid for _ in range(50)]] * 4)
    taken = [iccid for each in results if isinstance(each, list) for iccid in each]
    assert len(taken) == len(set(taken)) == 200
    left = list(SimCard.objects.filter(status="IN_STOCK").values_list("iccid", flat=True))
    # The five that are left: two threads ask for one of them, the others for any.
    results = at_once(
        *[lambda: sims.take_sim(**wanted, iccid=left[0])] * 2, *[lambda: sims.take_sim(**wanted)] * 5
    )
    assert codes(results) == {"ok": 5, "sim_not_available": 2}
    assert AuditEvent.objects.filter(action="sim.take").count() == 205


def test_one_file_imported_twice_at_once(
    operator: VirtualOperator,
    other_operator: VirtualOperator,
    carriers: dict[str, HostCarrier],
    now: datetime,
) -> None:
    content = csv_of(*(new_iccid() for _ in range(300)))

    def deliver(owner: VirtualOperator) -> SimBatch:
        return sims.import_batch(
            actor=SYSTEM,
            operator=owner,
            host_carrier=carriers["unicom"],
            filename="cards.csv",
            content=content,
            now=now,
        )

    results = at_once(lambda: deliver(operator), lambda: deliver(other_operator))
    found = codes(results)
    # The second one sees the first one's cards before it inserts, or only then.
    assert found in ({"ok": 1, "busy": 1}, {"ok": 1, "sim_batch_invalid": 1})
    assert (SimBatch.objects.count(), SimCard.objects.count()) == (1, 300)
    assert AuditEvent.objects.filter(action="sim_batch.import").count() == 1

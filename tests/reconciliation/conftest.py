"""A carrier's view made of our own lines, changed as a test wants it; and a run that has it fetched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest

from apps.carriers.base import CarrierLine, LineState
from apps.core.db import database_now
from apps.lines import selectors as lines
from apps.lines.models import Line
from apps.lines.states import LIVE_LINE
from apps.numbering.numbers import to_e164
from apps.operators.models import VirtualOperator
from apps.provisioning.models import ActivationJob, Discrepancy, ReconciliationRun
from apps.provisioning.services.reconciliation import view
from apps.provisioning.services.reconciliation.runs import _compare, start_reconciliation
from tests.factories.provisioning import SYSTEM, Seller, given_seller
from tests.simulator import running_simulator


@pytest.fixture(scope="session")
def simulator() -> Iterator[str]:
    with running_simulator() as base_url:
        yield base_url


@pytest.fixture
def seller(operator: VirtualOperator, now: datetime) -> Seller:
    """Selling on unicom; the carrier lists at once what it has done."""
    return given_seller(operator=operator, now=now, settle_seconds=0.0)


def at_rest(seller: Seller) -> None:
    """As if everything that was done to lines was done yesterday."""
    ActivationJob.objects.filter(operator=seller.operator).exclude(finished_at=None).update(
        finished_at=seller.now - timedelta(days=1)
    )


def as_the_carrier_has(line: Line) -> CarrierLine:
    """The line as it is here, in the carrier's words."""
    has = lines.get_fittings(line_ids=[line.pk])[line.pk]
    state = f"SUSPENDED_{line.suspension_kind}" if line.suspension_kind else line.status
    return CarrierLine(to_e164(has.number), has.iccid, LineState(state), line.plan.code)


@dataclass
class View:
    """What the carrier answers, by line."""

    seller: Seller
    rows: list[CarrierLine]

    @classmethod
    def of(cls, seller: Seller, *left_out: Line) -> View:
        live = Line.objects.filter(
            operator=seller.operator, host_carrier=seller.carrier, status__in=LIVE_LINE
        )
        kept = live.exclude(pk__in=[line.pk for line in left_out]).select_related("plan").order_by("pk")
        return cls(seller, [as_the_carrier_has(line) for line in kept])

    def change(self, line: Line, **changes: object) -> View:
        number = as_the_carrier_has(line).number
        self.rows = [replace(row, **changes) if row.number == number else row for row in self.rows]  # type: ignore[arg-type]
        return self

    def add(self, row: CarrierLine) -> View:
        self.rows.append(row)
        return self

    def reconcile(self, *, asked_at: datetime | None = None) -> ReconciliationRun:
        """A run that fetched it in one page and compared it."""
        run = self.fetch(asked_at=asked_at)
        return _compare(actor=SYSTEM, run_id=run.pk, token=run.token, now=self.seller.now)

    def fetch(self, *, asked_at: datetime | None = None) -> ReconciliationRun:
        run = start_reconciliation(actor=SYSTEM, connection=self.seller.connection.uid, now=self.seller.now)
        asked_at = asked_at or database_now()
        view.add_page(actor=SYSTEM, run_id=run.pk, lines=self.rows, asked_at=asked_at)
        run.take_page(lines=len(self.rows), next=None, asked_at=asked_at, lease_until=database_now())
        return run


def found(run: ReconciliationRun) -> list[tuple[str, int]]:
    """Kind and number of what the run lists, by kind."""
    return sorted(Discrepancy.objects.filter(run=run).values_list("kind", "number"))

"""An operator that can sell: a leased range, SIMs, a plan and a carrier connection; and orders in any state."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from apps.carriers import services as carriers
from apps.carriers.base import Accepted, Succeeded
from apps.carriers.models import CarrierConnection
from apps.core.actor import Actor
from apps.lines import services as lines
from apps.lines.models import Line, Plan
from apps.lines.states import SuspensionCause, SuspensionKind
from apps.numbering import services as numbering
from apps.numbering.models import NumberRange
from apps.operators.calendar import china_date
from apps.operators.models import HostCarrier, VirtualOperator, WholesaleAgreement
from apps.provisioning import services
from apps.provisioning.models import ActivationJob, ServiceOrder
from apps.provisioning.services.jobs import Claim, Outcome
from apps.sims import services as sims
from apps.subscribers.models import Subscriber
from apps.subscribers.realname.providers.base import AuthorityAnswer
from apps.subscribers.services import run_due_verifications
from tests.factories.subscribers import answering, given_verification, given_verified_subscriber
from tests.simulator import callback_secret_for, secret_for

SYSTEM = Actor.system("tests")
# Blocks of other factories begin elsewhere.
_BLOCKS = {"unicom": "1709", "mobile": "1659", "telecom": "1629"}
_blocks = itertools.count(0)
_cards = itertools.count(1)
_accounts = itertools.count(1)


@dataclass(frozen=True)
class Seller:
    """Everything an activation needs at one operator and host carrier."""

    operator: VirtualOperator
    carrier: HostCarrier
    range: NumberRange
    plan: Plan
    connection: CarrierConnection
    now: datetime

    def subscriber(self) -> Subscriber:
        return given_verified_subscriber(operator=self.operator, now=self.now)

    def order(self, *, subscriber: Subscriber | None = None, **fields: object) -> ServiceOrder:
        """An activation order; for a fresh verified person unless one is given."""
        wish = fields.pop("wish", services.NumberWish())
        return services.place_activation_order(
            actor=SYSTEM,
            operator_id=self.operator.pk,
            subscriber=(subscriber or self.subscriber()).uid,
            plan=self.plan.uid,
            wish=wish,
            now=self.now,
            **fields,
        )

    def claim(self, limit: int = 100) -> list[Claim]:
        return services.claim_due_jobs(connection_ids=[self.connection.pk], limit=limit)

    def record(self, claim: Claim, outcome: Outcome) -> bool:
        return services.record_outcome(
            actor=SYSTEM, claim=claim, carrier=self.connection, outcome=outcome, now=self.now
        )

    def active_line(self, *, subscriber: Subscriber | None = None, iccid: str | None = None) -> Line:
        """A line that the carrier has."""
        order = self.order(subscriber=subscriber, iccid=iccid)
        (claim,) = [claim for claim in self.claim() if claim.order_id == order.pk]
        assert self.record(claim, Succeeded("UC-1"))
        return Line.objects.get(pk=order.line_id)

    def answer(self, order: ServiceOrder, outcome: Outcome) -> ServiceOrder:
        """The order, after the carrier was called about its job and answered that."""
        (claim,) = [claim for claim in self.claim() if claim.order_id == order.pk]
        assert self.record(claim, outcome)
        return ServiceOrder.objects.get(pk=order.pk)

    def done(self, order: ServiceOrder) -> ServiceOrder:
        return self.answer(order, Succeeded("UC-1"))

    def another_plan(self, code: str = "PLAN-29") -> Plan:
        return given_plan(operator=self.operator, carrier=self.carrier, now=self.now, code=code)

    def another_card(self) -> str:
        return given_sims(operator=self.operator, carrier=self.carrier, now=self.now, count=1)[0]

    def ask(self, type: str, line: Line, **fields: object) -> ServiceOrder:
        """An order of that type for the line, with something that will do for whatever is not given."""
        fields = {"actor": SYSTEM, "line": line.uid, "now": self.now, **fields}
        match type:
            case "suspend":
                defaults = {"kind": SuspensionKind.TWO_WAY, "reason": SuspensionCause.LOST}
                return services.place_suspension_order(**{**defaults, **fields})
            case "resume":
                return services.place_resumption_order(**{"reason": SuspensionCause.LOST, **fields})
            case "change_sim":
                if "verification" not in fields:
                    fields["verification"] = line.subscriber.verifications.order_by("-id")[0].uid
                if "iccid" not in fields:
                    fields["iccid"] = self.another_card()
                return services.place_sim_change_order(**fields)
            case "change_number":
                fields.setdefault("wish", services.NumberWish(number=self.range.first + 500))
                return services.place_number_change_order(**fields)
            case "change_plan":
                if "plan" not in fields:
                    fields["plan"] = self.another_plan().uid
                return services.place_plan_change_order(**fields)
            case "transfer":
                if "subscriber" not in fields:
                    fields["subscriber"] = self.subscriber().uid
                return services.place_transfer_order(**fields)
            case "terminate":
                return services.place_termination_order(**{"reason": "user_request", **fields})
        raise ValueError(type)

    def suspended_line(self, **fields: object) -> Line:
        """A line that stands still: two-way, for a lost phone, unless something else is given."""
        line = self.active_line()
        self.done(self.ask("suspend", line, **fields))
        return Line.objects.get(pk=line.pk)

    def accepted_job(self) -> ActivationJob:
        """A job the carrier has accepted and not finished."""
        order = self.order()
        (claim,) = [claim for claim in self.claim() if claim.order_id == order.pk]
        assert self.record(claim, Accepted("UC-1"))
        return order.jobs.get()


def given_seller(
    *,
    operator: VirtualOperator,
    now: datetime,
    cards: int = 20,
    base_url: str = "http://127.0.0.1:9",
    carrier: str = "unicom",
    **connection: object,
) -> Seller:
    """Sells on that carrier, with a range of a thousand numbers."""
    agreement = WholesaleAgreement.objects.select_related("host_carrier").get(
        operator=operator, host_carrier__code=carrier
    )
    block = f"{_BLOCKS[carrier]}{next(_blocks):04d}"
    leased = numbering.lease_range(
        actor=SYSTEM,
        operator=operator,
        agreement=agreement,
        prefix=block,
        home_province="广东",
        home_city="深圳",
        leased_from=china_date(now) - timedelta(days=30),
        leased_until=china_date(now) + timedelta(days=300),
        now=now,
    )
    given_sims(operator=operator, carrier=agreement.host_carrier, now=now, count=cards)
    return Seller(
        operator=operator,
        carrier=agreement.host_carrier,
        range=leased,
        plan=given_plan(operator=operator, carrier=agreement.host_carrier, now=now),
        connection=given_connection(
            operator=operator, carrier=agreement.host_carrier, now=now, base_url=base_url, **connection
        ),
        now=now,
    )


def given_plan(
    *, operator: VirtualOperator, carrier: HostCarrier, now: datetime, code: str = "PLAN-19"
) -> Plan:
    return lines.offer_plan(
        actor=SYSTEM,
        operator=operator,
        host_carrier=carrier,
        code=code,
        name="Nineteen",
        monthly_fee=Decimal("19.00"),
        now=now,
    )


def given_connection(
    *, operator: VirtualOperator, carrier: HostCarrier, now: datetime, base_url: str, **fields: object
) -> CarrierConnection:
    app_key = f"reseller-{next(_accounts)}-{operator.pk}"
    settings: dict[str, object] = {
        "timeout_seconds": 2.0,
        "settle_seconds": 1.0,
        "callback_wait_seconds": 5.0,
    }
    return carriers.connect(
        actor=SYSTEM,
        operator=operator,
        host_carrier=carrier,
        dialect=carrier.code,
        base_url=base_url,
        app_key=app_key,
        secret=secret_for(app_key),
        callback_secret=callback_secret_for(app_key),
        now=now,
        **{**settings, **fields},
    )


def given_sims(
    *,
    operator: VirtualOperator,
    carrier: HostCarrier,
    now: datetime,
    count: int = 20,
    endings: tuple[str, ...] = (),
) -> list[str]:
    """Imports plain cards, then one with each magic ending; returns the ICCIDs in that order."""
    iccids = []
    for _ in range(count):
        # Never a magic ending: those are digits.
        serial = next(_cards)
        iccids.append(f"8986011{serial:012d}A")
    iccids += [f"8986012{next(_cards):09d}{ending}" for ending in endings]
    lines_of_file = ["iccid,imsi", *(f"{iccid},460{next(_cards):012d}" for iccid in iccids)]
    sims.import_batch(
        actor=SYSTEM,
        operator=operator,
        host_carrier=carrier,
        filename="cards.csv",
        content="\n".join(lines_of_file).encode(),
        now=now,
    )
    return iccids


def make_due(*jobs: ActivationJob) -> None:
    """Lets waiting jobs be due now, as if their time had come."""
    ActivationJob.objects.filter(pk__in=[job.pk for job in jobs]).update(
        next_attempt_at="2000-01-01T00:00:00Z"
    )


TYPES = ("suspend", "resume", "change_sim", "change_number", "change_plan", "transfer", "terminate")


def given_line(seller: Seller, type: str) -> Line:
    """A line that such an order can be placed for."""
    return seller.suspended_line() if type == "resume" else seller.active_line()


def decide(person: Subscriber, now: datetime, answer: AuthorityAnswer = AuthorityAnswer.MATCH) -> None:
    """Another real-name check of the person, with that result."""
    given_verification(subscriber=person, now=now)
    run_due_verifications(clock=lambda: now, providers=answering(answer))

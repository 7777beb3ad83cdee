"""Whatever else stops and runs a line: a demand adds its own reasons, and takes exactly these away."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.carriers.base import Succeeded
from apps.core.actor import Actor, ActorKind
from apps.lines.models import Line
from apps.lines.states import SuspensionCause, SuspensionKind, strongest
from apps.subscribers import services as subscribers
from apps.subscribers.models import ReverificationDemand
from apps.subscribers.states import OPEN_DEMAND, DemandReason
from tests.factories.provisioning import SYSTEM, Seller, decide
from tests.factories.subscribers import given_notices
from tests.provisioning.reverifying import run

pytestmark = pytest.mark.django_db

CAUSES = (SuspensionCause.LOST, SuspensionCause.ARREARS, SuspensionCause.FRAUD)
# What happens, one after the other: others stop or start the line for a cause, hours go by.
OTHERS = st.tuples(st.sampled_from(CAUSES), st.sampled_from(SuspensionKind))
HAPPENINGS = st.lists(
    st.one_of(
        st.tuples(st.just("other"), OTHERS),
        st.tuples(st.just("hours"), st.sampled_from([1, 24, 48, 72])),
        st.tuples(st.just("demand"), st.sampled_from(DemandReason)),
        st.tuples(st.just("withdraw"), st.just(None)),
    ),
    min_size=2,
    max_size=7,
)


class Model:
    """What the line should be, kept in plain sets."""

    def __init__(self, seller: Seller) -> None:
        self.seller = seller
        self.at = seller.now
        self.line: Line = seller.active_line()
        self.others: set[tuple[str, str]] = set()
        self.staff = Actor(
            kind=ActorKind.STAFF,
            id="usr_1",
            label="staff",
            operator_id=seller.operator.pk,
            capabilities=frozenset({"orders.place", "lines.suspend"}),
        )

    def other(self, what: tuple[SuspensionCause, SuspensionKind]) -> None:
        """Places it, or lifts what stands there for the cause."""
        cause, kind = what
        if standing := {each for each in self.others if each[0] == cause}:
            self.seller.ask("resume", self.line, actor=self.staff, reason=cause)
            self.others -= standing
        else:
            self.seller.ask("suspend", self.line, actor=self.staff, reason=cause, kind=kind)
            self.others.add((cause, kind))
        for claim in self.seller.claim():
            assert self.seller.record(claim, Succeeded("UC-1"))

    def hours(self, many: int) -> None:
        self.at += timedelta(hours=many)
        run(self.seller, self.at)

    def demand(self, reason: DemandReason) -> None:
        if not self.open().filter(reason=reason).exists():
            subscribers.demand_reverification(
                actor=SYSTEM,
                subscriber_uid=self.line.subscriber.uid,
                reason=reason,
                note="a pattern of calls",
                now=self.at,
            )
        run(self.seller, self.at)

    def withdraw(self, _: None) -> None:
        if first := self.open().first():
            subscribers.withdraw_demand(
                actor=SYSTEM, demand_uid=first.uid, reason="a mistake of ours", now=self.at
            )
        run(self.seller, self.at)

    def open(self):  # type: ignore[no-untyped-def]
        return ReverificationDemand.objects.filter(
            subscriber=self.line.subscriber, status__in=OPEN_DEMAND
        ).order_by("id")

    def check(self) -> None:
        kinds = {"WARNED": (), "ONE_WAY": ("ONE_WAY",), "TWO_WAY": ("TWO_WAY",)}
        demanded = {(demand.uid, kind) for demand in self.open() for kind in kinds[demand.status]}
        reasons = list(self.line.suspensions.filter(lifted_at=None))
        own = {(each.placed_by, str(each.kind)) for each in reasons if each.owner == "SYSTEM"}
        # The one-way reason of before may stand beside the two-way one, never without.
        assert own >= demanded
        assert {uid for uid, _ in own} == {uid for uid, _ in demanded}
        assert {(each.cause, each.kind) for each in reasons if each.owner != "SYSTEM"} == self.others
        self.line.refresh_from_db()
        assert self.line.suspension_kind == strongest(*(each.kind for each in reasons))
        assert self.line.status == ("SUSPENDED" if reasons else "ACTIVE")


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(happenings=HAPPENINGS)
def test_a_pass_takes_away_exactly_what_the_demands_have_placed(
    seller: Seller, now: datetime, happenings: list[tuple[str, object]]
) -> None:
    given_notices(now=now)
    model = Model(seller)
    for name, what in happenings:
        getattr(model, name)(what)
        model.check()
    model.at += timedelta(seconds=1)
    decide(model.line.subscriber, model.at)
    run(seller, model.at)
    assert not model.open().exists()
    model.check()

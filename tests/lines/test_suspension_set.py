"""The set of reasons why a line stands still, by the services that keep it."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.db import IntegrityError, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.audit.models import AuditEvent
from apps.core.errors import InvalidTransition
from apps.events.models import OutboxEvent
from apps.lines import selectors, services
from apps.lines.errors import SuspensionNotFound, SuspensionNotYours
from apps.lines.models import Line, SuspensionReason
from apps.lines.services import By
from apps.lines.states import NOTICES, SuspensionCause, SuspensionKind, SuspensionOwner, strongest
from tests.factories.provisioning import SYSTEM, Seller
from tests.refusals import refused

pytestmark = pytest.mark.django_db

ONE_WAY, TWO_WAY = SuspensionKind.ONE_WAY, SuspensionKind.TWO_WAY
LOST, ARREARS, FRAUD = SuspensionCause.LOST, SuspensionCause.ARREARS, SuspensionCause.FRAUD
APP = By("app_one", "One", SuspensionOwner.PARTNER)
OTHER_APP = By("app_two", "Two", SuspensionOwner.PARTNER)
STAFF = By("usr_one", "boss", SuspensionOwner.OPERATOR)


def place(line: Line, kind: SuspensionKind, cause: SuspensionCause, by: By, now: datetime) -> Line:
    return services.place_suspension(
        actor=SYSTEM, line_id=line.pk, kind=kind, cause=cause, by=by, note="n", now=now
    )


def lift(line: Line, cause: SuspensionCause, by: By, now: datetime) -> Line:
    return services.lift_suspensions(actor=SYSTEM, line_id=line.pk, cause=cause, by=by, now=now)


def kind_without(line: Line, cause: SuspensionCause, by: By) -> SuspensionKind | None:
    return selectors.get_kind_without(line_id=line.pk, cause=cause, owner=by.owner, actor_id=by.id)


def test_the_line_is_as_still_as_the_strongest_reason(line: Line, now: datetime) -> None:
    steps = [
        (place, (ONE_WAY, ARREARS, APP), ONE_WAY),
        (place, (TWO_WAY, LOST, APP), TWO_WAY),
        (place, (TWO_WAY, FRAUD, STAFF), TWO_WAY),
        (lift, (LOST, APP), TWO_WAY),
        (lift, (FRAUD, STAFF), ONE_WAY),
        (lift, (ARREARS, APP), None),
    ]
    for step, arguments, kind in steps:
        changed = step(line, *arguments, now)  # type: ignore[operator]
        assert (changed.status, changed.suspension_kind) == ("SUSPENDED" if kind else "ACTIVE", kind)


def test_news_only_when_it_changes_how_still_the_line_is(line: Line, now: datetime) -> None:
    place(line, TWO_WAY, LOST, APP, now)
    place(line, ONE_WAY, ARREARS, APP, now)
    lift(line, LOST, APP, now)
    lift(line, ARREARS, APP, now)
    told = OutboxEvent.objects.filter(subject=line.uid, type__in=["line.suspended", "line.resumed"])
    assert [
        (each.type, each.data["kind_before"], each.data["kind_after"]) for each in told.order_by("id")
    ] == [
        ("line.suspended", None, "two_way"),
        ("line.suspended", "two_way", "one_way"),
        ("line.resumed", "one_way", None),
    ]
    # Every step is on record, heard of or not.
    trail = AuditEvent.objects.filter(target_id=line.uid, action__in=["line.suspend", "line.resume"])
    assert trail.count() == 4


def test_a_reason_says_what_helps_and_who_placed_and_lifted_it(line: Line, now: datetime) -> None:
    place(line, TWO_WAY, FRAUD, STAFF, now)
    reason = SuspensionReason.objects.get()
    assert (reason.notice, reason.remedy) == NOTICES[FRAUD]
    assert (reason.placed_by, reason.owner, reason.placed_at, reason.note) == (
        "usr_one",
        "OPERATOR",
        now,
        "n",
    )
    lift(line, FRAUD, STAFF, now + timedelta(hours=1))
    reason.refresh_from_db()
    assert (reason.lifted_by, reason.lifted_at) == ("usr_one", now + timedelta(hours=1))


def test_a_partner_lifts_its_own_only(line: Line, now: datetime) -> None:
    place(line, ONE_WAY, LOST, APP, now)
    place(line, TWO_WAY, LOST, OTHER_APP, now)
    assert lift(line, LOST, APP, now).suspension_kind == TWO_WAY
    assert lift(line, LOST, APP, now).suspension_kind == TWO_WAY, "nothing of it is left to lift"
    assert lift(line, LOST, STAFF, now).suspension_kind is None, "the operator lifts anybody's"


def test_how_still_it_will_be_without(line: Line, now: datetime) -> None:
    place(line, ONE_WAY, ARREARS, APP, now)
    place(line, TWO_WAY, LOST, STAFF, now)
    assert kind_without(line, LOST, STAFF) == ONE_WAY
    assert kind_without(line, ARREARS, APP) == TWO_WAY
    with pytest.raises(SuspensionNotYours):
        kind_without(line, LOST, APP)
    with pytest.raises(SuspensionNotFound):
        kind_without(line, FRAUD, STAFF)


@pytest.mark.parametrize(
    ("cause", "by", "held"),
    [(LOST, APP, False), (LOST, STAFF, True), (SuspensionCause.REGULATOR, STAFF, True), (FRAUD, APP, True)],
)
def test_who_holds_the_line(line: Line, now: datetime, cause: SuspensionCause, by: By, held: bool) -> None:
    place(line, TWO_WAY, cause, by, now)
    assert selectors.is_held_by_others(line_id=line.pk) is held


def test_the_same_reason_twice_is_refused_by_the_database(line: Line, now: datetime) -> None:
    place(line, TWO_WAY, LOST, APP, now)
    with pytest.raises(IntegrityError, match="one_suspension_of_a_kind"), transaction.atomic():
        place(line, TWO_WAY, LOST, APP, now)
    place(line, ONE_WAY, LOST, APP, now)
    lift(line, LOST, APP, now)
    assert place(line, TWO_WAY, LOST, APP, now).suspension_kind == TWO_WAY


def test_only_a_live_line_stands_still(seller: Seller, now: datetime) -> None:
    pending = seller.order().line
    with refused(InvalidTransition):
        place(pending, TWO_WAY, LOST, APP, now)
    ended = seller.active_line()
    services.terminate_line(actor=SYSTEM, line_id=ended.pk, reason="user_request", now=now)
    for step in (lambda: place(ended, TWO_WAY, LOST, APP, now), lambda: lift(ended, LOST, APP, now)):
        with refused(InvalidTransition):
            step()


def test_the_end_of_a_line_lifts_everything(line: Line, now: datetime) -> None:
    place(line, TWO_WAY, LOST, APP, now)
    services.terminate_line(actor=SYSTEM, line_id=line.pk, reason="user_request", now=now)
    assert not SuspensionReason.objects.in_force().exists()
    line.refresh_from_db()
    assert (line.status, line.suspension_kind) == ("TERMINATED", None)


steps = st.lists(
    st.tuples(
        st.booleans(),
        st.sampled_from(SuspensionKind),
        st.sampled_from([LOST, ARREARS, FRAUD]),
        st.sampled_from([APP, OTHER_APP, STAFF]),
    ),
    max_size=10,
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_whatever_happens_the_line_is_what_its_reasons_say(
    line: Line, now: datetime, steps: list[tuple[bool, SuspensionKind, SuspensionCause, By]]
) -> None:
    model: set[tuple[SuspensionKind, SuspensionCause, By]] = set()
    with transaction.atomic():
        for places, kind, cause, by in steps:
            if places:
                if (kind, cause, by) in model:
                    continue
                model.add((kind, cause, by))
                changed = place(line, kind, cause, by, now)
            else:
                partner = by.owner is SuspensionOwner.PARTNER
                model = {each for each in model if each[1] is not cause or (partner and each[2] != by)}
                changed = lift(line, cause, by, now)
            assert changed.suspension_kind == strongest(*(each[0] for each in model))
        transaction.set_rollback(True)

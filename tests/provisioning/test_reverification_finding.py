"""Of whom it is demanded: a regulator's list of lines, and documents that end."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest

from apps.lines.models import Line
from apps.operators.calendar import CHINA, china_date
from apps.operators.models import VirtualOperator
from apps.provisioning import services
from apps.provisioning.errors import DemandListInvalid
from apps.subscribers import services as subscribers
from apps.subscribers.models import ReverificationDemand, Subscriber
from tests.factories.provisioning import SYSTEM, Seller, decide
from tests.factories.subscribers import document, given_notices, given_subscriber
from tests.provisioning.reverifying import (
    EXPIRED,
    HOUR,
    LISTED,
    MOMENT,
    RUNS,
    STOPPED_ONE_WAY,
    demanded,
    run,
    stands,
)
from tests.refusals import refused

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _notices(operator: VirtualOperator, now: datetime) -> None:
    given_notices(now=now)


# --- Lists ----------------------------------------------------------------------------------------------------------
def listed(operator: VirtualOperator, text: str, now: datetime, **fields: object) -> services.ListOutcome:
    return services.demand_reverification_of_list(
        actor=SYSTEM,
        operator_id=operator.pk,
        content=text.encode("gb18030"),
        reason=LISTED,
        note="list 12 of the communications administration",
        now=now,
        **fields,
    )


def test_a_regulators_list(
    seller: Seller, now: datetime, operator: VirtualOperator, other_operator: VirtualOperator
) -> None:
    lines = [seller.active_line() for _ in range(2)]
    numbers = [line.number_assignments.get().number_id for line in lines]
    free = seller.range.first + 700
    text = f"号码\n+86{numbers[0]}\n{numbers[1]}\n{numbers[1]}\n{free}\n12345\n"
    with refused(DemandListInvalid) as caught:
        listed(operator, text, now)
    assert [(fault.pointer, fault.code) for fault in caught.value.errors] == [
        ("/rows/5", "line_not_found"),
        ("/rows/6", "number_malformed"),
    ]
    assert not ReverificationDemand.objects.exists()
    # Another operator's numbers are nobody's.
    with refused(DemandListInvalid):
        listed(other_operator, f"number\n{numbers[0]}\n", now, skip_invalid=True)

    outcome = listed(operator, text, now, skip_invalid=True)
    assert (outcome.demanded, outcome.already, [row for row, _, _ in outcome.errors]) == (2, 0, [5, 6])
    assert listed(operator, text, now, skip_invalid=True).already == 2
    run(seller, now + 24 * HOUR)
    assert [stands(line) for line in lines] == [STOPPED_ONE_WAY] * 2
    assert set(ReverificationDemand.objects.values_list("line_uid", flat=True)) == {
        line.uid for line in lines
    }


# --- Documents that end ---------------------------------------------------------------------------------------------
def holder(seller: Seller, now: datetime, ends: date | None, **fields: object) -> Subscriber:
    person = given_subscriber(operator=seller.operator, now=now, valid_until=ends, **fields)
    decide(person, now)
    seller.active_line(subscriber=person)
    return person


def warn(now: datetime) -> int:
    return services.warn_of_ending_documents(actor=SYSTEM, now=now)


def test_documents_that_end_are_found(seller: Seller, now: datetime, other_operator: VirtualOperator) -> None:
    today = china_date(now)
    last_day = today + timedelta(days=30)
    soon = holder(seller, now, last_day)
    holder(seller, now, last_day + timedelta(days=1))
    holder(seller, now, None)
    # Whoever has no line is left in peace.
    given_subscriber(operator=seller.operator, now=now, valid_until=last_day)
    given_subscriber(operator=other_operator, now=now, valid_until=last_day)
    assert (warn(now), warn(now)) == (1, 0)
    demand = ReverificationDemand.objects.get()
    assert (demand.subscriber, demand.reason, demand.document_until) == (soon, EXPIRED, last_day)
    end = datetime.combine(last_day + timedelta(days=1), datetime.min.time(), CHINA)
    # A week after its last day in China.
    assert demand.next_step_at == end + 168 * HOUR
    assert f"{last_day}" in demand.steps.get().notice_en

    line = Line.objects.get(subscriber=soon)
    # The old card proves who it is, and still ends.
    decide(soon, now + HOUR)
    demand.refresh_from_db()
    assert demand.status == "WARNED"
    run(seller, end + 168 * HOUR - MOMENT)
    assert stands(line) == RUNS
    run(seller, end + 168 * HOUR)
    assert stands(line) == STOPPED_ONE_WAY

    # The pass has ended with the document.
    at = end + 169 * HOUR
    subscribers.expire_verifications(actor=SYSTEM, now=at)
    assert {check.status for check in soon.verifications.all()} == {"EXPIRED"}
    decide(soon, at)
    assert soon.verifications.latest("id").status == "FAILED"
    # Shown again, renewed: the same number, valid for longer.
    number = soon.documents.get().open_number()
    _, created = subscribers.register_individual(
        actor=SYSTEM,
        operator_id=seller.operator.pk,
        name="张三丰",
        document=document(number, valid_from=today, valid_until=date(2090, 1, 1)),
        now=at,
    )
    assert not created
    decide(soon, at + MOMENT)
    run(seller, at + MOMENT)
    demand.refresh_from_db()
    assert (demand.status, stands(line)) == ("PASSED", RUNS)
    # The one that ended a day later, long since due.
    assert warn(at) == 1
    assert ReverificationDemand.objects.filter(subscriber=soon).count() == 1


def test_each_end_of_a_document_is_a_reason_once(seller: Seller, now: datetime) -> None:
    person = holder(seller, now, china_date(now) + timedelta(days=3))
    assert warn(now) == 1
    demand = ReverificationDemand.objects.get()
    subscribers.withdraw_demand(actor=SYSTEM, demand_uid=demand.uid, reason="abroad until May", now=now)
    assert warn(now) == 0
    # By hand it may be demanded all the same, from now on.
    again = demanded(person, EXPIRED, now)
    assert (again.document, again.next_step_at) == (None, now + 168 * HOUR)


def test_documents_that_ended_long_ago_get_their_time_too(seller: Seller, now: datetime) -> None:
    holder(seller, now, china_date(now))
    later = now + timedelta(days=400)
    assert warn(later) == 1
    assert ReverificationDemand.objects.get().next_step_at == later + 168 * HOUR

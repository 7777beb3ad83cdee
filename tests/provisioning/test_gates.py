"""What lets calls pass: rate, cap, fairness, circuit, kill switch, budget of retries; held across all claims."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

import pytest

from apps.accounts.actors import actor_of_user
from apps.accounts.states import Role
from apps.carriers import services as carriers
from apps.carriers.base import Accepted, Rejected
from apps.carriers.errors import ConnectionNotLive
from apps.core.db import database_now
from apps.core.errors import Forbidden
from apps.operators.models import VirtualOperator
from apps.provisioning import services
from apps.provisioning.models import ActivationJob, Gate
from apps.provisioning.selectors import get_traffic, list_connections_with_due_jobs
from apps.provisioning.services import gates
from apps.provisioning.services.jobs import Claim, Misconfigured, NotSent, Outcome, Unavailable, Unknown
from apps.provisioning.states import JobStatus
from tests.factories.accounts import given_user
from tests.factories.operators import given_operator
from tests.factories.provisioning import SYSTEM, Seller, given_seller, make_due
from tests.refusals import refused

pytestmark = pytest.mark.django_db

DOWN = Unavailable("carrier_unavailable", "busy")
SILENT = Unknown("carrier_outcome_unknown", "timed out")


@pytest.fixture
def seller(operator: VirtualOperator, now: datetime) -> Seller:
    return given_seller(operator=operator, now=now, calls_per_second=10_000.0, cards=40)


def gate_of(seller: Seller) -> Gate:
    return Gate.objects.get(pk=seller.connection.pk)


def fail_often(seller: Seller, times: int, outcome: Outcome = DOWN) -> list[Claim]:
    """That many claimed calls, all of which come back with that."""
    for _ in range(times):
        seller.order()
    claims = seller.claim(limit=times)
    assert len(claims) == times
    for claim in claims:
        seller.record(claim, outcome)
    return claims


def let_pass(seller: Seller, seconds: float) -> None:
    """As if that much time had gone by for the gate."""
    gate = gate_of(seller)
    for field in ("next_call_at", "next_retry_at", "probe_at", "changed_at"):
        setattr(gate, field, getattr(gate, field) - timedelta(seconds=seconds))
    gate.save()


def test_no_more_calls_pass_than_the_rate_allows(operator: VirtualOperator, now: datetime) -> None:
    seller = given_seller(operator=operator, now=now, calls_per_second=10.0)
    for _ in range(6):
        seller.order()
    assert len(seller.claim()) == 2  # a fifth of a second's calls
    assert seller.claim() == []
    let_pass(seller, 0.1)
    assert len(seller.claim()) == 1
    let_pass(seller, 60)
    assert len(seller.claim()) == 2, "what was not used is not saved up"


def test_questions_count_as_calls(operator: VirtualOperator, now: datetime) -> None:
    seller = given_seller(operator=operator, now=now, calls_per_second=5.0)
    job = seller.accepted_job()
    make_due(job)
    assert seller.claim() == []
    let_pass(seller, 1)
    assert [claim.job_id for claim in seller.claim()] == [job.pk]


def test_the_cap_counts_what_everybody_has_in_flight(operator: VirtualOperator, now: datetime) -> None:
    seller = given_seller(operator=operator, now=now, max_in_flight=3, calls_per_second=1000.0)
    for _ in range(5):
        seller.order()
    first = seller.claim(limit=2)
    assert len(seller.claim()) == 1
    assert seller.claim() == []
    seller.record(first[0], Accepted("UC-1"))
    assert len(seller.claim()) == 1


def test_a_backlog_of_one_operator_does_not_come_before_the_others(seller: Seller, now: datetime) -> None:
    others = [given_seller(operator=given_operator(now=now), now=now, cards=2) for _ in range(3)]
    for _ in range(12):
        seller.order()
    for other in others:
        other.order()
    everybody = [each.connection.pk for each in (seller, *others)]
    claims = services.claim_due_jobs(connection_ids=everybody, limit=6)
    shares = Counter(claim.connection_id for claim in claims)
    assert shares == {seller.connection.pk: 3, **{other.connection.pk: 1 for other in others}}
    # Who has calls in flight waits for those who have none, however long its own jobs have been due.
    others[0].order()
    (claim,) = services.claim_due_jobs(connection_ids=everybody, limit=1)
    assert claim.connection_id == others[0].connection.pk


@pytest.mark.parametrize("outcome", [DOWN, SILENT, Misconfigured("carrier_misconfigured", "bad key")])
def test_the_circuit_opens_probes_once_a_second_and_closes(seller: Seller, outcome: Outcome) -> None:
    fail_often(seller, gates.OPENS_AFTER, outcome)
    gate = gate_of(seller)
    assert (gate.is_open, gate.failures, gate.why) == (True, gates.OPENS_AFTER, outcome.code)
    for _ in range(4):
        seller.order()
    assert seller.claim() == []
    let_pass(seller, 1)
    (probe,) = seller.claim()
    assert seller.claim() == [], "one probe a second, whoever asks"
    seller.record(probe, outcome)
    assert gate_of(seller).is_open
    let_pass(seller, 1)
    (probe,) = seller.claim()
    seller.record(probe, Accepted("UC-1"))
    assert (gate_of(seller).is_open, gate_of(seller).failures) == (False, 0)
    assert len(seller.claim()) >= 2


def test_a_refusal_is_an_answer(seller: Seller) -> None:
    fail_often(seller, gates.OPENS_AFTER - 1)
    fail_often(seller, 1, Rejected("carrier_rejected", "no"))
    assert (gate_of(seller).failures, gate_of(seller).is_open) == (0, False)
    fail_often(seller, 1)
    assert gate_of(seller).failures == 1


def test_what_began_before_the_circuit_opened_does_not_close_it(seller: Seller) -> None:
    seller.order()
    (early,) = seller.claim()
    fail_often(seller, gates.OPENS_AFTER)
    seller.record(early, Accepted("UC-1"))
    assert gate_of(seller).is_open


def test_a_call_kept_back_says_nothing_about_the_carrier(seller: Seller) -> None:
    fail_often(seller, 2)
    fail_often(seller, 1, NotSent("lease_too_short", "late"))
    assert gate_of(seller).failures == 2


def test_the_carriers_wish_to_be_left_alone_delays_the_probe(seller: Seller) -> None:
    fail_often(seller, gates.OPENS_AFTER, Unavailable("carrier_unavailable", "busy", retry_after=20.0))
    rest = gate_of(seller).probe_at - database_now()
    assert timedelta(seconds=15) < rest <= timedelta(seconds=20)


def test_while_nothing_gets_through_wrong_settings_make_no_more_dead_letters(seller: Seller) -> None:
    wrong = Misconfigured("carrier_misconfigured", "bad key")
    fail_often(seller, gates.OPENS_AFTER, wrong)
    let_pass(seller, 1)
    seller.order()
    (probe,) = seller.claim()
    seller.record(probe, wrong)
    assert ActivationJob.objects.get(pk=probe.job_id).status == JobStatus.QUEUED


def test_retries_have_places_a_tenth_of_the_rate_apart(operator: VirtualOperator, now: datetime) -> None:
    seller = given_seller(operator=operator, now=now, calls_per_second=50.0)
    started = database_now()
    for nth, claim in enumerate(fail_often(seller, 9)):
        job = ActivationJob.objects.get(pk=claim.job_id)
        # Jitter may put single ones further off, never nearer.
        assert job.next_attempt_at >= started + nth * timedelta(seconds=0.2)
    place = gate_of(seller).next_retry_at - database_now()
    assert timedelta(seconds=1.2) < place <= timedelta(seconds=1.8)


def test_over_a_stopped_connection_nothing_is_called(seller: Seller) -> None:
    known, _ = seller.accepted_job(), seller.order()
    make_due(known)
    carriers.stop_calls(actor=SYSTEM, connection_uid=seller.connection.uid, reason="asked to", now=seller.now)
    assert seller.claim() == []
    assert list_connections_with_due_jobs(at=database_now()) == []
    assert get_traffic(connection_id=seller.connection.pk).waiting == 2
    carriers.allow_calls(actor=SYSTEM, connection_uid=seller.connection.uid, reason="fine", now=seller.now)
    assert len(seller.claim()) == 2
    assert get_traffic(connection_id=seller.connection.pk).in_flight == 2


def test_who_may_stop_calls(seller: Seller) -> None:
    user = given_user(role=Role.ENGINEER, operator=seller.operator, now=seller.now)
    with refused(Forbidden):
        carriers.stop_calls(
            actor=actor_of_user(user), connection_uid=seller.connection.uid, reason="", now=seller.now
        )
    carriers.disconnect(actor=SYSTEM, connection_uid=seller.connection.uid, reason="", now=seller.now)
    with refused(ConnectionNotLive):
        carriers.stop_calls(actor=SYSTEM, connection_uid=seller.connection.uid, reason="", now=seller.now)

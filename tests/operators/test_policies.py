"""Policies: versioned, per operator, typed, and never guessed."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, get_args

import pytest

from apps.audit.models import AuditEvent
from apps.core.actor import Actor
from apps.core.errors import Forbidden
from apps.operators import policies, services
from apps.operators.errors import AlreadyExists, PolicyInvalid, PolicyMissing, TermInvalid
from apps.operators.models import Policy, VirtualOperator
from apps.operators.policies import PolicyKey
from tests.factories.operators import DEFAULT_POLICIES, given_policy
from tests.refusals import refused

DAY = timedelta(days=1)


def test_every_key_has_a_type_and_the_overloads_know_it() -> None:
    assert set(policies.REGISTRY) == set(PolicyKey)
    by_type = {
        policies.WholeNumber: set(get_args(policies.NumberKey)),
        policies.Flag: set(get_args(policies.FlagKey)),
        policies.Codes: set(get_args(policies.CodesKey)),
        policies.Ladder: set(get_args(policies.LadderKey)),
        policies.Steps: set(get_args(policies.StepsKey)),
    }
    for key, kind in policies.REGISTRY.items():
        assert {known for known, keys in by_type.items() if key in keys} == {type(kind)}


@pytest.mark.parametrize(
    "value", [None, 5, [], [1], [1, 2, 3], [1, -1], [1, 2.5], [True, 2], ["1", 2], [1, 366 * 24 + 1]]
)
def test_a_ladder_is_so_many_whole_hours(value: object) -> None:
    ladder = policies.REGISTRY[PolicyKey.DISPUTE_HOURS]
    assert ladder.read([0, 72]) == (0, 72)
    with pytest.raises(PolicyInvalid):
        ladder.read(value)


def test_a_missing_policy_is_an_error_of_ours_never_a_guess(db: None, now: datetime) -> None:
    with pytest.raises(PolicyMissing, match=r"holder\.limit"):
        policies.get(operator_id=None, key=PolicyKey.HOLDER_LIMIT, now=now)
    given_policy(key=PolicyKey.HOLDER_LIMIT, value=5, now=now, valid_from=now + DAY)
    with pytest.raises(PolicyMissing):
        policies.get(operator_id=None, key=PolicyKey.HOLDER_LIMIT, now=now)
    with pytest.raises(PolicyMissing, match=r"numbering\.quarantine_days"):
        policies.get_many(
            operator_id=None, keys=(PolicyKey.HOLDER_LIMIT, PolicyKey.QUARANTINE_DAYS), now=now + DAY
        )


def test_all_defaults_in_one_query(
    operator: VirtualOperator, now: datetime, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(1):
        found = policies.get_many(operator_id=operator.pk, keys=tuple(PolicyKey), now=now)
    expected = {
        key: tuple(value) if isinstance(value, list) else value for key, value in DEFAULT_POLICIES.items()
    }
    assert found == expected


def test_versions_follow_each_other_and_the_past_stays(operator: VirtualOperator, now: datetime) -> None:
    given_policy(key=PolicyKey.QUARANTINE_DAYS, value=120, now=now, valid_from=now + 10 * DAY)
    given_policy(key=PolicyKey.QUARANTINE_DAYS, value=100, now=now)

    def days(at: datetime) -> int:
        return policies.get(operator_id=operator.pk, key=PolicyKey.QUARANTINE_DAYS, now=at)

    assert [days(now - DAY), days(now), days(now + 9 * DAY), days(now + 10 * DAY)] == [90, 100, 100, 120]


def test_an_operator_s_own_policy_beats_even_a_later_default(
    operator: VirtualOperator, other_operator: VirtualOperator, now: datetime
) -> None:
    given_policy(key=PolicyKey.HOLDER_LIMIT, value=3, now=now, operator=operator)
    given_policy(key=PolicyKey.HOLDER_LIMIT, value=4, now=now + DAY)
    later = now + 2 * DAY
    assert policies.get(operator_id=operator.pk, key=PolicyKey.HOLDER_LIMIT, now=later) == 3
    assert policies.get(operator_id=other_operator.pk, key=PolicyKey.HOLDER_LIMIT, now=later) == 4
    assert policies.get(operator_id=operator.pk, key=PolicyKey.HOLDER_LIMIT, now=now - DAY) == 5


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (PolicyKey.HOLDER_LIMIT, 0),
        (PolicyKey.HOLDER_LIMIT, 101),
        (PolicyKey.HOLDER_LIMIT, "5"),
        (PolicyKey.HOLDER_LIMIT, 5.0),
        (PolicyKey.HOLDER_LIMIT, True),
        (PolicyKey.HOLDER_LIMIT, None),
        (PolicyKey.RETENTION_YEARS, 1),
        (PolicyKey.FACE_EVIDENCE_REQUIRED, 1),
        (PolicyKey.ACCEPTED_DOCUMENT_TYPES, "resident_id"),
        (PolicyKey.ACCEPTED_DOCUMENT_TYPES, []),
        (PolicyKey.ACCEPTED_DOCUMENT_TYPES, ["resident_id", "resident_id"]),
        (PolicyKey.ACCEPTED_DOCUMENT_TYPES, ["resident_id", 7]),
    ],
)
def test_a_value_of_another_type_or_out_of_bounds_is_refused(
    operator: VirtualOperator, now: datetime, key: PolicyKey, value: Any
) -> None:
    before = (Policy.objects.count(), AuditEvent.objects.count())
    with refused(PolicyInvalid):
        given_policy(key=key, value=value, now=now, operator=operator)
    assert (Policy.objects.count(), AuditEvent.objects.count()) == before


def test_only_the_first_default_may_be_dated_back(operator: VirtualOperator, now: datetime) -> None:
    with refused(TermInvalid):
        given_policy(key=PolicyKey.HOLDER_LIMIT, value=4, now=now, valid_from=now - DAY)
    with refused(TermInvalid):
        given_policy(key=PolicyKey.HOLDER_LIMIT, value=4, now=now, valid_from=now - DAY, operator=operator)
    assert policies.get(operator_id=operator.pk, key=PolicyKey.HOLDER_LIMIT, now=now) == 5


def test_two_versions_cannot_start_at_the_same_moment(operator: VirtualOperator, now: datetime) -> None:
    for whose in (None, operator):
        given_policy(key=PolicyKey.HOLDER_LIMIT, value=4, now=now, operator=whose)
        with refused(AlreadyExists):
            given_policy(key=PolicyKey.HOLDER_LIMIT, value=3, now=now, operator=whose)


def test_operator_staff_cannot_set_policies(
    operator: VirtualOperator, operator_admin: Actor, now: datetime
) -> None:
    with refused(Forbidden):
        services.set_policy(
            actor=operator_admin,
            operator=operator,
            key=PolicyKey.HOLDER_LIMIT,
            value=50,
            source_note="we would like that",
            now=now,
        )
    assert not Policy.objects.filter(operator=operator).exists()


def test_a_policy_is_audited_with_its_source(operator: VirtualOperator, now: datetime) -> None:
    given_policy(key=PolicyKey.HOLDER_LIMIT, value=4, now=now, operator=operator)
    event = AuditEvent.objects.filter(action="policy.set").latest("id")
    assert (event.target_id, event.operator_id, event.reason) == ("holder.limit", operator.pk, "for tests")
    assert event.after is not None
    assert event.after["value"] == 4

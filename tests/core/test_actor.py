"""Who may do what, and who sees what."""

from __future__ import annotations

from datetime import datetime

import pytest

from apps.core.actor import Actor, ActorKind
from apps.core.errors import Forbidden
from apps.events.models import OutboxEvent

PARTNER = Actor(
    kind=ActorKind.PARTNER, id="app_1", label="shop", operator_id=7, capabilities=frozenset({"orders:write"})
)
PLATFORM = Actor(kind=ActorKind.STAFF, id="usr_1", label="root", operator_id=None)


def test_an_actor_can_do_what_it_was_given_and_nothing_else() -> None:
    PARTNER.require("orders:write")
    with pytest.raises(Forbidden, match=r"This needs the right 'identity\.reveal'"):
        PARTNER.require("identity.reveal")


def test_seeing_everything_is_not_being_allowed_everything() -> None:
    with pytest.raises(Forbidden):
        PLATFORM.require("identity.reveal")


def test_the_system_may_do_everything_in_its_own_name() -> None:
    sweeper = Actor.system("sweep")
    sweeper.require("identity.reveal")
    assert (sweeper.kind, sweeper.id, sweeper.label, sweeper.operator_id) == (
        "SYSTEM",
        "sweep",
        "sweep",
        None,
    )
    assert Actor.system("seed", operator_id=7).operator_id == 7


@pytest.mark.parametrize(
    ("actor", "sees"),
    [
        (PARTNER, {7: True, 8: False, None: False}),
        (PLATFORM, {7: True, 8: True, None: True}),
        (Actor.system("sweep"), {7: True, None: True}),
        (Actor.system("seed", operator_id=7), {7: True, 8: False, None: False}),
    ],
    ids=["partner", "platform", "system", "system of one operator"],
)
def test_an_actor_of_an_operator_sees_that_operator_only(actor: Actor, sees: dict[int | None, bool]) -> None:
    assert {operator_id: actor.sees(operator_id) for operator_id in sees} == sees


@pytest.mark.django_db
def test_a_tenants_queryset_shows_what_the_actor_sees(now: datetime) -> None:
    for operator_id in (7, 7, 8):
        OutboxEvent.objects.create(type="a.b", operator_id=operator_id, subject="x", data={}, occurred_at=now)
    assert OutboxEvent.objects.visible_to(PARTNER).count() == 2
    assert OutboxEvent.objects.filter(operator_id=8).visible_to(PARTNER).count() == 0
    assert OutboxEvent.objects.visible_to(PLATFORM).count() == 3
    assert OutboxEvent.objects.visible_to(Actor.system("nobody", operator_id=9)).count() == 0


def test_an_actor_does_not_change() -> None:
    with pytest.raises(AttributeError):
        PARTNER.operator_id = 8  # type: ignore[misc]

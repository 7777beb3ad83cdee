"""Publishing news, and relaying it to whoever inside listens."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import transaction

from apps.core.actor import Actor, ActorKind
from apps.core.db import use_case
from apps.core.public_ids import decode
from apps.events import consumers, services
from apps.events.models import OutboxEvent
from apps.events.tasks import relay
from tests import broker
from tests.broker import Message
from tests.events.conftest import HEARD
from tests.threads import in_parallel

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(seconds=2)
OPERATOR_ID = 7


def publish(type: str = HEARD, subject: str = "thi_1", **data: str) -> OutboxEvent:
    return services.publish(type=type, operator_id=OPERATOR_ID, subject=subject, data=data, now=NOW)


@pytest.mark.django_db(transaction=True)
def test_publishing_adds_a_row_and_nudges_the_relay_once_it_is_committed() -> None:
    @use_case
    def do_something() -> OutboxEvent:
        event = publish(status="DONE")
        assert broker.take_all("events") == []
        return event

    event = do_something()
    assert broker.take_all("events") == [Message("events.relay", {})]
    stored = OutboxEvent.objects.get()
    assert stored.uid == event.uid
    assert stored.uid.startswith("evt_")
    assert (stored.type, stored.subject, stored.operator_id) == (HEARD, "thi_1", OPERATOR_ID)
    assert (stored.data, stored.occurred_at, stored.relayed_at) == ({"status": "DONE"}, NOW, None)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("event_type", [HEARD, "thing.ignored"])
def test_many_at_once_are_the_same_events_as_one_by_one_and_one_nudge(event_type: str) -> None:
    """2001: more than go into one statement."""
    actor = replace(Actor.system("x"), request_id="req-1", trace_id="4bf92f3577b34da6a3ce929d0e0e4736")
    data = {"status": "开户 'quoted\" \\ {a,NULL}", "list": [1, None, {"x": 1.5}]}
    entries = [
        services.Entry(subject=f"thi_{number}", operator_id=7 + number % 2, data=data if number % 3 else {})
        for number in reversed(range(2001))
    ]

    @use_case
    def one_by_one() -> list[OutboxEvent]:
        return [
            services.publish(
                type=event_type,
                operator_id=entry.operator_id,
                subject=entry.subject,
                data=entry.data,
                now=NOW,
                actor=actor,
            )
            for entry in entries
        ]

    returned = one_by_one()
    broker.take_all("events")
    services.publish_many(type=event_type, entries=entries, actor=actor, now=NOW)
    assert broker.take_all("events") == ([Message("events.relay", {})] if event_type == HEARD else [])
    stored = list(OutboxEvent.objects.order_by("id"))
    singly, together = stored[:2001], stored[2001:]
    assert [shown(event) for event in together] == [shown(event) for event in singly]
    assert [event.subject for event in together] == [entry.subject for entry in entries]
    assert len({event.uid for event in stored}) == 4002
    assert {decode("evt", event.uid).version for event in stored} == {7}
    assert [(event.pk, event.uid, shown(event)) for event in returned] == [
        (event.pk, event.uid, shown(event)) for event in singly
    ]


def shown(event: OutboxEvent) -> dict[str, Any]:
    """Everything but its two ids."""
    hidden = ("id", "uid")
    return {
        f.attname: getattr(event, f.attname) for f in event._meta.concrete_fields if f.attname not in hidden
    }


@pytest.mark.django_db(transaction=True)
def test_no_entries_are_no_news() -> None:
    services.publish_many(type=HEARD, entries=[], actor=None, now=NOW)
    assert OutboxEvent.objects.count() == 0
    assert broker.take_all("events") == []


@pytest.mark.django_db(transaction=True)
def test_what_publishing_returns_is_a_stored_row() -> None:
    event = publish()
    assert not event._state.adding
    event.relayed_at = LATER
    event.save(update_fields=["relayed_at"])
    assert OutboxEvent.objects.get() == event
    assert OutboxEvent.objects.get().relayed_at == LATER


@pytest.mark.django_db
def test_a_moment_without_a_time_zone_is_refused() -> None:
    naive = NOW.replace(tzinfo=None)
    with pytest.raises(ValueError, match="time zone"):
        services.publish(type=HEARD, operator_id=7, subject="thi_1", data={}, now=naive)
    entries = [services.Entry(subject="thi_1", operator_id=7, data={})]
    with pytest.raises(ValueError, match="time zone"):
        services.publish_many(type=HEARD, entries=entries, actor=None, now=naive)


@pytest.mark.django_db(transaction=True)
def test_what_is_rolled_back_is_no_news() -> None:
    def fail_after_publishing() -> None:
        with transaction.atomic():
            publish()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_after_publishing()
    assert OutboxEvent.objects.count() == 0
    assert broker.take_all("events") == []


@pytest.mark.django_db(transaction=True)
def test_an_event_that_nobody_listens_to_is_kept_for_partners_and_wakes_nobody() -> None:
    publish(type="thing.ignored")
    assert OutboxEvent.objects.get().relayed_at == NOW
    assert broker.take_all("events") == []
    assert services.relay(now=LATER) == 0


@pytest.mark.django_db(transaction=True)
def test_the_relay_hands_waiting_events_to_every_consumer_oldest_first() -> None:
    consumers.register(HEARD, "tests.hear_too")
    first, second = publish(subject="thi_1"), publish(subject="thi_2")
    assert services.relay(now=LATER) == 2
    assert broker.take_all(broker.DEFAULT) == [
        Message(task, {"event_id": event.uid, "subject": event.subject})
        for event in (first, second)
        for task in ("tests.hear", "tests.hear_too")
    ]
    assert set(OutboxEvent.objects.values_list("relayed_at", flat=True)) == {LATER}
    assert services.relay(now=LATER + timedelta(seconds=1)) == 0
    assert broker.take_all(broker.DEFAULT) == []
    assert set(OutboxEvent.objects.values_list("relayed_at", flat=True)) == {LATER}


@pytest.mark.django_db(transaction=True)
def test_a_batch_takes_the_oldest_and_leaves_the_rest() -> None:
    events = [publish(subject=f"thi_{number}") for number in range(5)]
    assert services.relay(now=LATER, limit=3) == 3
    assert [message.kwargs["event_id"] for message in broker.take_all(broker.DEFAULT)] == [
        event.uid for event in events[:3]
    ]
    assert services.relay(now=LATER, limit=3) == 2
    assert services.relay(now=LATER, limit=3) == 0


@pytest.mark.django_db(transaction=True)
def test_two_relays_at_once_hand_every_event_on_exactly_once() -> None:
    published = [publish(subject=f"thi_{number}").uid for number in range(40)]
    counts = in_parallel(2, lambda _: sum(iter(lambda: services.relay(now=LATER, limit=5), 0)))
    assert sum(counts) == 40
    sent = [message.kwargs["event_id"] for message in broker.take_all(broker.DEFAULT)]
    assert sorted(sent) == sorted(published)


@pytest.mark.django_db(transaction=True)
def test_a_relay_does_not_wait_for_another_and_does_not_take_its_events() -> None:
    """The same, with the interleaving forced: the first holds its batch while the second runs to its end."""
    first, second = publish(subject="thi_1"), publish(subject="thi_2")
    holding, finish = threading.Event(), threading.Event()

    def work(number: int) -> int:
        if number == 0:
            with transaction.atomic():
                held = OutboxEvent.objects.select_for_update().get(pk=first.pk)
                holding.set()
                assert finish.wait(10)
                return held.pk
        assert holding.wait(10)
        try:
            return services.relay(now=LATER)
        finally:
            finish.set()

    assert in_parallel(2, work) == [first.pk, 1]
    assert [message.kwargs["event_id"] for message in broker.take_all(broker.DEFAULT)] == [second.uid]
    assert OutboxEvent.objects.get(relayed_at=None).pk == first.pk


@pytest.mark.django_db(transaction=True)
def test_the_task_goes_on_until_nothing_waits() -> None:
    for number in range(501):
        OutboxEvent.objects.create(
            type=HEARD, operator_id=OPERATOR_ID, subject=f"thi_{number}", data={}, occurred_at=NOW
        )
    relay(an_argument_of_a_newer_version=1)
    assert OutboxEvent.objects.filter(relayed_at=None).count() == 0
    assert len(broker.take_all(broker.DEFAULT)) == 501


def test_registering_twice_is_registering_once() -> None:
    consumers.register(HEARD, "tests.hear")
    assert consumers.of(HEARD) == ("tests.hear",)
    consumers.register("thing.ended", "tests.hear_too")
    assert consumers.of("thing.unknown") == ()
    assert consumers.registered() == {"tests.hear", "tests.hear_too"}


@pytest.mark.django_db
def test_an_event_names_the_request_behind_it_and_nobody() -> None:
    actor = Actor(
        kind=ActorKind.STAFF,
        id="usr_1",
        label="li.na",
        operator_id=OPERATOR_ID,
        request_id="req-1",
        trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
    )
    services.publish(type=HEARD, operator_id=OPERATOR_ID, subject="thi_1", data={}, now=NOW, actor=actor)
    publish(subject="thi_2")
    assert list(OutboxEvent.objects.order_by("id").values_list("request_id", "trace_id")) == [
        ("req-1", "4bf92f3577b34da6a3ce929d0e0e4736"),
        ("", ""),
    ]
    assert not any("li.na" in str(row) or "usr_1" in str(row) for row in OutboxEvent.objects.values())

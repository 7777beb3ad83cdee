"""Places under the holder limit, and their way from holder to holder."""

from __future__ import annotations

from datetime import datetime

import pytest
from django.db import IntegrityError, transaction

from apps.core.errors import InvalidTransition
from apps.lines import services
from apps.lines.errors import HolderLimitReached
from apps.lines.models import Handover, HolderSlot, Line
from apps.operators.models import VirtualOperator
from apps.subscribers import selectors as people
from tests.factories.provisioning import SYSTEM, Seller
from tests.refusals import refused

pytestmark = pytest.mark.django_db

SOMEBODY = b"f" * 36


def take(operator: VirtualOperator, fingerprint: bytes = SOMEBODY, limit: int = 3) -> int:
    return services.take_holder_slot(operator_id=operator.pk, fingerprints=[fingerprint], limit=limit)


def places(fingerprint: bytes = SOMEBODY) -> list[int]:
    held = HolderSlot.objects.filter(fingerprint=fingerprint)
    return sorted(held.values_list("slot", flat=True))


def test_as_many_as_the_limit_and_the_lowest_first(operator: VirtualOperator) -> None:
    taken = [take(operator) for _ in range(3)]
    assert places() == [1, 2, 3]
    with refused(HolderLimitReached):
        take(operator)
    HolderSlot.objects.filter(pk=taken[1]).delete()
    take(operator)
    assert places() == [1, 2, 3]


def test_each_operator_and_person_has_its_own(
    operator: VirtualOperator, other_operator: VirtualOperator
) -> None:
    take(operator, limit=1)
    take(other_operator, limit=1)
    take(operator, b"g" * 36, limit=1)
    with refused(HolderLimitReached):
        take(operator, limit=1)


def test_a_lower_limit_takes_nothing_away(operator: VirtualOperator) -> None:
    for _ in range(3):
        take(operator)
    with refused(HolderLimitReached):
        take(operator, limit=2)
    assert places() == [1, 2, 3]


def test_a_place_is_for_one_line(operator: VirtualOperator, line: Line) -> None:
    slot = take(operator)
    services.promise_places(actor=SYSTEM, places=services.Places(slot), line_id=line.pk)
    with pytest.raises(IntegrityError, match="holder_slot_for_one_line"), transaction.atomic():
        HolderSlot.objects.filter(pk=slot).update(line=line)


def test_a_promise_that_comes_to_nothing_frees_the_place(operator: VirtualOperator, line: Line) -> None:
    services.promise_places(actor=SYSTEM, places=services.Places(take(operator)), line_id=line.pk)
    services.release_promised_places(actor=SYSTEM, line_id=line.pk)
    assert places() == []
    assert HolderSlot.objects.filter(line=line).exists(), "the present holder keeps theirs"


def test_with_a_transfer_the_place_changes_hands(seller: Seller, line: Line, now: datetime) -> None:
    former, person = line.subscriber, seller.subscriber()
    [fingerprint] = people.get_holder_fingerprints(subscriber_id=person.pk)
    slot = take(seller.operator, fingerprint)
    services.promise_places(actor=SYSTEM, places=services.Places(slot), line_id=line.pk)
    changed = services.transfer_line(actor=SYSTEM, line_id=line.pk, subscriber_id=person.pk, now=now)
    assert changed.subscriber == person
    held = HolderSlot.objects.get(line=line)
    assert (held.pk, held.coming_line_id, bytes(held.fingerprint)) == (slot, None, fingerprint)
    assert not HolderSlot.objects.filter(
        fingerprint__in=people.get_holder_fingerprints(subscriber_id=former.pk)
    ).exists()
    assert list(Handover.objects.values_list("line", "former", "handed_at")) == [(line.pk, former.pk, now)]


@pytest.mark.parametrize("end", ["terminate", "abandon"])
def test_with_the_line_its_place_is_free(seller: Seller, now: datetime, end: str) -> None:
    line = seller.active_line() if end == "terminate" else seller.order().line
    [fingerprint] = people.get_holder_fingerprints(subscriber_id=line.subscriber_id)
    assert places(fingerprint) == [1]
    call = services.terminate_line if end == "terminate" else services.abandon_line
    call(actor=SYSTEM, line_id=line.pk, reason="user_request", now=now)
    assert places(fingerprint) == []


def test_what_lives_is_not_abandoned_and_what_does_not_is_not_terminated(
    seller: Seller, line: Line, now: datetime
) -> None:
    with refused(InvalidTransition):
        services.abandon_line(actor=SYSTEM, line_id=line.pk, reason="x", now=now)
    pending = seller.order().line_id
    with refused(InvalidTransition):
        services.terminate_line(actor=SYSTEM, line_id=pending, reason="x", now=now)

"""The same person with a newer card: its term is taken over, and nothing else."""

from __future__ import annotations

from datetime import date, datetime

import pytest

from apps.audit.models import AuditEvent
from apps.operators.models import VirtualOperator
from apps.subscribers import services
from apps.subscribers.models import IdentityDocument
from tests.factories.subscribers import SYSTEM, document, given_subscriber, resident_number

pytestmark = pytest.mark.django_db

OLD = (date(2010, 1, 2), date(2080, 1, 1))


@pytest.mark.parametrize(
    ("before", "shown", "after"),
    [
        (OLD, (date(2020, 1, 1), date(2090, 1, 1)), (date(2020, 1, 1), date(2090, 1, 1))),
        # Without its first day, and for life.
        (OLD, (None, date(2090, 1, 1)), (OLD[0], date(2090, 1, 1))),
        (OLD, (date(2020, 1, 1), None), (date(2020, 1, 1), None)),
        # Left out is not for life; the same or an older card changes nothing; a term is never shortened.
        (OLD, (None, None), OLD),
        (OLD, OLD, OLD),
        (OLD, (OLD[0], None), OLD),
        (OLD, (date(2000, 1, 1), date(2070, 1, 1)), OLD),
        ((OLD[0], None), (date(2020, 1, 1), date(2090, 1, 1)), (OLD[0], None)),
    ],
)
def test_which_card_is_newer(
    operator: VirtualOperator, now: datetime, before: tuple, shown: tuple, after: tuple
) -> None:
    number = resident_number()
    person = given_subscriber(
        operator=operator, now=now, number=number, valid_from=before[0], valid_until=before[1]
    )
    found, created = services.register_individual(
        actor=SYSTEM,
        operator_id=operator.pk,
        name="张三丰",
        document=document(number, valid_from=shown[0], valid_until=shown[1]),
        now=now,
    )
    assert (found, created) == (person, False)
    row = IdentityDocument.objects.get()
    assert (row.valid_from, row.valid_until) == after
    trail = AuditEvent.objects.filter(target_id=row.uid, action="identity_document.renew")
    assert trail.count() == (after != before)

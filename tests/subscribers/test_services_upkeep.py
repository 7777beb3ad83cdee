"""What beat does for verifications: finds what was lost, ends what has grown old."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from apps.audit.models import AuditEvent
from apps.core.actor import Actor
from apps.events.models import OutboxEvent
from apps.operators.models import VirtualOperator
from apps.subscribers import services
from apps.subscribers.models import Verification
from tests.factories.subscribers import SYSTEM, answering, given_subscriber, given_verification
from tests.subscribers.conftest import Nudges

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)


@pytest.fixture
def verification(operator: VirtualOperator, now: datetime) -> Verification:
    return given_verification(subscriber=given_subscriber(operator=operator, now=now), now=now)


def _run(now: datetime) -> int:
    return services.run_due_verifications(clock=lambda: now, providers=answering())


class TestSweeping:
    def test_nothing_due_no_nudge(self, verification: Verification, now: datetime, nudges: Nudges) -> None:
        assert services.sweep(now=now - MINUTE) is False
        assert nudges() == []

    def test_a_lost_nudge_is_made_good(
        self, verification: Verification, now: datetime, nudges: Nudges
    ) -> None:
        assert services.sweep(now=now) is True
        assert nudges() == ["subscribers.run_verifications"]

    def test_a_worker_that_died_after_its_claim(self, verification: Verification, now: datetime) -> None:
        services.claim_due_verifications(now=now, lease=MINUTE)

        assert services.sweep(now=now + MINUTE / 2) is False, "it may still be at work"
        assert services.sweep(now=now + MINUTE) is True
        _run(now + MINUTE)
        assert (Verification.objects.get().status, Verification.objects.get().attempts) == ("PASSED", 2)


class TestExpiring:
    def test_a_pass_grows_old(self, verification: Verification, now: datetime) -> None:
        _run(now)
        actor = Actor.system("tests")
        until = now + timedelta(days=30)

        assert services.expire_verifications(actor=actor, now=until - timedelta(seconds=1)) == 0
        assert services.expire_verifications(actor=actor, now=until) == 1
        assert services.expire_verifications(actor=actor, now=until) == 0

        stored = Verification.objects.get()
        assert (stored.status, stored.decided_at, stored.fresh_until) == ("EXPIRED", now, until)
        audited = AuditEvent.objects.filter(target_id=verification.uid).order_by("id")
        assert list(audited.values_list("action", flat=True)) == [
            "verification.request",
            "verification.pass",
            "verification.expire",
        ]
        assert OutboxEvent.objects.filter(subject=verification.uid).count() == 1, (
            "growing old is not a completion"
        )

    def test_at_most_the_limit(self, operator: VirtualOperator, now: datetime) -> None:
        for _ in range(3):
            given_verification(subscriber=given_subscriber(operator=operator, now=now), now=now)
        _run(now)
        later = now + timedelta(days=31)

        assert services.expire_verifications(actor=SYSTEM, now=later, limit=2) == 2
        assert services.expire_verifications(actor=SYSTEM, now=later, limit=2) == 1

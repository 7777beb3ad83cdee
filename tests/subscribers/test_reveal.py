"""People in clear: so many an hour for one member of staff, and nothing of whoever was erased."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
import redis
from django.conf import settings

from apps.accounts.actors import actor_of_user
from apps.accounts.states import Role
from apps.audit.models import AuditEvent
from apps.core.actor import Actor
from apps.operators.models import VirtualOperator
from apps.operators.policies import PolicyKey
from apps.subscribers import errors, services
from apps.subscribers.models import IdentityDocument, Subscriber
from tests.factories.accounts import given_user
from tests.factories.operators import given_policy
from tests.factories.subscribers import SYSTEM, given_subscriber

pytestmark = pytest.mark.django_db

REASON = "police request 2026/17"


@pytest.fixture
def subscriber(operator: VirtualOperator, now: datetime) -> Subscriber:
    return given_subscriber(operator=operator, now=now)


def _officer(operator: VirtualOperator, now: datetime) -> Actor:
    return actor_of_user(given_user(role=Role.COMPLIANCE, operator=operator, now=now))


def _look(actor: Actor, subscriber: Subscriber, now: datetime) -> Any:
    document = subscriber.documents.get()
    return services.reveal_document(actor=actor, document_uid=document.uid, reason=REASON, now=now)


def test_the_fourth_look_of_an_hour_is_refused_and_leaves_no_trace_of_a_look(
    subscriber: Subscriber, operator: VirtualOperator, now: datetime
) -> None:
    given_policy(key=PolicyKey.REVEALS_PER_HOUR, value=3, now=now, operator=operator)
    officer = _officer(operator, now)
    for _ in range(2):
        assert _look(officer, subscriber, now).name == "张三丰"
    assert services.reveal_images(actor=officer, subscriber_uid=subscriber.uid, reason=REASON, now=now) == []

    with pytest.raises(errors.TooManyReveals):
        _look(officer, subscriber, now)
    with pytest.raises(errors.TooManyReveals):
        services.reveal_images(actor=officer, subscriber_uid=subscriber.uid, reason=REASON, now=now)
    assert AuditEvent.objects.filter(action="identity.reveal").count() == 2
    assert _look(_officer(operator, now), subscriber, now), "a colleague is another person"


def test_a_refused_look_does_not_count(
    subscriber: Subscriber, operator: VirtualOperator, now: datetime
) -> None:
    given_policy(key=PolicyKey.REVEALS_PER_HOUR, value=1, now=now, operator=operator)
    officer = _officer(operator, now)
    document = subscriber.documents.get()
    for _ in range(3):
        with pytest.raises(errors.ReasonMissing):
            services.reveal_document(actor=officer, document_uid=document.uid, reason=" ", now=now)
    assert _look(officer, subscriber, now)


def test_the_limit_names_nobody_in_redis(
    subscriber: Subscriber, operator: VirtualOperator, now: datetime
) -> None:
    officer = _officer(operator, now)
    _look(officer, subscriber, now)
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        assert client.exists(f"rate:reveal:STAFF:{officer.id}")
        client.delete(f"rate:reveal:STAFF:{officer.id}")


def test_nothing_is_shown_of_whoever_was_erased(
    subscriber: Subscriber, operator: VirtualOperator, now: datetime
) -> None:
    services.erase_subscriber(actor=SYSTEM, subscriber_id=subscriber.pk, now=now)
    assert IdentityDocument.objects.exists()
    with pytest.raises(errors.SubscriberErased):
        _look(_officer(operator, now), subscriber, now)

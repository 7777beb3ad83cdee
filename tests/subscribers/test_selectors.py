"""Reading: tenant scope, exact filters, and how a subscriber stands with the real-name rule."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.db import connection

from apps.core.actor import Actor, ActorKind
from apps.core.errors import NotFound
from apps.operators.models import VirtualOperator
from apps.subscribers import selectors, services
from apps.subscribers.models import IdentityDocument, Subscriber, Verification
from apps.subscribers.realname.providers.base import AuthorityAnswer, FaceAnswer, Providers
from apps.subscribers.states import Standing
from tests.factories.subscribers import SYSTEM, answering, given_subscriber, given_verification

pytestmark = pytest.mark.django_db


def _verify(subscriber: Subscriber, now: datetime, providers: Providers) -> Verification:
    verification = given_verification(subscriber=subscriber, now=now)
    services.run_due_verifications(clock=lambda: now, providers=providers)
    return verification


class TestStanding:
    @pytest.fixture
    def subscriber(self, operator: VirtualOperator, now: datetime) -> Subscriber:
        return given_subscriber(operator=operator, now=now)

    def _state(self, subscriber: Subscriber, now: datetime) -> selectors.VerificationState:
        return selectors.get_verification_state(subscriber_id=subscriber.pk, now=now)

    def test_nobody_asked(self, subscriber: Subscriber, now: datetime) -> None:
        assert self._state(subscriber, now) == selectors.VerificationState(Standing.NONE)

    @pytest.mark.parametrize(
        ("providers", "standing", "code"),
        [
            (answering(), Standing.PASSED_FRESH, ""),
            (answering("provider_unavailable"), Standing.PENDING, ""),
            (answering(AuthorityAnswer.NAME_MISMATCH), Standing.FAILED, "name_mismatch"),
            (answering(face=FaceAnswer.UNCERTAIN), Standing.REVIEW, "face_uncertain"),
        ],
    )
    def test_the_latest_counts(
        self, subscriber: Subscriber, now: datetime, providers: Providers, standing: Standing, code: str
    ) -> None:
        verification = _verify(subscriber, now, providers)

        assert self._state(subscriber, now) == selectors.VerificationState(
            standing, verification.pk, verification.uid, code
        )

    def test_freshness_ends_with_or_without_the_sweeper(self, subscriber: Subscriber, now: datetime) -> None:
        _verify(subscriber, now, answering())
        until = now + timedelta(days=30)

        assert self._state(subscriber, until - timedelta(seconds=1)).standing == Standing.PASSED_FRESH
        assert self._state(subscriber, until).standing == Standing.EXPIRED
        services.expire_verifications(actor=SYSTEM, now=until)
        assert self._state(subscriber, until).standing == Standing.EXPIRED

    def test_asking_again_takes_a_fresh_pass_not_away(self, subscriber: Subscriber, now: datetime) -> None:
        passed = _verify(subscriber, now, answering())
        again = given_verification(subscriber=subscriber, now=now)

        assert self._state(subscriber, now).verification_id == passed.pk
        assert self._state(subscriber, now + timedelta(days=30)) == selectors.VerificationState(
            Standing.PENDING, again.pk, again.uid
        )

    @pytest.mark.parametrize(
        ("providers", "standing"),
        [
            (answering(AuthorityAnswer.DOCUMENT_VOID), Standing.FAILED),
            (answering(face=FaceAnswer.UNCERTAIN), Standing.REVIEW),
        ],
    )
    def test_a_later_doubt_takes_it_away(
        self, subscriber: Subscriber, now: datetime, providers: Providers, standing: Standing
    ) -> None:
        _verify(subscriber, now, answering())
        _verify(subscriber, now, providers)

        assert self._state(subscriber, now).standing == standing

    def test_asking_again_hides_no_failure_behind_an_older_pass(
        self, subscriber: Subscriber, now: datetime
    ) -> None:
        _verify(subscriber, now, answering())
        _verify(subscriber, now, answering(AuthorityAnswer.DOCUMENT_VOID))
        given_verification(subscriber=subscriber, now=now)

        assert self._state(subscriber, now).standing == Standing.PENDING


class TestScope:
    def test_only_ones_own(
        self, operator: VirtualOperator, other_operator: VirtualOperator, now: datetime
    ) -> None:
        mine = given_subscriber(operator=operator, now=now)
        theirs = given_subscriber(operator=other_operator, now=now)
        their_verification = given_verification(subscriber=theirs, now=now)
        me = Actor(ActorKind.PARTNER, "app_x", "an app", operator.pk)

        assert [row.pk for row in selectors.list_subscribers(actor=me)] == [mine.pk]
        assert selectors.list_subscribers(actor=SYSTEM).count() == 2
        with pytest.raises(NotFound):
            selectors.get_subscriber(actor=me, uid=theirs.uid)
        with pytest.raises(NotFound):
            selectors.get_verification(actor=me, uid=their_verification.uid)
        assert selectors.get_subscriber(actor=me, uid=mine.uid).pk == mine.pk

    @pytest.mark.parametrize(
        "uid", ["", "sub_", "sub_01h455vb4pex5vsknk084sn02q", "ver_01h455vb4pex5vsknk084sn02q", "1"]
    )
    def test_unknown_and_malformed_ids_are_the_same(self, operator: VirtualOperator, uid: str) -> None:
        with pytest.raises(NotFound):
            selectors.get_subscriber(actor=SYSTEM, uid=uid)
        with pytest.raises(NotFound):
            selectors.get_verification(actor=SYSTEM, uid=uid)

    def test_exact_filters(self, operator: VirtualOperator, now: datetime) -> None:
        wanted = given_subscriber(operator=operator, now=now, external_id="c-1")
        given_subscriber(operator=operator, now=now, external_id="c-2")
        fingerprint = bytes(IdentityDocument.objects.get(subscriber=wanted).fingerprint)

        by_document = selectors.list_subscribers(actor=SYSTEM, fingerprints=[fingerprint])
        by_key = selectors.list_subscribers(actor=SYSTEM, external_id="c-1")

        assert [row.pk for row in by_document] == [row.pk for row in by_key] == [wanted.pk]
        assert not selectors.list_subscribers(actor=SYSTEM, fingerprints=[bytes(32)])


def test_a_list_costs_the_same_whatever_its_length(
    operator: VirtualOperator, now: datetime, django_assert_num_queries: object
) -> None:
    for _ in range(5):
        given_verification(subscriber=given_subscriber(operator=operator, now=now), now=now)

    with django_assert_num_queries(6):  # type: ignore[operator]
        rows = list(selectors.list_subscribers(actor=SYSTEM))

    assert {row.latest_verification[0].status for row in rows} == {"PENDING"}  # type: ignore[attr-defined]


def test_the_holders_fingerprints(operator: VirtualOperator, now: datetime) -> None:
    subscriber = given_subscriber(operator=operator, now=now)

    assert selectors.get_holder_fingerprints(subscriber_id=subscriber.pk) == [
        bytes(IdentityDocument.objects.get().fingerprint)
    ]
    with pytest.raises(IdentityDocument.DoesNotExist):
        selectors.get_holder_fingerprints(subscriber_id=0)


def test_whose_verification_it_is(operator: VirtualOperator, now: datetime) -> None:
    verification = given_verification(subscriber=given_subscriber(operator=operator, now=now), now=now)

    found = selectors.get_subscriber_id_of_verification(verification_uid=verification.uid)

    assert found == verification.subscriber_id
    assert (
        selectors.get_subscriber_id_of_verification(verification_uid="ver_01h455vb4pex5vsknk084sn02q") is None
    )


def test_a_search_by_document_uses_the_blind_index(operator: VirtualOperator, now: datetime) -> None:
    """On the table of a whole country anything else would read every document."""
    given_subscriber(operator=operator, now=now)
    actor = Actor(ActorKind.PARTNER, "app_x", "an app", operator.pk)
    with connection.cursor() as cursor:
        cursor.execute(_MANY_MORE_SUBSCRIBERS)
        cursor.execute(_MANY_MORE_DOCUMENTS)
        cursor.execute("ANALYZE subscribers_subscriber, subscribers_identitydocument")

    plan = selectors.list_subscribers(actor=actor, fingerprints=[bytes(32)]).order_by("-uid")[:51].explain()

    assert "identity_document_person" in plan
    assert "Seq Scan" not in plan


_MANY_MORE_SUBSCRIBERS = """
    INSERT INTO subscribers_subscriber
        (uid, operator_id, kind, external_id, name_sealed, name_masked, entered_by, created_at)
    SELECT gen_random_uuid(), operator_id, kind, '', '', name_masked, entered_by, created_at
    FROM subscribers_subscriber, generate_series(1, 3000)
"""
_MANY_MORE_DOCUMENTS = """
    INSERT INTO subscribers_identitydocument
        (uid, operator_id, subscriber_id, type, number_sealed, number_masked, fingerprint, issuing_country, created_at)
    SELECT gen_random_uuid(), operator_id, id, 'resident_id', '', '*', sha256(id::text::bytea), '', created_at
    FROM subscribers_subscriber
"""

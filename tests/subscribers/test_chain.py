"""Fail-over between two houses over HTTP, with the breakers in between: what is asked of whom, and when nobody."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
import redis
from django.conf import settings as django_settings

from apps.core.breaker import Breaker
from apps.operators.models import VirtualOperator
from apps.subscribers import services
from apps.subscribers.models import Verification, VerificationCheck
from apps.subscribers.realname.providers import http
from apps.subscribers.realname.providers.base import AuthorityAnswer, Providers, ProviderUnavailable, Reply
from apps.subscribers.realname.providers.bearer_json import JsonAuthority, JsonFaceMatcher
from apps.subscribers.realname.providers.chain import AuthorityChain, FaceChain
from apps.subscribers.realname.providers.signed_form import FormAuthority, FormFaceMatcher
from tests import simulator
from tests.factories.subscribers import given_subscriber, given_verification, resident_number
from tests.simulator import read_state
from tests.threads import in_parallel

NAME = "张三丰"
OPEN_SECONDS = 0.3
HUNG_SECONDS = 0.4
# How long the simulator would keep us waiting.
HANGS_FOR = 60.0


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    with simulator.running_simulator() as url:
        yield url


class Houses:
    """Both houses of the simulator in chains, with breakers of this test alone and little patience."""

    def __init__(self, base_url: str, stack: contextlib.ExitStack) -> None:
        run = str(uuid.uuid4())

        def breaker(name: str) -> Breaker:
            return Breaker(name=f"test.{name}.{run}", open_seconds=OPEN_SECONDS, probe_seconds=OPEN_SECONDS)

        def kept(provider: Any) -> Any:
            return stack.enter_context(contextlib.closing(provider))

        token, secret = simulator.REALNAME_TOKEN, simulator.REALNAME_SECOND_SECRET
        self.base_url = base_url
        self.breakers = {
            name: breaker(name) for name in ("authority", "second_authority", "face", "second_face")
        }
        first = kept(
            JsonAuthority(
                name="authority",
                url=f"{base_url}/realname/authority",
                token=token,
                total_seconds=HUNG_SECONDS,
            )
        )
        second = kept(
            FormAuthority(
                name="second_authority",
                url=f"{base_url}/realname2/citizen",
                secret=secret,
                total_seconds=HUNG_SECONDS,
            )
        )
        face = kept(
            JsonFaceMatcher(
                name="face", url=f"{base_url}/realname/face", token=token, total_seconds=HUNG_SECONDS
            )
        )
        second_face = kept(
            FormFaceMatcher(
                name="second_face",
                url=f"{base_url}/realname2/portrait",
                secret=secret,
                total_seconds=HUNG_SECONDS,
            )
        )
        self.providers = Providers(
            authority=AuthorityChain(
                [(first, self.breakers["authority"]), (second, self.breakers["second_authority"])]
            ),
            face=FaceChain([(face, self.breakers["face"]), (second_face, self.breakers["second_face"])]),
        )

    def ask(self, area: str, request: str = "ver_1-1") -> Reply[AuthorityAnswer]:
        return self.providers.authority.match(
            name=NAME,
            document_type="resident_id",
            document_number=resident_number(area),
            request_id=request,
        )

    def asked(self) -> tuple[int, int]:
        """How often the first and the second authority were asked since the simulator started."""
        counts = read_state(self.base_url)["counts"]
        return counts.get("real-name: authority", 0), counts.get("real-name: second authority", 0)


@pytest.fixture
def houses(base_url: str) -> Iterator[Houses]:
    with contextlib.ExitStack() as stack:
        yield Houses(base_url, stack)


@pytest.mark.parametrize(
    "area", ["720001", "730002", "730003", "730004"], ids=["down", "wrong echo", "hangs", "unknown word"]
)
def test_the_second_answers_when_the_first_does_not(houses: Houses, area: str) -> None:
    assert houses.ask(area) == Reply(AuthorityAnswer.MATCH, "second_authority")


def test_the_second_is_not_asked_when_the_first_says_no(houses: Houses) -> None:
    _, before = houses.asked()

    assert houses.ask("700002") == Reply(AuthorityAnswer.NAME_MISMATCH, "authority")
    assert houses.asked()[1] == before, "an answer is an answer; nobody shops around for a better one"


@pytest.mark.parametrize(
    ("area", "code"),
    [
        ("740011", http.UNAVAILABLE),
        ("740022", http.WRONG_ECHO),
        ("740033", http.UNAVAILABLE),
        ("740044", http.ANSWER_INVALID),
    ],
)
def test_nobody_answers(houses: Houses, area: str, code: str) -> None:
    began = time.monotonic()

    with pytest.raises(ProviderUnavailable) as refused:
        houses.ask(area)

    assert (refused.value.code, refused.value.provider) == (code, "authority")
    assert time.monotonic() - began < HANGS_FOR, "we hung up, not they"


def test_five_failures_open_the_breaker_and_a_good_probe_closes_it(houses: Houses) -> None:
    for number in range(5):
        houses.ask("720001", f"ver_{number}-1")
    first, second = houses.asked()

    for number in range(3):
        assert houses.ask("700001", f"ver_{number}-2").provider == "second_authority"
    assert houses.asked() == (first, second + 3), "the first is left alone"

    time.sleep(OPEN_SECONDS * 1.2)
    assert houses.ask("700001").provider == "authority", "the probe"
    assert houses.ask("700001").provider == "authority"
    assert houses.asked() == (first + 2, second + 3)


def test_a_probe_without_an_answer_keeps_it_open(houses: Houses) -> None:
    for number in range(5):
        houses.ask("720001", f"ver_{number}-1")
    time.sleep(OPEN_SECONDS * 1.2)
    assert houses.ask("720001", "ver_9-1").provider == "second_authority"
    first, _ = houses.asked()

    assert houses.ask("700001").provider == "second_authority"
    assert houses.asked()[0] == first


def test_both_open_asks_nobody_and_passes_nothing(houses: Houses) -> None:
    for number in range(5):
        with pytest.raises(ProviderUnavailable):
            houses.ask("740011", f"ver_{number}-1")
    before = houses.asked()

    with pytest.raises(ProviderUnavailable) as refused:
        houses.ask("700001")

    assert refused.value.code == http.BREAKER_OPEN
    assert houses.asked() == before


def test_one_person_nobody_can_deal_with_shuts_out_nobody_else(houses: Houses) -> None:
    for attempt in range(8):
        with pytest.raises(ProviderUnavailable):
            houses.ask("740011", f"ver_1-{attempt}")

    assert houses.ask("700001", "ver_2-1").provider == "authority"


def test_redis_holds_ids_and_words_only(houses: Houses) -> None:
    for number in range(5):
        houses.ask("720001", f"ver_{number}-1")

    with redis.Redis.from_url(django_settings.REDIS_URL) as client:
        names = [key for breaker in houses.breakers.values() for key in breaker._keys()]
        held = [client.smembers(key) if key.endswith("failed") else {client.get(key) or b""} for key in names]
    text = " ".join(names) + b" ".join(part for parts in held for part in parts).decode()
    assert resident_number("720001") not in text
    assert "ver_3" in text


@pytest.mark.django_db(transaction=True)
class TestVerifications:
    def test_twelve_workers_at_one_person(
        self, houses: Houses, operator: VirtualOperator, now: datetime
    ) -> None:
        """Its first providers are down: of twelve at once one gets it, and the second providers decide."""
        number = resident_number("720001")
        verification = given_verification(
            subscriber=given_subscriber(operator=operator, now=now, number=number), now=now
        )

        recorded = in_parallel(
            12, lambda _: services.run_due_verifications(clock=lambda: now, providers=houses.providers)
        )

        assert sum(recorded) == 1
        stored = Verification.objects.get(pk=verification.pk)
        assert (stored.status, stored.attempts) == ("PASSED", 1)
        found = VerificationCheck.objects.filter(verification=verification, provider__gt="")
        assert list(found.order_by("position").values_list("name", "outcome", "provider")) == [
            ("authority_match", "PASS", "second_authority"),
            ("liveness", "PASS", "second_face"),
            ("face_match", "PASS", "second_face"),
        ]

    def test_a_hung_provider_holds_and_the_answers_say_when_they_came(
        self, houses: Houses, operator: VirtualOperator, now: datetime, caplog: pytest.LogCaptureFixture
    ) -> None:
        number = resident_number("740033")
        subscriber = given_subscriber(operator=operator, now=now, number=number)
        given_verification(subscriber=subscriber, now=now)

        with caplog.at_level("DEBUG"):
            services.run_due_verifications(clock=lambda: now, providers=houses.providers)

        stored = Verification.objects.get()
        assert stored.status == "PENDING"
        assert stored.next_attempt_at is not None
        checks = {check.name: check for check in VerificationCheck.objects.all()}
        assert list(checks)[-1] == "authority_match"
        held = checks["authority_match"]
        assert (held.outcome, held.code, held.provider) == ("UNAVAILABLE", http.UNAVAILABLE, "authority")
        # Both houses were waited for, after everything that nobody has to be asked about; and it was us who hung up.
        waited = (held.checked_at - checks["holder_limit"].checked_at).total_seconds()
        assert 2 * HUNG_SECONDS <= waited < HANGS_FOR
        for record in caplog.records:
            assert number not in f"{record.getMessage()} {record.__dict__!r}"

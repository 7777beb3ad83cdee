"""The watch-list: who gets on it, who is found by it, and what it does to checks before, during and after."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest

from apps.accounts.actors import actor_of_user
from apps.accounts.states import Role
from apps.audit.models import AuditEvent
from apps.core.actor import Actor
from apps.core.errors import Forbidden, InvalidTransition, NotFound
from apps.operators.calendar import china_date
from apps.operators.models import VirtualOperator
from apps.operators.policies import PolicyKey
from apps.subscribers import errors, selectors, services
from apps.subscribers.models import (
    IdentityDocument,
    Subscriber,
    Verification,
    VerificationCheck,
    WatchListEntry,
    WatchListFile,
)
from apps.subscribers.realname.providers.base import FaceAnswer
from tests.factories.accounts import given_user
from tests.factories.operators import given_policy
from tests.factories.subscribers import (
    SYSTEM,
    answering,
    fifteen_digits,
    given_minor,
    given_subscriber,
    given_verification,
    resident_number,
)
from tests.refusals import refused

pytestmark = pytest.mark.django_db

HEADER = "document_type,number,reason,source,valid_until"
NEXT_YEAR = date(2090, 1, 1)


def _file(*rows: str, header: str = HEADER) -> bytes:
    return "\n".join([header, *rows]).encode()


def _row(
    number: str, *, kind: str = "resident_id", source: str = "MPS 2026-11", until: str = "2090-01-01"
) -> str:
    return f"{kind},{number},cards sold,{source},{until}"


def _import(
    content: bytes, *, now: datetime, operator: VirtualOperator | None, actor: Actor = SYSTEM
) -> WatchListFile:
    return services.import_watch_list(
        actor=actor, operator=operator, file_name="list.csv", content=content, now=now
    )


def _listed(number: str, *, now: datetime, operator: VirtualOperator | None = None) -> WatchListEntry:
    return services.list_person(
        actor=SYSTEM,
        operator=operator,
        document_type="resident_id",
        number=number,
        reason="cards sold",
        source="MPS",
        valid_until=NEXT_YEAR,
        now=now,
    )


def _run(now: datetime) -> None:
    services.run_due_verifications(clock=lambda: now, providers=answering())


@pytest.fixture
def subscriber(operator: VirtualOperator, now: datetime) -> Subscriber:
    return given_subscriber(operator=operator, now=now)


@pytest.fixture
def number(subscriber: Subscriber) -> str:
    return IdentityDocument.objects.get(subscriber=subscriber).open_number()


class TestFinding:
    @pytest.mark.parametrize("national", [True, False])
    def test_who_is_listed_fails_before_anybody_is_asked(
        self, operator: VirtualOperator, subscriber: Subscriber, number: str, now: datetime, national: bool
    ) -> None:
        _listed(number, now=now, operator=None if national else operator)
        providers = answering()
        given_verification(subscriber=subscriber, now=now)

        services.run_due_verifications(clock=lambda: now, providers=providers)

        assert Verification.objects.get().status == "FAILED"
        check = VerificationCheck.objects.order_by("position").last()
        assert check is not None
        assert (check.name, check.outcome, check.code) == ("watch_list", "FAIL", "watchlisted")
        assert providers.authority.asked == []  # type: ignore[attr-defined]
        state = selectors.get_verification_state(subscriber_id=subscriber.pk, now=now)
        assert (state.standing, state.code) == ("FAILED", "watchlisted")

    def test_policy_can_leave_it_to_a_person(
        self, operator: VirtualOperator, subscriber: Subscriber, number: str, now: datetime
    ) -> None:
        given_policy(key=PolicyKey.WATCHLIST_TO_REVIEW, value=True, now=now, operator=operator)
        _listed(number, now=now)
        given_verification(subscriber=subscriber, now=now)

        _run(now)

        assert Verification.objects.get().status == "REVIEW"

    @pytest.mark.parametrize(
        "kind", ["resident_id", "temporary_resident_id", "household_register", "15 digits"]
    )
    def test_under_whatever_document_of_the_family(
        self, operator: VirtualOperator, now: datetime, kind: str
    ) -> None:
        whole = resident_number(sequence="124")
        given_verification(subscriber=given_subscriber(operator=operator, now=now, number=whole), now=now)
        row = _row(fifteen_digits(whole)) if kind == "15 digits" else _row(whole.lower(), kind=kind)
        _import(_file(row), now=now, operator=None)

        _run(now)

        assert Verification.objects.get().status == "FAILED"

    def test_another_operators_list_says_nothing(
        self, other_operator: VirtualOperator, subscriber: Subscriber, number: str, now: datetime
    ) -> None:
        """Also when people of both are claimed at once."""
        theirs = given_subscriber(operator=other_operator, now=now, number=number)
        _listed(number, now=now, operator=other_operator)
        given_verification(subscriber=subscriber, now=now)
        given_verification(subscriber=theirs, now=now)

        _run(now)

        found = dict(Verification.objects.values_list("operator_id", "status"))
        assert found == {subscriber.operator_id: "PASSED", other_operator.pk: "FAILED"}

    def test_until_the_last_day_in_china_and_not_beyond(
        self, subscriber: Subscriber, number: str, now: datetime
    ) -> None:
        entry = _listed(number, now=now)
        today = china_date(now)
        for until, status in ((today, "FAILED"), (today - timedelta(days=1), "PASSED")):
            WatchListEntry.objects.filter(pk=entry.pk).update(valid_until=until)
            verification = given_verification(subscriber=subscriber, now=now)
            _run(now)
            verification.refresh_from_db()
            assert verification.status == status

    def test_off_the_list_the_next_check_passes(
        self, subscriber: Subscriber, number: str, now: datetime
    ) -> None:
        entry = _listed(number, now=now)
        services.lift_listing(actor=SYSTEM, entry_uid=entry.uid, reason="appeal was granted", now=now)
        given_verification(subscriber=subscriber, now=now)

        _run(now)

        assert Verification.objects.get().status == "PASSED"
        assert AuditEvent.objects.get(action="watch_list.lift").reason == "appeal was granted"
        with refused(InvalidTransition):
            services.lift_listing(actor=SYSTEM, entry_uid=entry.uid, reason="appeal was granted", now=now)

    def test_looking_costs_one_query_however_many_are_claimed(
        self, operator: VirtualOperator, now: datetime, django_assert_num_queries: object
    ) -> None:
        for _ in range(6):
            given_verification(subscriber=given_subscriber(operator=operator, now=now), now=now)

        # The transaction's two, the rows, their claim, documents, policies, watch-list, holder slots.
        with django_assert_num_queries(8):  # type: ignore[operator]
            assert len(services.claim_due_verifications(now=now)) == 6


class TestApplying:
    """What was decided, or was about to be, before somebody was listed."""

    def test_a_pass_counts_no_more(self, subscriber: Subscriber, number: str, now: datetime) -> None:
        given_verification(subscriber=subscriber, now=now)
        _run(now)
        _listed(number, now=now)

        assert services.apply_listings(actor=SYSTEM, now=now) == 1

        assert Verification.objects.get().status == "EXPIRED"
        event = AuditEvent.objects.get(action="verification.watchlisted")
        assert (event.before, event.after) == ({"status": "PASSED"}, {"status": "EXPIRED"})
        assert services.apply_listings(actor=SYSTEM, now=now) == 0

    def test_nor_does_one_for_whom_a_listed_guardian_stands(
        self, operator: VirtualOperator, now: datetime
    ) -> None:
        minor = given_minor(operator=operator, now=now)
        given_verification(subscriber=minor, now=now)
        _run(now)
        _listed(minor.representatives.get().open_number(), now=now)
        services.apply_listings(actor=SYSTEM, now=now)
        assert minor.verifications.get().status == "EXPIRED"

    def test_an_entry_that_does_not_open_stops_nobody_elses(
        self, subscriber: Subscriber, number: str, now: datetime
    ) -> None:
        given_verification(subscriber=subscriber, now=now)
        _run(now)
        broken, erased = resident_number(), resident_number()
        for each in (broken, erased, number):
            _listed(each, now=now)
        first, second, _ = WatchListEntry.objects.order_by("id")
        WatchListEntry.objects.filter(pk=first.pk).update(number_sealed=b"noise")
        WatchListEntry.objects.filter(pk=second.pk).update(number_sealed=b"")
        assert services.apply_listings(actor=SYSTEM, now=now) == 2
        assert subscriber.verifications.get().status == "EXPIRED"
        assert not selectors.has_listings_to_apply()

    def test_a_run_that_began_before_cannot_record_a_pass(
        self, subscriber: Subscriber, number: str, now: datetime
    ) -> None:
        given_verification(subscriber=subscriber, now=now)
        (claim,) = services.claim_due_verifications(now=now)
        _listed(number, now=now)
        services.apply_listings(actor=SYSTEM, now=now)
        ((_, findings),) = services.run_checks(claims=[claim], providers=answering())

        assert services.record_verification(actor=SYSTEM, claim=claim, findings=findings, now=now) is None
        _run(now)

        assert Verification.objects.get().status == "FAILED"

    def test_who_decides_on_somebody_sees_it(
        self, subscriber: Subscriber, number: str, now: datetime
    ) -> None:
        given_verification(subscriber=subscriber, now=now)
        services.run_due_verifications(clock=lambda: now, providers=answering(face=FaceAnswer.UNCERTAIN))
        _listed(number, now=now)

        services.apply_listings(actor=SYSTEM, now=now)

        assert Verification.objects.get().status == "REVIEW"
        check = VerificationCheck.objects.get(name="watch_list")
        assert (check.outcome, check.code) == ("FAIL", "watchlisted")

    def test_who_comes_back_on_the_list_is_found_again(
        self, subscriber: Subscriber, number: str, now: datetime
    ) -> None:
        entry = _listed(number, now=now)
        services.apply_listings(actor=SYSTEM, now=now)
        WatchListEntry.objects.update(valid_until=china_date(now) - timedelta(days=1))
        given_verification(subscriber=subscriber, now=now)
        _run(now)

        assert _listed(number, now=now).pk == entry.pk
        services.apply_listings(actor=SYSTEM, now=now)

        assert Verification.objects.get().status == "EXPIRED"

    def test_nobody_elses_check_is_touched(
        self, other_operator: VirtualOperator, subscriber: Subscriber, number: str, now: datetime
    ) -> None:
        given_subscriber(operator=other_operator, now=now, number=number)
        for person in Subscriber.objects.all():
            given_verification(subscriber=person, now=now)
        _run(now)
        _listed(number, now=now, operator=other_operator)

        services.apply_listings(actor=SYSTEM, now=now)

        found = dict(Verification.objects.values_list("operator_id", "status"))
        assert found == {other_operator.pk: "EXPIRED", subscriber.operator_id: "PASSED"}


class TestImporting:
    def test_everybody_sealed_and_found(
        self, operator: VirtualOperator, operator_admin: Actor, now: datetime
    ) -> None:
        first, second = resident_number(), resident_number()

        file = _import(_file(_row(first), _row(second)), now=now, operator=operator, actor=operator_admin)

        assert (file.rows, file.added) == (2, 2)
        entry = WatchListEntry.objects.earliest("id")
        assert entry.open_number() == first
        assert first not in f"{entry.number_masked}{entry!r}"
        assert first.encode() not in bytes(entry.number_sealed)
        event = AuditEvent.objects.get(action="watch_list.import")
        assert (event.target_id, event.after) == (file.uid, {"rows": 2, "added": 2})

    def test_again_renews_and_adds_nobody(self, operator: VirtualOperator, now: datetime) -> None:
        number = resident_number()
        _import(_file(_row(number)), now=now, operator=operator)

        file = _import(_file(_row(number, until="2091-01-01")), now=now, operator=operator)

        assert (file.rows, file.added) == (1, 0)
        assert WatchListEntry.objects.get().valid_until == date(2091, 1, 1)

    def test_chinese_headers_and_gb18030(self, now: datetime) -> None:
        content = f"证件类型,证件号码,原因,来源,有效期至\nresident_id,{resident_number()},买卖电话卡,公安部,2090-01-01"

        _import(content.encode("gb18030"), now=now, operator=None)

        assert WatchListEntry.objects.get().source == "公安部"

    def test_every_bad_row_is_named_and_none_repeated(self, operator: VirtualOperator, now: datetime) -> None:
        good, wrong = resident_number(), "11010519491231002Y"
        rows = [
            _row(good),
            _row(wrong),
            _row(good),
            _row(resident_number(), until="2001-01-01"),
            _row(resident_number(), until="tomorrow"),
            _row(resident_number(), kind="library_card"),
            "resident_id,,,,",
            _row("E12345678", kind="passport"),
            _row(resident_number()) + ",more",
        ]

        with refused(errors.WatchListInvalid) as info:
            _import(_file(*rows), now=now, operator=operator)

        assert [(fault.pointer, fault.code) for fault in info.value.errors] == [
            ("/rows/3/number", "number_alphabet"),
            ("/rows/4", "repeated"),
            ("/rows/5/valid_until", "past"),
            ("/rows/6/valid_until", "invalid"),
            ("/rows/7/document_type", "invalid"),
            ("/rows/8/number", "number_length"),
            ("/rows/8/reason", "invalid"),
            ("/rows/8/source", "invalid"),
            ("/rows/8/valid_until", "invalid"),
            ("/rows/9/issuing_country", "country_missing"),
            ("/rows/10", "too_many_cells"),
        ]
        assert not any(text in f"{info.value} {info.value.errors}" for text in (good, wrong))
        assert not WatchListEntry.objects.exists()

    @pytest.mark.parametrize(
        ("content", "pointer", "code"),
        [
            (b"", "/header", "missing_column"),
            (b"\xff\xff", "/rows", "encoding"),
            (_file(), "/rows", "empty"),
            (_file(header=HEADER + ",notes"), "/header/6", "unknown_column"),
            (_file(header=HEADER + ",reason"), "/header/6", "repeated_column"),
            (_file('"never closed'), "/rows/2", "malformed_csv"),
            (b"x" * (8 * 1024 * 1024 + 1), "/rows", "too_large"),
        ],
        ids=["empty", "no text", "no rows", "unknown column", "column twice", "no CSV", "too large"],
    )
    def test_files_that_are_none(self, now: datetime, content: bytes, pointer: str, code: str) -> None:
        with refused(errors.WatchListInvalid) as info:
            _import(content, now=now, operator=None)

        assert (info.value.errors[0].pointer, info.value.errors[0].code) == (pointer, code)

    def test_a_file_without_a_header_does_not_print_its_first_person(self, now: datetime) -> None:
        number = resident_number()

        with refused(errors.WatchListInvalid) as info:
            _import(_row(number).encode(), now=now, operator=None)

        assert number not in f"{info.value} {info.value.errors}"

    def test_numbers_in_reasons_are_blotted_out(self, now: datetime) -> None:
        number = resident_number()
        row = f"resident_id,{number},sold cards to {number},MPS,2090-01-01"

        _import(_file(row), now=now, operator=None)

        assert number not in WatchListEntry.objects.get().reason


class TestRights:
    def test_of_an_operators_own_list(
        self, operator: VirtualOperator, other_operator: VirtualOperator, now: datetime
    ) -> None:
        compliance = actor_of_user(given_user(role=Role.COMPLIANCE, operator=operator, now=now))
        support = actor_of_user(given_user(role=Role.SUPPORT, operator=operator, now=now))
        content = _file(_row(resident_number()))

        _import(content, now=now, operator=operator, actor=compliance)
        with refused(Forbidden):
            _import(content, now=now, operator=operator, actor=support)
        with refused(NotFound):
            _import(content, now=now, operator=other_operator, actor=compliance)
        with refused(errors.NationalListForbidden):
            _import(content, now=now, operator=None, actor=compliance)

    def test_the_national_list_is_the_platforms(
        self, operator_admin: Actor, platform_admin: Actor, now: datetime
    ) -> None:
        file = _import(_file(_row(resident_number())), now=now, operator=None, actor=platform_admin)
        entry = WatchListEntry.objects.get()

        assert file.operator is None
        assert not WatchListEntry.objects.visible_to(operator_admin).exists()
        with refused(NotFound):
            services.lift_listing(
                actor=operator_admin, entry_uid=entry.uid, reason="is a friend of mine", now=now
            )


def test_who_it_was_is_forgotten_when_it_is_over(now: datetime) -> None:
    ended, lifted, kept = (_listed(resident_number(), now=now) for _ in range(3))
    WatchListEntry.objects.filter(pk=ended.pk).update(valid_until=china_date(now) - timedelta(days=1))
    services.lift_listing(actor=SYSTEM, entry_uid=lifted.uid, reason="appeal was granted", now=now)

    assert services.erase_ended_listings(actor=SYSTEM, now=now) == 2
    assert services.erase_ended_listings(actor=SYSTEM, now=now) == 0

    for entry in (ended, lifted):
        before = bytes(entry.fingerprint)
        entry.refresh_from_db()
        assert (bytes(entry.number_sealed), entry.number_masked, entry.reason) == (b"", "***", "cards sold")
        assert bytes(entry.fingerprint) != before
    kept.refresh_from_db()
    assert kept.open_number()

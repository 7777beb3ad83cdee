"""Who stands for a subscriber: bands of age, guardians, proxies, responsible persons, and how they are checked."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from apps.accounts.actors import actor_of_user
from apps.accounts.states import Role
from apps.audit.models import AuditEvent
from apps.core import sealing
from apps.core.errors import Forbidden, NotFound
from apps.core.sealing import SealBroken
from apps.operators.calendar import china_date
from apps.operators.models import VirtualOperator
from apps.operators.policies import PolicyKey
from apps.subscribers import errors, services
from apps.subscribers.models import IdentityDocument, Representative, Subscriber, Verification
from apps.subscribers.realname.documents import DocumentInput, DocumentType
from apps.subscribers.realname.providers.base import AuthorityAnswer, Providers, Reply
from apps.subscribers.services import PersonInput
from apps.subscribers.states import Channel, RepresentativeRole, VerificationStatus
from tests.factories.accounts import given_user
from tests.factories.operators import given_policy
from tests.factories.subscribers import (
    SYSTEM,
    Authority,
    Face,
    document,
    given_organization,
    given_subscriber,
    given_verification,
    given_watch_list_file,
    minor_number,
    resident_number,
    somebody,
)
from tests.refusals import refused

pytestmark = pytest.mark.django_db

GUARDIAN, PROXY, RESPONSIBLE = (
    RepresentativeRole.GUARDIAN,
    RepresentativeRole.PROXY,
    RepresentativeRole.RESPONSIBLE,
)


def _number_of_age(years: int, now: datetime, days: int = 0) -> str:
    """Of somebody who turned so many years old today, or `days` ago."""
    today = china_date(now)
    born = today.replace(year=today.year - years) - timedelta(days=days)
    return resident_number(born=born)


def _register(operator: VirtualOperator, now: datetime, number: str = "", **fields: Any) -> Subscriber:
    subscriber, _ = services.register_individual(
        actor=SYSTEM, operator_id=operator.pk, name="张三丰", document=document(number), now=now, **fields
    )
    return subscriber


def _faults(error: Any) -> list[tuple[str, str]]:
    return [(fault.pointer, fault.code) for fault in error.value.errors]


def _checked(
    subscriber: Subscriber, now: datetime, answers: Any = AuthorityAnswer.MATCH, **fields: Any
) -> tuple[Verification, Authority, Face]:
    given_verification(subscriber=subscriber, now=now, **fields)
    authority, face = Authority(answers), Face()
    services.run_due_verifications(clock=lambda: now, providers=Providers(authority=authority, face=face))
    return subscriber.verifications.latest("id"), authority, face


class TestBandsOfAge:
    @pytest.mark.parametrize(
        ("years", "days", "guarded", "faults"),
        [
            (16, 0, False, []),
            (
                15,
                364,
                False,
                [("/document/number", "subscriber_under_age"), ("/guardian", "guardian_missing")],
            ),
            (15, 364, True, []),
            (8, 0, True, []),
            (8, 0, False, [("/document/number", "subscriber_under_age"), ("/guardian", "guardian_missing")]),
            (7, 364, True, [("/document/number", "subscriber_under_age")]),
            (7, 0, False, [("/document/number", "subscriber_under_age")]),
        ],
    )
    def test_alone_with_a_guardian_or_not_at_all(
        self,
        operator: VirtualOperator,
        now: datetime,
        years: int,
        days: int,
        guarded: bool,
        faults: list[tuple[str, str]],
    ) -> None:
        number = _number_of_age(years, now, min(days, 300))
        guardian = somebody() if guarded else None
        if not faults:
            subscriber = _register(operator, now, number, guardian=guardian)
            assert subscriber.representatives.count() == guarded
            return
        with refused(errors.SubscriberUnderAge) as error:
            _register(operator, now, number, guardian=guardian)
        assert _faults(error) == faults
        assert not Subscriber.objects.exists()

    @pytest.mark.parametrize("years", [16, 40])
    def test_who_is_old_enough_has_none(self, operator: VirtualOperator, now: datetime, years: int) -> None:
        with refused(errors.GuardianNotNeeded) as error:
            _register(operator, now, _number_of_age(years, now), guardian=somebody())
        assert _faults(error) == [("/guardian", "guardian_not_needed")]
        assert not Subscriber.objects.exists()

    def test_the_bands_are_policy(self, operator: VirtualOperator, now: datetime) -> None:
        given_policy(key=PolicyKey.MINIMUM_AGE, value=18, now=now, operator=operator)
        given_policy(key=PolicyKey.MINIMUM_AGE_WITH_GUARDIAN, value=14, now=now, operator=operator)
        with refused(errors.SubscriberUnderAge):
            _register(operator, now, _number_of_age(17, now))
        with refused(errors.SubscriberUnderAge):
            _register(operator, now, _number_of_age(13, now), guardian=somebody())
        _register(operator, now, _number_of_age(14, now), guardian=somebody())

    def test_the_checks_look_again_on_their_day(self, operator: VirtualOperator, now: datetime) -> None:
        minor = _register(operator, now, _number_of_age(10, now), guardian=somebody())
        given_policy(key=PolicyKey.MINIMUM_AGE_WITH_GUARDIAN, value=12, now=now, operator=operator)
        verification, authority, _ = _checked(minor, now)
        assert verification.status == VerificationStatus.FAILED
        assert verification.checks.latest("position").code == "subscriber_under_age"
        assert authority.asked == []


class TestWhoMayStandForSomebody:
    @pytest.mark.parametrize("role", ["guardian", "proxy"])
    @pytest.mark.parametrize(
        ("change", "error", "pointer", "code"),
        [
            ({"name": "1"}, errors.NameInvalid, "name", "name_characters"),
            ({"name": "张\u202e三"}, errors.NameInvalid, "name", "name_characters"),
            (
                {"number": "110105194912310021"},
                errors.DocumentInvalid,
                "document/number",
                "number_check_digit",
            ),
            (
                {"type": DocumentType.USCC},
                errors.DocumentTypeNotAccepted,
                "document/type",
                "document_type_not_accepted",
            ),
            (
                {"type": DocumentType.PASSPORT},
                errors.DocumentTypeNotAccepted,
                "document/type",
                "document_type_not_accepted",
            ),
            (
                {"valid_until": date(2020, 1, 1)},
                errors.DocumentExpired,
                "document/valid_until",
                "document_expired",
            ),
            ({"valid_from": date(2999, 1, 1)}, errors.DocumentInvalid, "document/valid_from", "term_invalid"),
            (
                {"issuing_country": "USA"},
                errors.DocumentInvalid,
                "document/issuing_country",
                "country_invalid",
            ),
        ],
    )
    def test_bad_papers_are_refused_where_they_are(
        self,
        operator: VirtualOperator,
        now: datetime,
        role: str,
        change: dict[str, Any],
        error: type[Exception],
        pointer: str,
        code: str,
    ) -> None:
        name = change.get("name", "钱七星")
        paper = replace(document(), **{key: value for key, value in change.items() if key != "name"})
        with refused(error) as caught:
            number = minor_number(now) if role == "guardian" else ""
            _register(operator, now, number, **{role: PersonInput(name=name, document=paper)})
        assert _faults(caught) == [(f"/{role}/{pointer}", code)]
        assert not Subscriber.objects.exists()
        assert not Representative.objects.exists()

    def test_not_before_they_are_of_age(self, operator: VirtualOperator, now: datetime) -> None:
        with refused(errors.RepresentativeUnderAge) as error:
            guardian = somebody(number=_number_of_age(17, now))
            _register(operator, now, minor_number(now), guardian=guardian)
        assert _faults(error) == [("/guardian/document/number", "representative_under_age")]

    def test_not_for_themselves_in_any_writing(self, operator: VirtualOperator, now: datetime) -> None:
        number = resident_number()
        household = DocumentInput(type=DocumentType.HOUSEHOLD_REGISTER, number=f" {number.lower()} ")
        given_policy(
            key=PolicyKey.ACCEPTED_DOCUMENT_TYPES,
            value=["resident_id", "household_register"],
            now=now,
            operator=operator,
        )
        with refused(errors.RepresentativeIsHolder) as error:
            _register(operator, now, number, proxy=PersonInput(name="张三丰", document=household))
        assert _faults(error) == [("/proxy/document/number", "representative_is_holder")]

    def test_all_faults_are_told_together(self, operator: VirtualOperator, now: datetime) -> None:
        bad = PersonInput(name="1", document=document("1"))
        with refused(errors.DocumentInvalid) as error:
            services.register_individual(
                actor=SYSTEM, operator_id=operator.pk, name="2", document=document("2"), guardian=bad, now=now
            )
        assert _faults(error) == [
            ("/document/number", "number_length"),
            ("/name", "name_characters"),
            ("/guardian/document/number", "number_length"),
            ("/guardian/name", "name_characters"),
        ]

    def test_their_name_is_no_key_of_the_partner(self, operator: VirtualOperator, now: datetime) -> None:
        for external_id in ("钱七星-1", "x" + resident_number()):
            with refused(errors.TextInvalid):
                _register(operator, now, minor_number(now), external_id=external_id, guardian=somebody())


class TestWhatIsKept:
    def test_sealed_to_its_row_and_masked(self, operator: VirtualOperator, now: datetime) -> None:
        number = resident_number()
        minor = _register(
            operator, now, _number_of_age(10, now), guardian=somebody(name="钱七星", number=number)
        )
        row = minor.representatives.get()
        assert (row.role, row.name_masked, row.number_masked[:3]) == (GUARDIAN, "钱**", number[:3])
        assert (row.open_name(), row.open_number()) == ("钱七星", number)
        assert number.encode() not in bytes(row.number_sealed)
        assert bytes(row.fingerprint) not in bytes(minor.documents.get().fingerprint)
        with pytest.raises(SealBroken):
            sealing.unseal(row.name_sealed, context=row.context("number"))
        event = AuditEvent.objects.get(action="subscriber.register")
        assert event.after["guardian"] == row.uid

    def test_nobody_looks_whether_they_are_known(self, operator: VirtualOperator, now: datetime) -> None:
        number = resident_number()
        known = given_subscriber(operator=operator, now=now, name="李四光", number=number)
        minor = _register(operator, now, minor_number(now), guardian=somebody(name="钱七星", number=number))
        assert minor.pk != known.pk
        assert IdentityDocument.objects.count() == 2

    def test_whoever_is_known_stays_as_they_are(self, operator: VirtualOperator, now: datetime) -> None:
        number = _number_of_age(10, now)
        first = _register(operator, now, number, guardian=somebody())
        kept = first.representatives.get()
        again, created = services.register_individual(
            actor=SYSTEM,
            operator_id=operator.pk,
            name="张三丰",
            document=document(number),
            guardian=somebody(name="赵六一"),
            now=now,
        )
        assert (again.pk, created) == (first.pk, False)
        assert list(again.representatives.all()) == [kept]

    def test_one_guardian_at_a_time(self, operator: VirtualOperator, now: datetime) -> None:
        minor = _register(operator, now, minor_number(now), guardian=somebody())
        row = minor.representatives.get()
        row.pk, row.uid = None, None
        with pytest.raises(IntegrityError, match="representative_one_in_force"), transaction.atomic():
            Representative.objects.create(
                **{
                    field.attname: getattr(row, field.attname)
                    for field in Representative._meta.concrete_fields
                    if field.attname not in ("id", "uid")
                }
            )


class TestReplacing:
    def _replace(self, subscriber: Subscriber, now: datetime, **fields: Any) -> tuple[Representative, bool]:
        fields = {"actor": SYSTEM, "role": GUARDIAN, "person": somebody(), **fields}
        return services.replace_representative(subscriber_uid=subscriber.uid, now=now, **fields)

    def test_the_old_one_ends_and_the_same_one_stays(self, operator: VirtualOperator, now: datetime) -> None:
        minor = _register(operator, now, _number_of_age(10, now), guardian=somebody())
        old = minor.representatives.get()
        person = somebody(name="赵六一")
        new, is_new = self._replace(minor, now, person=person)
        assert is_new
        assert self._replace(minor, now, person=person) == (new, False)
        old.refresh_from_db()
        assert (old.ended_at, new.ended_at) == (now, None)
        assert AuditEvent.objects.filter(action="representative.replace").count() == 1

    def test_who_is_old_enough_gets_none(self, operator: VirtualOperator, now: datetime) -> None:
        person = given_subscriber(operator=operator, now=now)
        with refused(errors.GuardianNotNeeded) as error:
            self._replace(person, now)
        assert _faults(error) == [("/role", "guardian_not_needed")]
        assert not Representative.objects.exists()

    def test_not_in_a_role_that_they_do_not_have(self, operator: VirtualOperator, now: datetime) -> None:
        person = given_subscriber(operator=operator, now=now)
        organization = given_organization(operator=operator, now=now)
        for subscriber, role in ((person, RESPONSIBLE), (person, PROXY), (organization, GUARDIAN)):
            with refused(errors.RoleNotAccepted):
                self._replace(subscriber, now, role=role)

    def test_nobody_of_another_operator_and_no_staff_without_the_right(
        self, operator: VirtualOperator, other_operator: VirtualOperator, now: datetime
    ) -> None:
        person = given_subscriber(operator=operator, now=now)
        stranger = actor_of_user(given_user(role=Role.SUPPORT, operator=other_operator, now=now))
        with refused(NotFound):
            self._replace(person, now, actor=stranger)
        officer = actor_of_user(given_user(role=Role.COMPLIANCE, operator=operator, now=now))
        with refused(Forbidden):
            self._replace(person, now, actor=officer)

    def test_a_minor_cannot_be_left_alone(self, operator: VirtualOperator, now: datetime) -> None:
        minor = _register(operator, now, _number_of_age(15, now), guardian=somebody())
        with refused(errors.GuardianNeeded):
            services.end_guardian(actor=SYSTEM, subscriber_uid=minor.uid, now=now)
        later = now + timedelta(days=366)
        ended = services.end_guardian(actor=SYSTEM, subscriber_uid=minor.uid, now=later)
        assert ended.ended_at == later
        with refused(NotFound):
            services.end_guardian(actor=SYSTEM, subscriber_uid=minor.uid, now=later)


class TestProxies:
    def test_policy_says_where(self, operator: VirtualOperator, now: datetime) -> None:
        person = given_subscriber(operator=operator, now=now)
        with refused(errors.ProxyNotAccepted) as error:
            services.request_verification(
                actor=SYSTEM,
                subscriber_uid=person.uid,
                channel=Channel.ONLINE_VIDEO,
                proxy=somebody(),
                now=now,
            )
        assert _faults(error) == [("/proxy", "proxy_not_accepted")]
        assert not Representative.objects.exists()
        given_policy(key=PolicyKey.PROXY_CHANNELS, value=[], now=now, operator=operator)
        with refused(errors.ProxyNotAccepted):
            _register(operator, now, proxy=somebody())

    def test_not_beside_a_guardian_nor_for_an_organization(
        self, operator: VirtualOperator, now: datetime
    ) -> None:
        with refused(errors.ProxyNotAccepted):
            _register(operator, now, minor_number(now), guardian=somebody(), proxy=somebody())
        given_policy(key=PolicyKey.AUTHORISATION_LETTER_REQUIRED, value=False, now=now, operator=operator)
        for subscriber in (
            _register(operator, now, minor_number(now), guardian=somebody()),
            given_organization(operator=operator, now=now),
        ):
            with refused(errors.ProxyNotAccepted):
                given_verification(subscriber=subscriber, now=now, proxy=somebody())

    def test_each_time_is_on_record_and_checked(self, operator: VirtualOperator, now: datetime) -> None:
        number = resident_number()
        person = _register(operator, now, proxy=somebody())
        verification, authority, face = _checked(person, now, proxy=somebody(number=number))
        assert verification.status == VerificationStatus.PASSED
        assert person.representatives.filter(role=PROXY).count() == 2
        assert verification.representative.open_number() == number
        assert authority.asked[1]["document_number"] == number
        # The proxy is who stands before us.
        assert [each["document_number"] for each in face.asked] == [number]

    def test_who_comes_in_person_brings_nobody(self, operator: VirtualOperator, now: datetime) -> None:
        person = _register(operator, now, proxy=somebody())
        verification, authority, _ = _checked(person, now)
        assert verification.representative is None
        assert len(authority.asked) == 1

    def test_no_longer_accepted_when_the_checks_run(self, operator: VirtualOperator, now: datetime) -> None:
        person = given_subscriber(operator=operator, now=now)
        given_verification(subscriber=person, now=now, proxy=somebody())
        given_policy(key=PolicyKey.PROXY_CHANNELS, value=["online_video"], now=now, operator=operator)
        services.run_due_verifications(clock=lambda: now, providers=Providers(Authority(), Face()))
        assert person.verifications.get().checks.latest("position").code == "proxy_not_accepted"

    def test_a_session_names_no_proxy(self, operator: VirtualOperator, now: datetime) -> None:
        person = given_subscriber(operator=operator, now=now)
        number = resident_number()
        for session in (f"s-{number}", "钱七星"):
            with refused(errors.TextInvalid):
                given_verification(
                    subscriber=person, now=now, proxy=somebody(number=number), face_session=session
                )


class Picky(Authority):
    """Knows everybody but one."""

    def __init__(self, number: str, answer: AuthorityAnswer) -> None:
        super().__init__()
        self.number, self.other_answer = number, answer

    def match(self, **question: str) -> Reply[AuthorityAnswer]:
        reply = super().match(**question)
        return (
            replace(reply, answer=self.other_answer) if question["document_number"] == self.number else reply
        )


class TestChecks:
    @pytest.mark.parametrize(
        ("answer", "code"),
        [
            (AuthorityAnswer.NAME_MISMATCH, "representative_name_mismatch"),
            (AuthorityAnswer.NOT_FOUND, "representative_document_unknown"),
            (AuthorityAnswer.DOCUMENT_VOID, "representative_document_void"),
        ],
    )
    def test_the_authority_is_asked_about_a_guardian_too(
        self, operator: VirtualOperator, now: datetime, answer: AuthorityAnswer, code: str
    ) -> None:
        number = resident_number()
        minor = _register(operator, now, _number_of_age(10, now), guardian=somebody(number=number))
        given_verification(subscriber=minor, now=now)
        authority, face = Picky(number, answer), Face()
        services.run_due_verifications(clock=lambda: now, providers=Providers(authority, face))
        verification = minor.verifications.get()
        assert verification.status == VerificationStatus.FAILED
        assert verification.checks.latest("position").code == code
        assert len({each["request_id"] for each in authority.asked}) == 2
        assert face.asked == []

    def test_a_guardian_on_the_watch_list(self, operator: VirtualOperator, now: datetime) -> None:
        number = resident_number()
        minor = _register(operator, now, _number_of_age(10, now), guardian=somebody(number=number))
        given_watch_list_file(now=now, operator=operator, numbers=[number])
        verification, authority, _ = _checked(minor, now)
        assert verification.status == VerificationStatus.FAILED
        assert verification.checks.latest("position").code == "representative_watchlisted"
        assert authority.asked == []

    def test_no_answer_about_a_guardian_is_no_pass(self, operator: VirtualOperator, now: datetime) -> None:
        minor = _register(operator, now, _number_of_age(10, now), guardian=somebody())
        verification, _, _ = _checked(minor, now, "provider_unavailable")
        assert verification.status == VerificationStatus.PENDING

    def test_a_guardian_whose_document_has_run_out(self, operator: VirtualOperator, now: datetime) -> None:
        today = china_date(now)
        minor = _register(
            operator, now, _number_of_age(10, now), guardian=somebody(valid_until=today + timedelta(days=1))
        )
        verification, _, _ = _checked(minor, now + timedelta(days=3))
        assert verification.checks.latest("position").code == "representative_document_expired"

    def test_who_has_grown_up_answers_for_themselves(self, operator: VirtualOperator, now: datetime) -> None:
        grown = _register(operator, now, _number_of_age(15, now), guardian=somebody())
        later = now + timedelta(days=366)
        verification, authority, face = _checked(grown, later)
        assert (verification.status, verification.representative) == (VerificationStatus.PASSED, None)
        number = grown.documents.get().open_number()
        assert [each["document_number"] for each in (*authority.asked, *face.asked)] == [number, number]

    def test_who_grows_up_before_the_answer_is_asked_again(
        self, operator: VirtualOperator, now: datetime
    ) -> None:
        grown = _register(operator, now, _number_of_age(15, now), guardian=somebody())
        given_verification(subscriber=grown, now=now)
        authority, face, later = Authority(), Face(), now + timedelta(days=366)
        services.run_due_verifications(clock=lambda: later, providers=Providers(authority, face))
        verification = grown.verifications.get()
        assert verification.status == VerificationStatus.FAILED
        assert verification.checks.latest("position").code == "guardian_not_needed"
        assert authority.asked == face.asked == []

    def test_a_row_that_does_not_open_holds_the_verification(
        self, operator: VirtualOperator, now: datetime
    ) -> None:
        minor = _register(operator, now, _number_of_age(10, now), guardian=somebody())
        other = _register(operator, now, _number_of_age(10, now), guardian=somebody())
        swapped = other.representatives.get().number_sealed
        Representative.objects.filter(subscriber=minor).update(number_sealed=swapped)
        given_verification(subscriber=minor, now=now)
        services.run_due_verifications(clock=lambda: now, providers=Providers(Authority(), Face()))
        verification = minor.verifications.get()
        assert verification.status == VerificationStatus.PENDING
        assert verification.checks.get().code == "identity_unreadable"

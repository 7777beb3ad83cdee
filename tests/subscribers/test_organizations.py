"""Organizations: registered once, verified with whoever answers for them, and their letters of authorisation."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from apps.core import sealing
from apps.operators.models import VirtualOperator
from apps.operators.policies import PolicyKey
from apps.subscribers import errors, services
from apps.subscribers.models import IdentityImage, Subscriber, Verification
from apps.subscribers.realname.providers.base import AuthorityAnswer, Providers
from apps.subscribers.states import VerificationStatus
from tests.factories.operators import given_policy
from tests.factories.subscribers import (
    Authority,
    Face,
    given_organization,
    given_subscriber,
    given_verification,
    resident_number,
    somebody,
    uscc,
)
from tests.refusals import refused

pytestmark = pytest.mark.django_db


def _faults(error: Any) -> list[tuple[str, str]]:
    return [(fault.pointer, fault.code) for fault in error.value.errors]


def _checked(
    subscriber: Subscriber, now: datetime, answers: Any = AuthorityAnswer.MATCH, **fields: Any
) -> tuple[Verification, Authority, Face]:
    given_verification(subscriber=subscriber, now=now, **fields)
    authority, face = Authority(answers), Face()
    services.run_due_verifications(clock=lambda: now, providers=Providers(authority=authority, face=face))
    return subscriber.verifications.latest("id"), authority, face


class TestOrganizations:
    def test_registered_once_by_its_code(self, operator: VirtualOperator, now: datetime) -> None:
        code = uscc()
        first = given_organization(operator=operator, now=now, code=code, name="某某（测试）有限公司")
        again = given_organization(
            operator=operator,
            now=now,
            code=code.lower(),
            name=" 某某(测试)有限公司",
            responsible=somebody(name="赵六一"),
        )
        assert again.pk == first.pk
        assert (first.kind, first.name_masked) == ("ORGANIZATION", "某****")
        assert first.representatives.get().role == "RESPONSIBLE"
        with refused(errors.DocumentNameConflict):
            given_organization(operator=operator, now=now, code=code, name="别的有限公司")

    @pytest.mark.parametrize(
        ("name", "code"),
        [
            ("某", "name_length"),
            ("12345678", "name_length"),
            ("某某\u202e公司", "name_characters"),
            ("某某😀公司", "name_characters"),
            ("某某公司·", "name_form"),
            ("(某某公司", "name_form"),
            ("某" * 101, "name_length"),
        ],
    )
    def test_names_that_no_organization_has(
        self, operator: VirtualOperator, now: datetime, name: str, code: str
    ) -> None:
        with refused(errors.NameInvalid) as error:
            given_organization(operator=operator, now=now, name=name)
        assert _faults(error) == [("/name", code)]

    @pytest.mark.parametrize(
        "name",
        ["3M中国有限公司", "某某集团（上海）有限公司第2分公司", "ACME & Sons, Ltd.", "买买提·某某合作社"],
    )
    def test_names_that_they_have(self, operator: VirtualOperator, now: datetime, name: str) -> None:
        assert given_organization(operator=operator, now=now, name=name).open_name() == name

    def test_policy_has_to_accept_codes(self, operator: VirtualOperator, now: datetime) -> None:
        given_policy(key=PolicyKey.ACCEPTED_DOCUMENT_TYPES, value=["resident_id"], now=now, operator=operator)
        with refused(errors.DocumentTypeNotAccepted):
            given_organization(operator=operator, now=now)

    def test_verified_with_whoever_answers_for_it(self, operator: VirtualOperator, now: datetime) -> None:
        given_policy(key=PolicyKey.AUTHORISATION_LETTER_REQUIRED, value=False, now=now, operator=operator)
        number, code = resident_number(), uscc()
        organization = given_organization(
            operator=operator, now=now, code=code, responsible=somebody(number=number)
        )
        verification, authority, face = _checked(organization, now)
        assert verification.status == VerificationStatus.PASSED
        assert [(each["document_type"], each["document_number"]) for each in authority.asked] == [
            ("uscc", code),
            ("resident_id", number),
        ]
        assert authority.asked[0]["name"] == "某某(测试)有限公司"
        assert [each["document_number"] for each in face.asked] == [number]

    def test_nobody_answers_for_it(self, operator: VirtualOperator, now: datetime) -> None:
        organization = given_organization(operator=operator, now=now)
        organization.representatives.get().end(now=now)
        with refused(errors.RepresentativeMissing):
            given_verification(subscriber=organization, now=now)


class TestAuthorisationLetters:
    def _letter(
        self, subscriber: Subscriber, now: datetime, kind: str = "AUTHORISATION_LETTER"
    ) -> IdentityImage:
        image = IdentityImage(
            operator_id=subscriber.operator_id,
            subscriber=subscriber,
            kind=kind,
            storage_name=f"00/{IdentityImage.objects.count()}-{subscriber.pk}",
            sha256=b"0" * 32,
            width=1,
            height=1,
            uploaded_by="tests",
            created_at=now,
        )
        image.key_sealed = sealing.seal_bytes(b"0" * 32, context=image.key_context)
        image.save()
        return image

    def test_it_becomes_the_organizations_own(self, operator: VirtualOperator, now: datetime) -> None:
        handler = given_subscriber(operator=operator, now=now)
        letter = self._letter(handler, now)
        code = uscc()
        organization = given_organization(
            operator=operator, now=now, code=code, authorisation_letter=letter.uid
        )
        letter.refresh_from_db()
        assert letter.subscriber_id == organization.pk
        assert sealing.unseal_bytes(letter.key_sealed, context=letter.key_context) == b"0" * 32
        assert _checked(organization, now)[0].status == VerificationStatus.PASSED
        # The same again, letter and all.
        again = given_organization(operator=operator, now=now, code=code, authorisation_letter=letter.uid)
        assert again.pk == organization.pk

    def test_it_may_follow(self, operator: VirtualOperator, now: datetime) -> None:
        organization = given_organization(operator=operator, now=now)
        with refused(errors.AuthorisationLetterMissing):
            given_verification(subscriber=organization, now=now)
        self._letter(organization, now)
        assert _checked(organization, now)[0].status == VerificationStatus.PASSED

    def test_nothing_else_is_one(
        self, operator: VirtualOperator, other_operator: VirtualOperator, now: datetime
    ) -> None:
        stranger = given_subscriber(operator=other_operator, now=now)
        own = given_subscriber(operator=operator, now=now)
        erased = self._letter(own, now)
        erased.erase()
        taken = self._letter(given_organization(operator=operator, now=now), now)
        for uid in (
            self._letter(stranger, now).uid,
            self._letter(own, now, "PERSON").uid,
            erased.uid,
            taken.uid,
            "img_00000000000000000000000000",
            "no id",
        ):
            before = Subscriber.objects.count()
            with refused(errors.AuthorisationLetterInvalid) as error:
                given_organization(operator=operator, now=now, authorisation_letter=uid)
            assert _faults(error) == [("/authorisation_letter", "authorisation_letter_invalid")]
            assert Subscriber.objects.count() == before

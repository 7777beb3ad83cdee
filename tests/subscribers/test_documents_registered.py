"""All types of documents through registration, search and verification, as an operator's policy takes them."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import pytest

from apps.operators.models import VirtualOperator
from apps.operators.policies import PolicyKey
from apps.subscribers import errors, services
from apps.subscribers.models import IdentityDocument, Subscriber, VerificationCheck
from apps.subscribers.realname.documents import DocumentInput, DocumentType
from apps.subscribers.states import Channel, VerificationStatus
from tests.factories.accounts import ApiClient
from tests.factories.operators import given_policy
from tests.factories.subscribers import SYSTEM, answering, resident_number
from tests.refusals import refused

pytestmark = pytest.mark.django_db

OLD_CARD, NEW_CARD = "USA110100010101", resident_number("911840", born=date(2000, 1, 1))
INDIVIDUAL = [kind for kind in DocumentType if kind != DocumentType.USCC]
# What is typed, and what is stored and shown of it.
DOCUMENTS: dict[str, tuple[dict[str, str], str, str]] = {
    "resident_id": ({"number": "11010519491231002x"}, "11010519491231002X", "CHN"),
    "temporary_resident_id": ({"number": "11010519491231002X"}, "11010519491231002X", "CHN"),
    "household_register": ({"number": "11010519491231002X"}, "11010519491231002X", "CHN"),
    "hk_macao_permit": ({"number": "h0000000101"}, "H00000001", "CHN"),
    "taiwan_permit": ({"number": "0000000101(B)"}, "00000001", "CHN"),
    "hkmt_residence_permit": ({"number": "810000 19940823 0021"}, "810000199408230021", "CHN"),
    "foreign_permanent_resident": ({"number": "usa110100010101"}, OLD_CARD, "CHN"),
    "passport": ({"number": "x000 0001", "issuing_country": "USA"}, "X0000001", "USA"),
    "military_id": ({"number": "军字第0000001号"}, "军字第0000001号", "CHN"),
}


@pytest.fixture(autouse=True)
def _everything_is_accepted(operator: VirtualOperator, now: datetime) -> None:
    given_policy(key=PolicyKey.ACCEPTED_DOCUMENT_TYPES, value=list(DocumentType), now=now, operator=operator)


def _register(
    operator: VirtualOperator, now: datetime, kind: str, name: str = "张三丰", **document: Any
) -> tuple[Subscriber, bool]:
    return services.register_individual(
        actor=SYSTEM,
        operator_id=operator.pk,
        name=name,
        document=DocumentInput(type=DocumentType(kind), **document),
        now=now,
    )


@pytest.mark.parametrize("kind", INDIVIDUAL)
def test_each_type_is_registered_and_found_again(
    api: ApiClient, operator: VirtualOperator, now: datetime, kind: str
) -> None:
    given, stored, country = DOCUMENTS[kind]
    body = {"kind": "individual", "name": "张三丰", "document": {"type": kind, **given}}

    answer = api.post("/api/v1/subscribers", body)
    again = api.post("/api/v1/subscribers", body)

    assert (answer.status_code, again.status_code) == (201, 200)
    row = IdentityDocument.objects.get()
    assert (row.type, row.open_number(), row.issuing_country) == (kind, stored, country)
    assert answer.json()["document"]["number"] == row.number_masked
    assert stored not in answer.content.decode()
    typed = f"{given['issuing_country']}:{given['number']}" if kind == "passport" else given["number"]
    found = api.get(f"/api/v1/subscribers?document={kind}:{typed}").json()
    assert [item["id"] for item in found["items"]] == [answer.json()["id"]]


def test_three_papers_with_one_number_are_one_person(operator: VirtualOperator, now: datetime) -> None:
    people = {
        _register(operator, now, kind, number="11010519491231002X")[0].pk
        for kind in ("temporary_resident_id", "resident_id", "household_register")
    }

    assert len(people) == IdentityDocument.objects.count() == 1


def test_a_companys_code_is_no_persons_document_whatever_policy_says(
    operator: VirtualOperator, now: datetime
) -> None:
    with refused(errors.DocumentTypeNotAccepted):
        _register(operator, now, "uscc", number="91350100M000100Y43")

    assert not Subscriber.objects.exists()


@pytest.mark.parametrize(
    ("kind", "document", "faults"),
    [
        ("passport", {"number": "X0000001"}, [("/document/issuing_country", "country_missing")]),
        (
            "passport",
            {"number": "X-1", "issuing_country": "CHN"},
            [("/document/number", "number_length"), ("/document/issuing_country", "country_invalid")],
        ),
        (
            "foreign_permanent_resident",
            {"number": NEW_CARD, "former_number": "FRA110100010101"},
            [("/document/former_number", "number_check_digit")],
        ),
        (
            "resident_id",
            {"number": "11010519491231002X", "former_number": OLD_CARD},
            [("/document/former_number", "number_length")],
        ),
        ("military_id", {"number": "110101190001010006"}, [("/document/number", "number_form")]),
    ],
)
def test_faults_are_told_where_they_are(
    operator: VirtualOperator,
    now: datetime,
    kind: str,
    document: dict[str, str],
    faults: list[tuple[str, str]],
) -> None:
    with refused(errors.DocumentInvalid) as info:
        _register(operator, now, kind, **document)

    assert [(fault.pointer, fault.code) for fault in info.value.errors] == faults
    assert document["number"] not in str(info.value.errors)
    assert not Subscriber.objects.exists()


class TestCardsOfForeignPermanentResidents:
    KIND = "foreign_permanent_resident"

    def test_whoever_had_the_card_of_2017_is_found_by_the_new_one_that_names_it(
        self, operator: VirtualOperator, now: datetime
    ) -> None:
        first, _ = _register(operator, now, self.KIND, number=OLD_CARD)

        again, created = _register(operator, now, self.KIND, number=NEW_CARD, former_number=OLD_CARD)

        assert (again.pk, created) == (first.pk, False)
        assert [row.open_number() for row in IdentityDocument.objects.all()] == [OLD_CARD]

    def test_the_new_card_that_names_the_old_one_stands_for_both(
        self, operator: VirtualOperator, now: datetime
    ) -> None:
        first, created = _register(operator, now, self.KIND, number=NEW_CARD, former_number=OLD_CARD)
        assert created

        assert _register(operator, now, self.KIND, number=OLD_CARD) == (first, False)
        assert _register(operator, now, self.KIND, number=NEW_CARD) == (first, False)
        # The card of today is the latest: the one that is verified, shown and counted by.
        rows = IdentityDocument.objects.order_by("id")
        assert [row.open_number() for row in rows] == [OLD_CARD, NEW_CARD]

    def test_cards_that_do_not_name_each_other_are_not_guessed_to_be_one_persons(
        self, operator: VirtualOperator, now: datetime
    ) -> None:
        first, _ = _register(operator, now, self.KIND, number=OLD_CARD)

        other, created = _register(operator, now, self.KIND, number=NEW_CARD)

        assert created
        assert other.pk != first.pk

    def test_another_name_is_refused_for_the_old_number_too(
        self, operator: VirtualOperator, now: datetime
    ) -> None:
        _register(operator, now, self.KIND, number=OLD_CARD)

        with refused(errors.DocumentNameConflict):
            _register(operator, now, self.KIND, name="李四", number=NEW_CARD, former_number=OLD_CARD)

        assert Subscriber.objects.count() == IdentityDocument.objects.count() == 1

    def test_the_old_number_hides_in_no_external_id(self, operator: VirtualOperator, now: datetime) -> None:
        with refused(errors.TextInvalid):
            services.register_individual(
                actor=SYSTEM,
                operator_id=operator.pk,
                name="张三丰",
                document=DocumentInput(
                    type=DocumentType(self.KIND), number=NEW_CARD, former_number="usa1101 00010101"
                ),
                external_id=f"c-{OLD_CARD.lower()}",
                now=now,
            )


def _verified(subscriber: Subscriber, channel: Channel, now: datetime) -> tuple[str, list[str]]:
    """How it ended, and what the checks had to say besides ok."""
    verification = services.request_verification(
        actor=SYSTEM, subscriber_uid=subscriber.uid, channel=channel, now=now
    )
    services.run_due_verifications(clock=lambda: now, providers=answering())
    verification.refresh_from_db()
    said = VerificationCheck.objects.filter(verification=verification).exclude(code="ok").order_by("position")
    return verification.status, list(said.values_list("code", flat=True))


@pytest.mark.parametrize("kind", INDIVIDUAL)
def test_a_person_looks_at_documents_that_do_not_tell_the_age(
    operator: VirtualOperator, now: datetime, kind: str
) -> None:
    subscriber, _ = _register(operator, now, kind, **DOCUMENTS[kind][0])

    answer = _verified(subscriber, Channel.IN_STORE, now)

    silent = {"hk_macao_permit", "taiwan_permit", "passport", "military_id"}
    assert answer == (
        (VerificationStatus.REVIEW, ["age_unknown"]) if kind in silent else (VerificationStatus.PASSED, [])
    )


def test_policy_may_take_a_type_in_one_channel_only(operator: VirtualOperator, now: datetime) -> None:
    now += timedelta(seconds=1)  # in force from here on
    given_policy(
        key=PolicyKey.ACCEPTED_DOCUMENT_TYPES,
        value=["resident_id", "temporary_resident_id@in_store"],
        now=now,
        operator=operator,
    )
    subscriber, _ = _register(operator, now, "temporary_resident_id", number="11010519491231002X")
    with refused(errors.DocumentTypeNotAccepted):
        _register(operator, now, "household_register", number="11010519491231002X")

    online = _verified(subscriber, Channel.ONLINE_VIDEO, now)
    in_store = _verified(subscriber, Channel.IN_STORE, now)

    assert online == (VerificationStatus.FAILED, ["document_type_not_accepted"])
    assert in_store == (VerificationStatus.PASSED, [])

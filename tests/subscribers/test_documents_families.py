"""When two documents are one person's: same fingerprint, whatever is printed or typed; and when nobody can know."""

from __future__ import annotations

from datetime import date
from itertools import combinations

import pytest

from apps.core import sealing
from apps.subscribers.realname import documents
from apps.subscribers.realname.documents import DocumentType, NumberFault
from tests.factories.subscribers import fifteen_digits, resident_number

TODAY = date(2026, 11, 24)
RESIDENT = resident_number("110101", born=date(1949, 12, 31))
OLD_CARD, NEW_CARD = "USA110100010101", resident_number("911840", born=date(2000, 1, 1))

ONE_PERSON = {
    "the citizen's number": [
        ("resident_id", RESIDENT, ""),
        ("resident_id", f" {RESIDENT.lower()} ", ""),
        ("resident_id", fifteen_digits(RESIDENT), ""),
        ("temporary_resident_id", RESIDENT, ""),
        ("temporary_resident_id", fifteen_digits(RESIDENT), ""),
        ("household_register", RESIDENT, ""),
        ("resident_id", RESIDENT, "CHN"),
    ],
    "renewals, Hong Kong": [
        ("hk_macao_permit", number, "") for number in ("H00000001", "h0000000101", "H0000000102")
    ],
    "renewals, Taiwan": [
        ("taiwan_permit", number, "")
        for number in ("00000001", "0000000101", "0000000102B", "0000000103(B)", "0000000103（1）")
    ],
    "a passport": [("passport", "X0000001", "USA"), ("passport", " x000 0001", "USA")],
    "a credit code": [("uscc", "91350100M000100Y43", ""), ("uscc", "91350100m000100y43", "CHN")],
}

# Each alone: the same digits under another type or country, and cards that cannot be computed from each other.
OTHERS = [
    ("resident_id", RESIDENT, ""),
    ("resident_id", resident_number("110102"), ""),
    ("hkmt_residence_permit", "830000199201300022", ""),
    ("hkmt_residence_permit", "810000199408230021", ""),
    ("hk_macao_permit", "H00000001", ""),
    ("hk_macao_permit", "M00000001", ""),
    ("taiwan_permit", "00000001", ""),
    ("taiwan_permit", "00000002", ""),
    ("passport", "00000001", "USA"),
    ("passport", "00000001", "GBR"),
    ("passport", "H00000001", "GBR"),
    ("foreign_permanent_resident", OLD_CARD, ""),
    ("foreign_permanent_resident", NEW_CARD, ""),
    ("military_id", "H00000001", ""),
    ("uscc", "91350100M000100Y43", ""),
]


def _found(document: tuple[str, str, str]) -> bytes:
    kind, number, country = document
    found = documents.search_fingerprint(type=DocumentType(kind), number=number, issuing_country=country)
    assert found is not None, document
    assert len(found) == 32
    return found


@pytest.mark.parametrize("case", ONE_PERSON)
def test_one_person_has_one_fingerprint(case: str) -> None:
    assert len({_found(document) for document in ONE_PERSON[case]}) == 1


def test_others_have_others() -> None:
    for one, other in combinations(OTHERS, 2):
        assert _found(one) != _found(other), (one, other)


def test_fingerprints_of_released_rows_stay_what_they_are() -> None:
    purpose = "subscribers.identitydocument.fingerprint"

    assert _found(("resident_id", RESIDENT, "")) == sealing.blind_index(
        f"resident:{RESIDENT}", purpose=purpose
    )


@pytest.mark.parametrize(
    ("kind", "number", "country"),
    [
        ("resident_id", "nonsense", ""),
        ("resident_id", RESIDENT, "USA"),
        ("passport", "X0000001", ""),
        ("passport", "X0000001", "CHN"),
        ("passport", "X0000001", "U:A"),
        ("hk_macao_permit", "X0000001", ""),
        ("uscc", "1" * 1_000_000, ""),
    ],
)
def test_what_cannot_be_stored_cannot_be_searched(kind: str, number: str, country: str) -> None:
    assert (
        documents.search_fingerprint(type=DocumentType(kind), number=number, issuing_country=country) is None
    )


def _former(number: str, former: str, kind: str = "foreign_permanent_resident") -> str:
    try:
        parsed = documents.parse_former(
            type=DocumentType(kind), number=number, former_number=former, today=TODAY
        )
    except NumberFault as fault:
        return fault.code
    return parsed.number


@pytest.mark.parametrize(
    ("number", "former", "answer"),
    [
        (NEW_CARD, OLD_CARD, OLD_CARD),
        (NEW_CARD, " usa1101 000101 01", OLD_CARD),
        # The two cards need not agree on the region, nor on what the sex digit may mean.
        (resident_number("931840", born=date(2000, 1, 1)), OLD_CARD, OLD_CARD),
        # Which century the old card meant is for the new one to say.
        (resident_number("911840", born=date(1900, 1, 1)), OLD_CARD, OLD_CARD),
        (resident_number("911250", born=date(2000, 1, 1)), OLD_CARD, "number_former"),
        (resident_number("911840", born=date(2000, 1, 2)), OLD_CARD, "number_former"),
        (NEW_CARD, NEW_CARD, "number_former"),
        (OLD_CARD, OLD_CARD, "number_former"),
        (NEW_CARD, "USA110100010102", "number_check_digit"),
        (NEW_CARD, "nonsense", "number_length"),
    ],
)
def test_the_card_of_2017_that_a_new_card_names_must_fit(number: str, former: str, answer: str) -> None:
    assert _former(number, former) == answer


def test_other_documents_have_no_former_number() -> None:
    assert _former(RESIDENT, RESIDENT, "resident_id") == "number_former"

"""Numbers of resident identity cards: right ones, wrong ones with their code, and when two are one person's."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum.iso7064 import mod_11_2

from apps.subscribers.realname import documents
from apps.subscribers.realname.documents import DocumentType, NumberFault
from tests.factories.subscribers import fifteen_digits, resident_number

TODAY = date(2026, 11, 24)

RIGHT = [
    ("11010519491231002X", "published specimen with X"),
    (resident_number("110101"), "synthetic"),
    (resident_number("440305"), "another area"),
    (resident_number("460400"), "Danzhou, missing from many lists"),
    (resident_number("700001"), "an area that no place has"),
    (resident_number("659099"), "an area code of the past is not looked up"),
    (resident_number("110101", born=date(1904, 2, 29)), "29 February of a leap year"),
    (resident_number("110101", born=date(2000, 2, 29)), "29 February of a century's leap year"),
    (resident_number("110101", born=date(2026, 11, 24)), "born today"),
    (resident_number("110101", sequence="999"), "sequence 999"),
    (resident_number("110101", sequence="002"), "even sequence"),
]

# How the same right number may be typed.
TYPED = [
    "11010519491231002x",
    " 11010519491231002X ",
    "110105 19491231 002X",
    "110105\u300019491231\u3000002X",
    "110105\u00a019491231002X",
    "\t11010519491231002X",
    "１１０１０５１９４９１２３１００２Ｘ",
    "１１０１０５１９４９１２３１００２ｘ",
    "110105１９４９１２３１002x",
]


def _with_check_digit(body: str) -> str:
    return body + mod_11_2.calc_check_digit(body)


WRONG = [
    ("", "number_length"),
    ("1", "number_length"),
    ("11010519491231002", "number_length"),
    ("11010519491231002X0", "number_length"),
    ("1" * 40, "number_length"),
    ("1101051949123100", "number_length"),
    ("11010519491231002Y", "number_alphabet"),
    ("1101051949123100X2", "number_alphabet"),
    ("X10105194912310021", "number_alphabet"),
    ("11010519491231OO2X", "number_alphabet"),
    ("11010519491231-02X", "number_alphabet"),
    ("11010519491231.02X", "number_alphabet"),
    ("11010519491231\u0660\u06602X", "number_alphabet"),
    ("11010519491231\u00b2\u00b22X", "number_alphabet"),
    ("11010519491231\U0001d7ce\U0001d7ce2X", "number_alphabet"),
    ("110105194912310\x0002X", "number_length"),
    ("1101051949123100\n2X", "number_length"),
    ("11010519491231\u200b02X", "number_alphabet"),
    ("110105194912310021", "number_check_digit"),
    ("110105194912310020", "number_check_digit"),
    ("11010519491231003X", "number_check_digit"),
    ("11010619491231002X", "number_check_digit"),
    ("11010519491230002X", "number_check_digit"),
    ("11050119491231002X", "number_check_digit"),
    (_with_check_digit("11010119000230000"), "number_birth_date"),
    (_with_check_digit("11010119001301000"), "number_birth_date"),
    (_with_check_digit("11010119000001000"), "number_birth_date"),
    (_with_check_digit("11010119000100000"), "number_birth_date"),
    (_with_check_digit("11010119000132000"), "number_birth_date"),
    (_with_check_digit("11010119000229000"), "number_birth_date"),
    (_with_check_digit("11010120230229000"), "number_birth_date"),
    (_with_check_digit("11010100000101000"), "number_birth_date"),
    (_with_check_digit("11010118991231000"), "number_birth_date"),
    (_with_check_digit("11010120261125000"), "number_birth_date"),
    (_with_check_digit("11010120990101000"), "number_birth_date"),
    (_with_check_digit("01010119000101000"), "number_area"),
    ("931156190001010005", "number_area"),
    ("911840190001010009", "number_area"),
    ("810000199408230021", "number_area"),
    ("830000199201300022", "number_area"),
    ("820000190001010001", "number_area"),
    ("110101000101000", "number_fifteen_digits"),
    ("USA110100010101", "number_length"),
    ("91350100M000100Y43", "number_alphabet"),
]


@pytest.mark.parametrize(("number", "why"), RIGHT)
def test_right_numbers_are_read(number: str, why: str) -> None:
    parsed = documents.parse_resident_id(number, today=TODAY, accept_fifteen=False)

    assert parsed.number == number
    assert f"{parsed.birth_date:%Y%m%d}" == number[6:14]


@pytest.mark.parametrize("typed", TYPED)
def test_the_way_it_is_typed_does_not_matter(typed: str) -> None:
    assert (
        documents.parse_resident_id(typed, today=TODAY, accept_fifteen=False).number == "11010519491231002X"
    )


@pytest.mark.parametrize(("number", "code"), WRONG)
def test_wrong_numbers_are_told_apart(number: str, code: str) -> None:
    with pytest.raises(NumberFault) as refused:
        documents.parse_resident_id(number, today=TODAY, accept_fifteen=False)

    assert refused.value.code == code
    assert len(number) < 15 or number not in str(refused.value)


def _read(number: str) -> str:
    try:
        parsed = documents.parse_resident_id(number, today=TODAY, accept_fifteen=True)
    except NumberFault as fault:
        return fault.code
    return "read" if mod_11_2.is_valid(parsed.number) else "read, but wrong"


def test_every_other_check_character_is_wrong() -> None:
    number = resident_number("110101")
    answers = {last: _read(number[:17] + last) for last in "0123456789X"}

    assert answers.pop(number[17]) == "read"
    assert set(answers.values()) == {"number_check_digit"}


def test_fifteen_digits_become_the_eighteen_of_the_same_person() -> None:
    number = resident_number("110101", born=date(1949, 12, 31), sequence="002")

    parsed = documents.parse_resident_id(fifteen_digits(number), today=TODAY, accept_fifteen=True)

    assert parsed.number == number
    assert parsed.birth_date == date(1949, 12, 31)


@pytest.mark.parametrize(
    "wrong", ["110101000230000", "110101001301000", "11010100010100X", "01010100010100０"]
)
def test_wrong_fifteen_digits_stay_wrong(wrong: str) -> None:
    with pytest.raises(NumberFault):
        documents.parse_resident_id(wrong, today=TODAY, accept_fifteen=True)


@given(
    st.dates(min_value=date(1900, 1, 1), max_value=TODAY), st.integers(100_000, 699_999), st.integers(0, 999)
)
def test_numbers_made_by_the_rule_are_right(born: date, area: int, sequence: int) -> None:
    number = resident_number(str(area), born=born, sequence=f"{sequence:03}")

    assert documents.parse_resident_id(number, today=TODAY, accept_fifteen=False).birth_date == born


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused_and_nothing_else(text: str) -> None:
    answer = _read(text)

    assert answer == "read" or answer.startswith("number_")


def test_the_fingerprint_is_the_persons_however_the_number_is_written() -> None:
    number = resident_number("110101")
    kind = DocumentType.RESIDENT_ID
    wanted = documents.fingerprint(type=kind, number=number)

    assert len(wanted) == 32
    assert documents.search_fingerprint(type=kind, number=fifteen_digits(number)) == wanted
    assert documents.search_fingerprint(type=kind, number=f" {number.lower()} ") == wanted
    assert documents.search_fingerprint(type=kind, number=resident_number("110102")) != wanted


def test_what_cannot_be_stored_cannot_be_searched() -> None:
    assert documents.search_fingerprint(type=DocumentType.RESIDENT_ID, number="nonsense") is None
    assert documents.search_fingerprint(type=DocumentType.PASSPORT, number="E12345678") is None


def test_nothing_prints_a_number() -> None:
    number = resident_number("110101")
    given_document = documents.DocumentInput(type=DocumentType.RESIDENT_ID, number=number)

    assert number not in repr(given_document)
    assert number not in repr(documents.parse_resident_id(number, today=TODAY, accept_fifteen=False))


@pytest.mark.parametrize(
    ("born", "age"),
    [
        (date(2010, 11, 23), 16),
        (date(2010, 11, 24), 16),
        (date(2010, 11, 25), 15),
        (date(2010, 12, 1), 15),
        (date(2010, 1, 31), 16),
        (date(2026, 11, 24), 0),
        (date(1900, 1, 1), 126),
    ],
)
def test_age_counts_completed_years(born: date, age: int) -> None:
    assert documents.age_on(born, TODAY) == age


def test_somebody_born_on_a_leap_day_is_older_on_the_first_of_march() -> None:
    born = date(2008, 2, 29)

    assert documents.age_on(born, date(2026, 2, 28)) == 17
    assert documents.age_on(born, date(2026, 3, 1)) == 18
    assert documents.age_on(born, date(2028, 2, 29)) == 20

"""Numbers of identity documents: a table of right and wrong ones, and what must hold for any."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from stdnum.cn import ric, uscc
from stdnum.iso7064 import mod_11_2

from apps.subscribers.realname import documents
from apps.subscribers.realname.documents import DocumentType, NumberFault, ParsedNumber, Sex
from apps.subscribers.realname.documents.countries import ALPHA_3, NUMERIC
from tests.factories.subscribers import resident_number

TODAY = date(2026, 11, 24)
USCC_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
MOD_11_2 = (
    DocumentType.RESIDENT_ID,
    DocumentType.HKMT_RESIDENCE_PERMIT,
    DocumentType.FOREIGN_PERMANENT_RESIDENT,
)

# type, number, country, fifteen (whether policy takes first-generation numbers), expect (ok or the code of the fault),
# and of a right one: normal form, birth date, sex.
with (Path(__file__).parent / "documents.csv").open(encoding="utf-8", newline="") as file:
    TABLE = list(csv.DictReader(file))


def _parse(kind: str, number: str, *, fifteen: bool = True, today: date = TODAY) -> ParsedNumber:
    return documents.parse(type=DocumentType(kind), number=number, today=today, accept_fifteen=fifteen)


def _code(kind: str, number: str, *, today: date = TODAY) -> str:
    """ok, or why not."""
    try:
        _parse(kind, number, today=today)
    except NumberFault as fault:
        return fault.code
    return "ok"


@pytest.mark.parametrize("row", TABLE, ids=[f"{row['type']}-{row['why']}" for row in TABLE])
def test_the_table(row: dict[str, str]) -> None:
    kind, number = DocumentType(row["type"]), row["number"]

    def read() -> ParsedNumber:
        parsed = _parse(kind, number, fifteen=row["fifteen"] == "yes")
        documents.issuer(type=kind, issuing_country=row["country"])
        return parsed

    if row["expect"] != "ok":
        with pytest.raises(NumberFault) as refused:
            read()
        assert refused.value.code == row["expect"]
        assert len(number) < 5 or number not in f"{refused.value!s} {refused.value!r}"
        return
    born = date.fromisoformat(row["born"]) if row["born"] else None
    assert read() == ParsedNumber(row["normal"], born, Sex(row["sex"]) if row["sex"] else None)


def test_the_table_is_long_and_knows_every_type_and_every_code() -> None:
    assert len(TABLE) >= 200
    codes = {row["expect"] for row in TABLE}
    # number_former is about two numbers, see below.
    assert codes == {"ok", *documents.FAULTS} - {"number_former"}
    for kind in DocumentType:
        answers = Counter(row["expect"] == "ok" for row in TABLE if row["type"] == kind)
        assert answers[True] >= 3, kind
        assert answers[False] >= 4, kind


@pytest.mark.parametrize("row", [row for row in TABLE if row["expect"] == "ok"], ids=lambda row: row["why"])
def test_the_normal_form_is_its_own_normal_form(row: dict[str, str]) -> None:
    assert _parse(row["type"], row["normal"], fifteen=False).number == row["normal"]


def test_the_countries_are_those_of_iso_3166() -> None:
    assert len(NUMERIC) == len(ALPHA_3) == 249
    assert all(len(code) == 3 and code.isupper() for code in NUMERIC)
    assert all(len(code) == 3 and code.isdecimal() for code in ALPHA_3)
    assert (NUMERIC["USA"], NUMERIC["CHN"], NUMERIC["FRA"], ALPHA_3["276"]) == ("840", "156", "250", "DEU")


# Numbers made by the rule, each by arithmetic of its own.


def _icao(body: str) -> str:
    values = [int(character, 36) for character in body]
    return f"{body}{sum(value * (7, 3, 1)[place % 3] for place, value in enumerate(values)) % 10}"


def _mod_31(body: str) -> str:
    total = sum(USCC_ALPHABET.index(character) * pow(3, place, 31) for place, character in enumerate(body))
    return body + USCC_ALPHABET[-total % 31]


BIRTHS = st.dates(min_value=date(1900, 1, 1), max_value=TODAY)
SEQUENCES = st.integers(0, 999).map("{:03}".format)
RESIDENT = st.builds(
    lambda area, born, sequence: resident_number(area, born=born, sequence=sequence),
    st.integers(100_000, 799_999).map(str),
    BIRTHS,
    SEQUENCES,
)
RESIDENCE_PERMIT = st.builds(
    lambda area, born, sequence: resident_number(area, born=born, sequence=sequence),
    st.sampled_from(["810000", "820000", "830000"]),
    BIRTHS,
    SEQUENCES,
)
PERMANENT_RESIDENT = st.builds(
    lambda region, country, born, sequence: resident_number(
        f"9{region}{country}", born=born, sequence=sequence
    ),
    st.integers(11, 65),
    st.sampled_from(sorted(ALPHA_3)),
    BIRTHS,
    SEQUENCES,
)
PERMANENT_RESIDENT_2017 = st.builds(
    lambda country, region, born, sex: _icao(f"{country}{region}{born:%y%m%d}{sex}"),
    st.sampled_from(sorted(NUMERIC)),
    st.integers(1000, 9999),
    st.dates(min_value=date(1930, 1, 1), max_value=TODAY),
    st.integers(0, 9),
)
USCC = st.builds(
    lambda authority, area, organization: _mod_31(f"{authority}{area}{organization}"),
    st.text(USCC_ALPHABET, min_size=2, max_size=2),
    st.integers(100_000, 999_999),
    st.text(USCC_ALPHABET, min_size=9, max_size=9),
)
CHECKED = [
    (DocumentType.RESIDENT_ID, RESIDENT),
    (DocumentType.HKMT_RESIDENCE_PERMIT, RESIDENCE_PERMIT),
    (DocumentType.FOREIGN_PERMANENT_RESIDENT, PERMANENT_RESIDENT),
    (DocumentType.FOREIGN_PERMANENT_RESIDENT, PERMANENT_RESIDENT_2017),
    (DocumentType.USCC, USCC),
]
NUMBERS = st.one_of([st.tuples(st.just(kind), numbers) for kind, numbers in CHECKED])


@given(NUMBERS)
def test_numbers_made_by_the_rule_are_right(made: tuple[DocumentType, str]) -> None:
    kind, number = made

    assert _parse(kind, number).number == number


@given(NUMBERS, st.data())
def test_any_one_character_changed_is_refused_where_the_check_digit_can_see_it(
    made: tuple[DocumentType, str], data: st.DataObject
) -> None:
    kind, number = made
    place = data.draw(st.integers(0, len(number) - 1))
    other = data.draw(
        st.sampled_from([one for one in _alphabet(kind, number, place) if one != number[place]])
    )
    changed = number[:place] + other + number[place + 1 :]

    # Modulo a prime nothing hides; modulo 10 a letter may stand for one that is 10 or 20 further on.
    visible = len(number) == 18 or (int(other, 36) - int(number[place], 36)) % 10 != 0
    assert not visible or _code(kind, changed) != "ok"


@given(NUMBERS, st.data())
def test_any_two_neighbours_swapped_are_refused_where_the_check_digit_can_see_it(
    made: tuple[DocumentType, str], data: st.DataObject
) -> None:
    kind, number = made
    place = data.draw(st.integers(0, len(number) - 2))
    one, other = number[place], number[place + 1]
    swapped = number[:place] + other + one + number[place + 2 :]

    # The weights 7, 3, 1 and (of the check digit) -1 are an even number apart: 5 times that is a multiple of 10.
    visible = one != other and (len(number) == 18 or (int(one, 36) - int(other, 36)) % 5 != 0)
    assert not visible or _code(kind, swapped) != "ok"


def _alphabet(kind: DocumentType, number: str, place: int) -> str:
    if kind == DocumentType.USCC:
        return USCC_ALPHABET if not 2 <= place < 8 else "0123456789"
    if len(number) == 15 and place < 3:
        return "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return "0123456789X" if place == 17 else "0123456789"


@pytest.mark.parametrize("kind", MOD_11_2)
def test_every_other_check_character_is_wrong(kind: DocumentType) -> None:
    body = {"hkmt_residence_permit": "820000", "foreign_permanent_resident": "931250"}.get(kind, "110101")
    number = resident_number(body)
    answers = {last: _code(kind, number[:17] + last) for last in "0123456789X"}

    assert answers.pop(number[17]) == "ok"
    assert set(answers.values()) == {"number_check_digit"}


def test_every_other_check_digit_of_2017_is_wrong() -> None:
    answers = [_code(DocumentType.FOREIGN_PERMANENT_RESIDENT, f"USA11010001010{last}") for last in range(10)]

    assert answers == ["number_check_digit", "ok", *["number_check_digit"] * 8]


# Next to python-stdnum, where it has a validator.


def _mutated(numbers: st.SearchStrategy[str], alphabet: str, first: int) -> st.SearchStrategy[str]:
    """Numbers with up to two characters from `first` on replaced: right ones and wrong ones, both often."""

    def replace(number: str, changes: list[tuple[int, str]]) -> str:
        characters = list(number)
        for place, character in changes:
            characters[place] = character
        return "".join(characters)

    changes = st.lists(st.tuples(st.integers(first, 17), st.sampled_from(alphabet)), max_size=2)
    return st.builds(replace, numbers, changes)


# An area that python-stdnum's list has had in every year.
DONGCHENG = st.builds(
    lambda born, sequence: resident_number("110101", born=born, sequence=sequence), BIRTHS, SEQUENCES
)


@given(_mutated(DONGCHENG, "0123456789X", first=6))
@example("11010119000101000X")
def test_resident_numbers_are_judged_as_python_stdnum_does(number: str) -> None:
    theirs = ric.is_valid(number) and date(1900, 1, 1) <= ric.get_birth_date(number) <= TODAY

    assert (_code(DocumentType.RESIDENT_ID, number) == "ok") is theirs


@given(_mutated(st.one_of(RESIDENCE_PERMIT, PERMANENT_RESIDENT), "0123456789", first=14))
def test_the_other_eighteen_digits_are_judged_as_mod_11_2_of_python_stdnum_does(number: str) -> None:
    kind = DocumentType.HKMT_RESIDENCE_PERMIT if number[0] == "8" else DocumentType.FOREIGN_PERMANENT_RESIDENT

    assert (_code(kind, number) == "ok") is mod_11_2.is_valid(number)


@given(_mutated(USCC, USCC_ALPHABET + "IOSVZ", first=0))
def test_credit_codes_are_judged_as_python_stdnum_does(number: str) -> None:
    ours = _code(DocumentType.USCC, number) == "ok"

    if number[:2].isdecimal():
        assert ours is uscc.is_valid(number)
    else:
        # It takes no letters for authority and class, which GB 32100 has.
        assert not uscc.is_valid(number)
        assert not ours or number[17] == uscc.calc_check_digit(number)


@pytest.mark.parametrize(
    ("body", "check"), [("L898902C3", "6"), ("740812", "2"), ("120415", "9"), ("ZE184226B00000", "1")]
)
def test_our_own_7_3_1_is_that_of_the_specimen_in_icao_9303(body: str, check: str) -> None:
    """python-stdnum has none. Fillers count as 0."""
    assert _icao(body) == body + check


# Whatever comes in.

HOSTILE = st.one_of(
    st.text(st.characters(exclude_categories=()), max_size=40),
    st.text(st.characters(categories=["Nd", "Cs", "Lu"]), min_size=15, max_size=18),
    st.text("0123456789X ０１２Ｘxh()", min_size=8, max_size=20),
)


@pytest.mark.parametrize("kind", DocumentType)
@given(text=HOSTILE)
@example("\ud800" * 18)
@example("\0" * 18)
@example("٠١٢٣٤٥٦٧٨٩٠١٢٣٤٥٦٧")
def test_any_text_is_read_or_refused_and_nothing_else(kind: DocumentType, text: str) -> None:
    if (code := _code(kind, text)) != "ok":
        assert code in documents.FAULTS
        return
    parsed = _parse(kind, text)
    assert _parse(kind, parsed.number, fifteen=False) == parsed
    assert documents.normalise(parsed.number) == parsed.number


@pytest.mark.parametrize("kind", DocumentType)
@pytest.mark.parametrize("character", ["1", " ", "\u3000", "１", "\ud800", "x"])
def test_a_megabyte_is_refused_before_it_is_read(kind: DocumentType, character: str) -> None:
    assert _code(kind, character * 1_000_000) == "number_length"


def test_a_right_number_lost_in_blanks_is_refused_too() -> None:
    assert _code(DocumentType.RESIDENT_ID, "11010519491231002X" + " " * 100) == "number_length"


@given(st.text(st.characters(exclude_categories=()), max_size=60))
def test_the_normal_form_of_a_text_is_stable(text: str) -> None:
    plain = documents.normalise(text)

    assert documents.normalise(plain) == plain
    assert not set(plain) & set("abcxyz０９ＡＺａｚ \t\u3000\u00a0")


def test_nothing_prints_a_number() -> None:
    number = resident_number("110101")
    document = documents.DocumentInput(
        type=DocumentType.FOREIGN_PERMANENT_RESIDENT, number=number, former_number="USA110100010101"
    )

    assert number not in repr(document)
    assert "USA" not in repr(document)
    assert "1900" not in repr(_parse(DocumentType.RESIDENT_ID, number)) + repr(
        documents.NumberFault("x", "y")
    )


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


@pytest.mark.parametrize(
    ("accepted", "in_any", "in_store", "online"),
    [
        (["passport"], True, True, True),
        (["passport@in_store"], True, True, False),
        (["passport@in_store", "passport@online_video"], True, True, True),
        (["resident_id", "passport@online_video"], True, False, True),
        (["resident_id"], False, False, False),
        (["passports", "passport_x@in_store", "PASSPORT"], False, False, False),
    ],
)
def test_policy_takes_a_type_everywhere_or_in_one_channel(
    accepted: list[str], in_any: bool, in_store: bool, online: bool
) -> None:
    takes: Callable[[str], bool] = lambda channel: documents.accepts(  # noqa: E731
        accepted, DocumentType.PASSPORT, channel=channel
    )

    assert (takes(""), takes("IN_STORE"), takes("ONLINE_VIDEO")) == (in_any, in_store, online)

"""Finding identity numbers in texts that are kept in clear."""

from __future__ import annotations

import random
import uuid
from datetime import date

import pytest

from apps.core.personal import looks_like_resident_id
from tests.factories.subscribers import resident_number

NUMBER = resident_number("110101")
WITH_X = next(
    number for number in (resident_number(str(area)) for area in range(110100, 110200)) if number[-1] == "X"
)


@pytest.mark.parametrize("number", [NUMBER, WITH_X, resident_number("810000"), resident_number("910000")])
@pytest.mark.parametrize(
    "text", ["{}", "order-{}", "id{}", "{}-2", "a {} b", "客户{}号", "2026_{}", "x:{}:y", "{}abc"]
)
def test_a_number_anywhere_in_the_text_is_found(number: str, text: str) -> None:
    assert looks_like_resident_id(text.format(number))
    assert looks_like_resident_id(text.format(number).lower())


@pytest.mark.parametrize(
    "text",
    [
        NUMBER.translate({ord("0") + digit: 0xFF10 + digit for digit in range(10)}),
        WITH_X.replace("X", "\uff38"),
        f"{NUMBER[:6]} {NUMBER[6:14]} {NUMBER[14:]}",
        f"{NUMBER[:6]}-{NUMBER[6:14]}-{NUMBER[14:]}",
        f"{NUMBER[:6]}\u3000{NUMBER[6:]}",
    ],
    ids=["full-width", "full-width X", "groups", "hyphens", "wide blank"],
)
def test_however_it_is_written(text: str) -> None:
    assert looks_like_resident_id(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "c-1",
        "17012345678",
        NUMBER[:-1] + str((int(NUMBER[-1]) + 1) % 10) if NUMBER[-1] != "X" else NUMBER[:-1] + "1",
        NUMBER[:-1],
        f"1{NUMBER}",
        f"{NUMBER}1",
        resident_number("010101"),
        resident_number("110101", born=date(1899, 12, 31)),
        # First-generation form, IMEI, order number by date and time, moment in microseconds.
        NUMBER[:6] + NUMBER[8:17],
        "490154203237518",
        "202611240719591234",
        "1795504799123456",
        "01ARZ3NDEKTSV4RRFFQ69G5FAV",
    ],
    ids=repr,
)
def test_other_keys_are_left_alone(text: str) -> None:
    assert not looks_like_resident_id(text)


def test_a_day_that_does_not_exist_makes_no_number() -> None:
    body = "11010119000230000"
    assert not any(looks_like_resident_id(body + check) for check in "0123456789X")


def test_keys_by_chance_are_hardly_ever_taken_for_one() -> None:
    chance = random.Random(1)  # noqa: S311
    assert not any(looks_like_resident_id(str(uuid.UUID(int=chance.getrandbits(128)))) for _ in range(20_000))
    assert sum(looks_like_resident_id(str(chance.randrange(10**17, 10**18))) for _ in range(20_000)) <= 5

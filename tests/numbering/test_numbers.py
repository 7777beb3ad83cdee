"""Numbers as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.numbering.numbers import MalformedNumber, parse_e164, to_e164


@pytest.mark.parametrize("text", ["+8617090001234", "8617090001234", "17090001234"])
def test_three_ways_to_write_a_number(text: str) -> None:
    assert parse_e164(text) == 17090001234


@pytest.mark.parametrize("text", ["+861410123456789", "861410123456789", "1410123456789"])
def test_data_cards_have_13_digits(text: str) -> None:
    assert parse_e164(text) == 1410123456789


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1709000123",
        "170900012345",
        "+8527090001234",
        "+86 17090001234",
        "0017090001234",
        "27090001234",
        "17090001234\n",
        "1709000１234",
        "+86+8617090001234",
        "170-9000-1234",
        "17090001234.0",
        "1e10",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(MalformedNumber):
        parse_e164(text)


@given(st.integers(min_value=10_000_000_000, max_value=19_999_999_999))
def test_what_is_written_can_be_read(number: int) -> None:
    assert parse_e164(to_e164(number)) == number

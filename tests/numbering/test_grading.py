"""The pattern language: what is written, what it means, what is refused."""

from __future__ import annotations

import functools
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.numbering.errors import GradePatternInvalid
from apps.numbering.grading import MOST_TAILS, expand, length_of
from tests.numbering import naive


@st.composite
def letter_patterns(draw: st.DrawFn, longest: int) -> str:
    """Letters in the order of their first appearance."""
    pattern = "A"
    for _ in range(draw(st.integers(0, longest - 1))):
        pattern += draw(st.sampled_from("ABCDEFGH"[: len(set(pattern)) + 1]))
    return pattern


def patterns(longest: int) -> st.SearchStrategy[str]:
    runs = st.builds("{}{}".format, st.sampled_from("+-"), st.integers(2, longest))
    digits = st.text("0123456789", min_size=1, max_size=longest)
    days = st.sampled_from(("MMDD", "YYYYMMDD") if longest >= 8 else ("MMDD",))
    return st.one_of(letter_patterns(longest), runs, digits, days)


without = st.one_of(
    st.just(""), st.just("4"), st.lists(st.sampled_from("0123456789"), max_size=9, unique=True).map("".join)
)


@functools.cache
def spelled_out(pattern: str, banned: str) -> list[str]:
    """As rules would have it; nothing where they are refused for want of endings, or for too many."""
    try:
        return expand(pattern, banned)
    except GradePatternInvalid:
        return []


@settings(max_examples=40)
@given(pattern=patterns(longest=4), banned=without)
def test_a_pattern_means_exactly_the_endings_that_look_like_it(pattern: str, banned: str) -> None:
    every = ("".join(digits) for digits in itertools.product("0123456789", repeat=naive.reach(pattern)))
    assert spelled_out(pattern, banned) == [tail for tail in every if naive.matches(pattern, banned, tail)]


@pytest.mark.parametrize("pattern", ["AAAAA", "ABABA", "AABBA", "+5", "-5", "52013"])
def test_five_digits_too(pattern: str) -> None:
    every = (f"{number:05d}" for number in range(100_000))
    assert expand(pattern) == [tail for tail in every if naive.matches(pattern, "", tail)]


@settings(max_examples=100)
@given(data=st.data(), pattern=patterns(longest=8), banned=st.sampled_from(["", "4", "0417"]))
def test_long_patterns_agree_ending_by_ending(data: st.DataObject, pattern: str, banned: str) -> None:
    tails = spelled_out(pattern, banned)
    if not tails:
        return
    size = naive.reach(pattern)
    assert {len(tail) for tail in tails} == {size} == {length_of(pattern)}
    assert naive.matches(pattern, banned, data.draw(st.sampled_from(tails)))
    # Few digits, so that some of them hit; and what lies just beside an ending that is meant.
    digits = data.draw(st.lists(st.sampled_from("0123456789"), min_size=1, max_size=3))
    other = data.draw(st.text(digits, min_size=size, max_size=size))
    near = (int(data.draw(st.sampled_from(tails))) + data.draw(st.integers(-200, 200))) % 10**size
    for tail in (other, f"{near:0{size}d}"):
        assert (tail in tails) == naive.matches(pattern, banned, tail)


@pytest.mark.parametrize(
    ("pattern", "banned", "count"),
    [
        ("A", "", 10),
        ("AAA", "", 10),
        ("AAA", "4", 9),
        ("AABB", "", 90),
        ("ABBA", "4", 72),
        ("AABBCC", "", 720),
        ("ABCDE", "", 30_240),
        ("AABBCCDD", "", 5_040),
        ("+4", "", 7),
        ("-8", "", 3),
        ("168", "", 1),
        ("MMDD", "", 366),
        # 81 years from 1950 to 2030, of which 20 are leap years.
        ("YYYYMMDD", "", 81 * 365 + 20),
    ],
)
def test_how_many(pattern: str, banned: str, count: int) -> None:
    assert len(expand(pattern, banned)) == count


@pytest.mark.parametrize(
    ("pattern", "banned"),
    [
        ("", ""),
        ("aab", ""),
        ("AAAAAAAAA", ""),
        ("123456789", ""),
        ("BBA", ""),
        ("AAC", ""),
        ("AI", ""),
        ("AA8", ""),
        ("+", ""),
        ("+1", ""),
        ("+9", ""),
        ("+10", ""),
        ("3+", ""),
        ("--4", ""),
        ("DDMM", ""),
        ("YYMMDD", ""),
        ("１６８", ""),
        ("168\n", ""),
        ("A|B", ""),
        ("(a+)+$", ""),
        # More than a hundred thousand.
        ("ABCDEF", ""),
        ("ABCDEFGH", ""),
        # Nothing is left.
        ("444", "4"),
        ("MMDD", "01"),
        ("AB", "123456789"),
        ("AAA", "44"),
        ("AAA", "x"),
        ("AAA", "0123456789"),
    ],
)
def test_refused(pattern: str, banned: str) -> None:
    with pytest.raises(GradePatternInvalid):
        expand(pattern, banned)


def test_a_ban_makes_a_large_pattern_small_enough() -> None:
    assert len(expand("ABCDEF", "04")) == 8 * 7 * 6 * 5 * 4 * 3 < MOST_TAILS

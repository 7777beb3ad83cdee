"""What is left of personal data when it is shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core.masking import hide_identity_numbers, mask_document_number, mask_name, mask_phone


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("张三丰", "张**"),
        ("王五", "王*"),
        ("欧阳娜娜", "欧***"),
        ("阿卜杜拉·买买提", "阿****"),
        ("张", "张*"),
        ("", "*"),
        ("Maria Gonzalez", "M****"),
    ],
)
def test_a_name_shows_its_first_character(name: str, shown: str) -> None:
    assert mask_name(name) == shown


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        ("110101190001010008", "110*************08"),
        ("11010119000101000X", "110*************0X"),
        ("110101000101000", "110**********00"),
        ("E12345678", "E12****78"),
        ("H0123456", "H01***56"),
        ("1234567", "*****67"),
        ("12345", "***45"),
        ("1234", "****"),
        ("1", "*"),
        ("", ""),
    ],
)
def test_a_document_number_shows_three_and_two(number: str, shown: str) -> None:
    assert mask_document_number(number) == shown


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        ("17012345678", "170****5678"),
        ("+8617012345678", "+86170****5678"),
        ("12345678", "****5678"),
        ("1234567", "*******"),
        ("", ""),
    ],
)
def test_a_phone_number_hides_four(number: str, shown: str) -> None:
    assert mask_phone(number) == shown


@given(st.text(alphabet="0123456789X", min_size=5, max_size=40))
def test_a_document_number_always_hides_most_of_itself(number: str) -> None:
    shown = mask_document_number(number)
    assert len(shown) == len(number)
    hidden = shown.count("*")
    assert hidden == len(number) - (5 if len(number) >= 8 else 2)
    assert all(mask in ("*", clear) for mask, clear in zip(shown, number, strict=True))


@given(st.text(min_size=2))
def test_a_name_never_shows_its_second_character(name: str) -> None:
    assert mask_name(name)[1:].strip("*") == ""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("110101190001010008", "[hidden]"),
        ("11010119000101000x", "[hidden]"),
        ("110101000101000", "[hidden]"),
        ("/110101190001010008/number", "/[hidden]/number"),
        ("号码110101190001010008。", "号码[hidden]。"),
        ("document=resident_id%3A110101190001010008", "document=resident_id%3A[hidden]"),
        ("a=110101190001010008&b=11010119000101000X", "a=[hidden]&b=[hidden]"),
        # Too long or too short for one, or part of a word.
        ("89860123456789012345", "89860123456789012345"),
        ("17090001234", "17090001234"),
        ("ord_01h455vb4pex5vsknk084sn02q", "ord_01h455vb4pex5vsknk084sn02q"),
        ("c0ffee110101190001010008c0ffee", "c0ffee110101190001010008c0ffee"),
    ],
)
def test_what_could_be_an_identity_number_is_not_echoed(text: str, shown: str) -> None:
    assert hide_identity_numbers(text) == shown

"""Names: which are possible, which hide something, and when two are the same."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.subscribers.realname import names
from apps.subscribers.realname.names import NameFault

POSSIBLE = [
    "张三",
    "欧阳娜娜",
    "阿卜杜拉·买买提",
    "阿卜杜拉•买买提",
    "阿卜杜拉．买买提",
    "古丽娜尔·阿不都热合曼·依明江",
    "张〇",
    "\U00020bb7野家",  # CJK Extension B
    "王\U0002a6a5",  # the last corner of Extension B
    "李\U0002b5af",  # Extension C and up
    "赵\U00030edd",  # Extension G
    "陈\U000323b0",  # Extension J, newer than Python's own table
    "张\u9fff",
    "豈\uf900",  # a compatibility ideograph
    "々木",
    "José Álvarez",
    "Jose\u0301 Alvarez",
    "O'Brien",
    "O\u2019Brien",
    "Jean-Luc Picard",
    "Иван Иванов",
    "نور محمد",
    "김철수",
    "Nguyễn Văn A",
    "J. R. Ewing",
    "Ewing Jr.",
    "Ｊｏｈｎ　Ｓｍｉｔｈ",
    "Anne\u2010Marie",
    "नमस्ते कुमारी",  # letters and marks in turn
    "e\u0302\u0301\u0323x",  # three marks on one letter, as Vietnamese may be typed
    "阿" * 100,
]

IMPOSSIBLE = [
    ("", "name_length"),
    ("张", "name_length"),
    ("·", "name_length"),
    ("阿" * 101, "name_length"),
    ("阿" * 10_000, "name_length"),
    ("张\0三", "name_characters"),
    ("张\n三", "name_characters"),
    ("张\x1b三", "name_characters"),
    ("张\x85三", "name_characters"),
    ("张\ud800三", "name_characters"),
    ("张\u200b三", "name_characters"),  # zero-width space
    ("张\u200d三", "name_characters"),  # zero-width joiner
    ("张\ufeff三", "name_characters"),
    ("张\u2060三", "name_characters"),
    ("张\u202e三", "name_characters"),  # right-to-left override
    ("张\u2067三", "name_characters"),  # bidi isolate
    ("张\u200e三", "name_characters"),
    ("张\u2028三", "name_characters"),
    ("张\u00ad三", "name_characters"),  # soft hyphen
    ("张\ufe0f三", "name_characters"),  # variation selectors
    ("张\U000e0100三", "name_characters"),
    ("张\U000e0041三", "name_characters"),  # tag letters
    ("张\u3164三", "name_characters"),  # Hangul filler: a letter that shows nothing
    ("张\u115f三", "name_characters"),
    ("张\ue000三", "name_characters"),  # private use
    ("张\uffff三", "name_characters"),
    ("张\U0002fffe三", "name_characters"),
    ("张\u0378三", "name_characters"),  # unassigned
    ("张3", "name_characters"),
    ("张三1", "name_characters"),
    ("张三😀", "name_characters"),
    ("<b>张三</b>", "name_characters"),
    ("张三;--", "name_characters"),
    ("=张三", "name_characters"),
    ("张三/李四", "name_characters"),
    ("张三@x", "name_characters"),
    ("·张三", "name_form"),
    ("张三·", "name_form"),
    ("张··三", "name_form"),
    ("-Smith", "name_form"),
    ("\u0301Smith", "name_form"),  # a mark with nothing to stand on
    ("\u2013Smith", "name_form"),
    ("阿·。买", "name_form"),
    ("Sm\u0334\u0335\u0336\u0337ith", "name_characters"),  # stacked marks
    ("张" + "\u0300" * 90 + "三", "name_characters"),
    ("⼈⼝", "name_characters"),  # radicals that look like 人口
    ("张\U000f0000三", "name_characters"),  # private use, plane 15
    ("\udcff张三", "name_characters"),
    ("Smith'", "name_form"),
]

# Each one that keyboards, input methods and other systems are known to give for U+00B7.
LOOK_ALIKE_DOTS = (
    "\u0387\u1427\u16eb\u2022\u2024\u2027\u2219\u22c5\u25cf\u2e31\u30fb\u318d\ua78f\ufe52\uff0e\uff65.\u3002"
)

SAME = [
    *[("阿卜杜拉·买买提", f"阿卜杜拉{dot}买买提") for dot in LOOK_ALIKE_DOTS],
    ("John Smith", "ＪＯＨＮ　ｓｍｉｔｈ"),
    ("Anne-Marie", "Anne\u2010Marie"),
    ("D'Arcy", "D\u2032Arcy"),
    ("José", "Ｊｏｓｅ\u0301"),
    ("你三", "\U0002f804三"),  # a compatibility ideograph of plane 2
    ("阿卜杜拉·买买提", "阿卜杜拉•买买提"),
    ("阿卜杜拉·买买提", "阿卜杜拉・买买提"),
    ("阿卜杜拉·买买提", "阿卜杜拉．买买提"),
    ("阿卜杜拉·买买提", "阿卜杜拉.买买提"),
    ("张三", "张 三"),
    ("张三", "张\u3000三"),
    ("张三", " 张三 "),
    ("José Álvarez", unicodedata.normalize("NFD", "José Álvarez")),
    ("Jean-Luc Picard", "JEAN-LUC  PICARD"),
    ("O'Brien", "O\u2019BRIEN"),
    ("豈三", "\uf900三"),
]

DIFFERENT = [
    ("张三", "张四"),
    ("阿卜杜拉·买买提", "阿卜杜拉买买提"),
    ("Jose Alvarez", "José Álvarez"),
    ("吉野", "\U00020bb7野"),
    ("张三", "張三"),
]


@pytest.mark.parametrize("name", POSSIBLE)
def test_possible_names_pass(name: str) -> None:
    names.check(name)


@pytest.mark.parametrize(("name", "code"), IMPOSSIBLE)
def test_impossible_names_are_refused_without_repeating_them(name: str, code: str) -> None:
    with pytest.raises(NameFault) as refused:
        names.check(name)

    assert refused.value.code == code
    assert len(name) < 2 or name not in str(refused.value)


@pytest.mark.parametrize(("one", "other"), SAME)
def test_spellings_of_one_name_are_the_same(one: str, other: str) -> None:
    assert names.same(one, other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_names_stay_different(one: str, other: str) -> None:
    assert not names.same(one, other)


def test_a_long_text_is_refused_without_being_read() -> None:
    # Told by its length: the surrogates in it would be another fault.
    assert _checked("\ud800" * 1_000_000) == "name_length"


@given(st.text(st.characters(exclude_categories=()), max_size=120))
def test_any_text_passes_or_is_refused_and_nothing_else(name: str) -> None:
    code = _checked(name)

    assert code in {"", "name_length", "name_characters", "name_form"}
    if not code:
        assert names.canonical(names.canonical(name)) == names.canonical(name)
        assert names.same(name, names.canonical(name))


def _checked(name: str) -> str:
    try:
        names.check(name)
    except NameFault as fault:
        return fault.code
    return ""

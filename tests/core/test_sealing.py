"""Personal data at rest: what opens, what does not, and how a wrong key is reported."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core import keyring
from apps.core.keyring import parse_key, parse_keys
from apps.core.sealing import SealBroken, blind_index, blind_indexes, keyed_hash, seal, unseal
from tests.architecture.source import ROOT

# An unknown key is looked for in the table.
pytestmark = pytest.mark.django_db

CONTEXT = "subscribers.identitydocument.number:7:doc_01h455vb4pex5vsknk084sn02q"
NUMBER = "110101190001010008"


def key(byte: int, length: int = 32) -> str:
    return base64.b64encode(bytes([byte]) * length).decode()


@given(st.text(), st.text())
def test_what_is_sealed_opens_in_its_context(plaintext: str, context: str) -> None:
    assert unseal(seal(plaintext, context=context), context=context) == plaintext


def test_the_blob_shows_its_key_and_nothing_of_the_text() -> None:
    blob = seal(NUMBER, context=CONTEXT)
    assert blob[:4] == b"t1\0\0"
    assert len(blob) == 4 + 12 + len(NUMBER) + 16
    assert NUMBER.encode() not in blob


def test_the_same_text_is_sealed_differently_each_time() -> None:
    assert len({seal(NUMBER, context=CONTEXT) for _ in range(200)}) == 200


@pytest.mark.parametrize(
    "context",
    [
        CONTEXT.replace(":7:", ":8:"),
        CONTEXT.replace("number", "name"),
        CONTEXT[:-1] + "r",
        CONTEXT + ":",
        "",
    ],
)
def test_a_blob_moved_to_another_row_column_or_operator_does_not_open(context: str) -> None:
    blob = seal(NUMBER, context=CONTEXT)
    with pytest.raises(SealBroken, match="does not open in this context"):
        unseal(blob, context=context)


def test_no_byte_of_a_blob_can_be_changed() -> None:
    blob = seal(NUMBER, context=CONTEXT)
    for position in range(len(blob)):
        for flipped in (0x01, 0x80):
            changed = bytearray(blob)
            changed[position] ^= flipped
            with pytest.raises(SealBroken):
                unseal(bytes(changed), context=CONTEXT)


def test_no_byte_can_be_cut_off_or_added() -> None:
    blob = seal(NUMBER, context=CONTEXT)
    for length in range(len(blob)):
        with pytest.raises(SealBroken):
            unseal(blob[:length], context=CONTEXT)
    with pytest.raises(SealBroken):
        unseal(blob + b"\0", context=CONTEXT)


def test_what_the_database_driver_returns_opens() -> None:
    assert unseal(memoryview(seal(NUMBER, context=CONTEXT)), context=CONTEXT) == NUMBER


def test_keys_are_rotated_by_their_id(settings) -> None:
    settings.KAIHU_DATA_KEYS = f"old:{key(3)}"
    old = seal(NUMBER, context=CONTEXT)

    settings.KAIHU_DATA_KEYS = f"new:{key(4)},old:{key(3)}"
    new = seal(NUMBER, context=CONTEXT)
    assert (old[:4], new[:4]) == (b"old\0", b"new\0")
    assert unseal(old, context=CONTEXT) == unseal(new, context=CONTEXT) == NUMBER

    settings.KAIHU_DATA_KEYS = f"new:{key(4)}"
    assert unseal(new, context=CONTEXT) == NUMBER
    with pytest.raises(SealBroken, match="a key that is not configured"):
        unseal(old, context=CONTEXT)

    # The id alone is not trusted: another key of the same name opens nothing.
    settings.KAIHU_DATA_KEYS = f"old:{key(5)}"
    with pytest.raises(SealBroken, match="does not open"):
        unseal(old, context=CONTEXT)


def test_errors_never_quote_what_was_sealed() -> None:
    blob = seal(NUMBER, context=CONTEXT)
    with pytest.raises(SealBroken) as broken:
        unseal(blob, context="another")
    assert NUMBER not in str(broken.value)
    assert broken.value.__cause__ is None


# --- Blind index ----------------------------------------------------------------------------------------------------
def test_a_blind_index_finds_equal_values_of_one_purpose_only(settings) -> None:
    index = blind_index(NUMBER, purpose="document")
    assert len(index) == 32
    assert index == blind_index(NUMBER, purpose="document")
    assert index != blind_index(NUMBER[:-1] + "9", purpose="document")
    assert index != blind_index(NUMBER, purpose="phone")
    settings.KAIHU_INDEX_KEY = key(6)
    assert index != blind_index(NUMBER, purpose="document")


def test_a_blind_index_is_keyed_and_not_a_bare_hash() -> None:
    index = blind_index(NUMBER, purpose="document")
    assert index not in {
        hashlib.sha256(text.encode()).digest()
        for text in (NUMBER, f"document{NUMBER}", f"document\0{NUMBER}")
    }


def test_purpose_and_value_cannot_be_shifted_into_each_other() -> None:
    assert blind_index("b", purpose="a") != blind_index("", purpose="ab")
    assert blind_index("1", purpose="document") != blind_index("document1", purpose="")


def test_a_hash_for_days_is_keyed_and_has_no_name() -> None:
    assert len(keyed_hash(NUMBER, purpose="p")) == 32
    assert keyed_hash(NUMBER, purpose="p") == keyed_hash(NUMBER, purpose="p")
    assert keyed_hash(NUMBER, purpose="p") != keyed_hash(NUMBER, purpose="q")


def test_without_keys_in_the_table_there_is_one_index_to_search_by() -> None:
    assert blind_indexes(NUMBER, purpose="p") == (blind_index(NUMBER, purpose="p"),)


# --- Configuration --------------------------------------------------------------------------------------------------
def test_keys_are_read_in_their_order() -> None:
    assert list(parse_keys(f"k2:{key(2)}, k1:{key(1)}")) == [b"k2\0\0", b"k1\0\0"]


MALFORMED_KEYS = {
    "no id": key(1),
    "an empty id": f":{key(1)}",
    "a long id": f"key-1:{key(1)}",
    "an id that is no ASCII": f"钥:{key(1)}",
    "nothing": "",
    "a comma too many": f"k1:{key(1)},",
    "one id twice": f"k1:{key(1)},k1:{key(2)}",
    "no base64": "k1:%%%",
    "base64 that is no ASCII": "k1:钥匙",
    "too short": f"k1:{key(1, 16)}",
    "too long": f"k1:{key(1, 33)}",
    "the second one is wrong": f"k1:{key(1)},k0:{key(2, 31)}",
}


@pytest.mark.parametrize("text", MALFORMED_KEYS.values(), ids=MALFORMED_KEYS.keys())
def test_malformed_keys_are_refused_without_being_quoted(text: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as refused:
        parse_keys(text)
    for secret in (key(1), key(2), key(1, 16), key(1, 33), key(2, 31)):
        assert secret not in str(refused.value)


@pytest.mark.parametrize("text", ["", "%%%", key(1, 31), key(1, 64), "钥匙"])
def test_a_malformed_index_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        parse_key(text)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("KAIHU_DATA_KEYS", "k1:c2hvcnQ=", "KAIHU_DATA_KEYS: a key has 32 bytes, this one has 5"),
        ("KAIHU_DATA_KEYS", "secret", "KAIHU_DATA_KEYS: expected 'id:base64' pairs"),
        ("KAIHU_INDEX_KEY", "c2hvcnQ=", "KAIHU_INDEX_KEY: a key has 32 bytes, this one has 5"),
        ("KAIHU_INDEX_KEY", "", "KAIHU_INDEX_KEY is not set"),
    ],
)
def test_a_process_with_a_wrong_key_ends_with_one_line(name: str, value: str, said: str) -> None:
    """Before any data is touched; a process that starts with a wrong key would seal rows that nobody can open."""
    started = subprocess.run(
        [sys.executable, "-c", "import django; django.setup()"],
        env={**os.environ, name: value},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert started.returncode == 1
    [line] = started.stderr.strip().splitlines()
    assert line.startswith("kaihu: ")
    assert said in line


def test_the_ciphers_of_a_configuration_are_made_once() -> None:
    assert keyring.ring() is keyring.ring()

"""Public ids: a prefix and a UUIDv7 in Crockford base32 (the TypeID form), e.g. ord_01h455vb4pex5vsknk084sn02q.

The uuid is made here before the insert, so that ciphertexts can be bound to it and ids sort by age.
"""

from __future__ import annotations

import os
import time
import uuid
from typing import Any, TypeVar

from django.db import models

from apps.core.errors import NotFound

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUES = {character: value for value, character in enumerate(ALPHABET)}
_SUFFIX_LENGTH = 26

M = TypeVar("M", bound=models.Model)


class MalformedId(ValueError):
    """The text is not a public id of the expected kind."""


def new_uuid7() -> uuid.UUID:
    """A UUID version 7 (RFC 9562): 48 bits of Unix milliseconds, then randomness."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return uuid.UUID(int=value)


def encode(prefix: str, value: uuid.UUID) -> str:
    number = value.int
    characters = []
    for _ in range(_SUFFIX_LENGTH):
        characters.append(ALPHABET[number & 31])
        number >>= 5
    return f"{prefix}_{''.join(reversed(characters))}"


def decode(prefix: str, text: str) -> uuid.UUID:
    """:raises MalformedId: for another prefix, length, alphabet, or a value over 128 bits."""
    head, _, suffix = text.rpartition("_")
    if head != prefix or len(suffix) != _SUFFIX_LENGTH or suffix[0] > "7":
        raise MalformedId("not a public id of this kind")
    number = 0
    for character in suffix:
        if character not in _VALUES:
            raise MalformedId("not a public id of this kind")
        number = number << 5 | _VALUES[character]
    return uuid.UUID(int=number)


class PublicIdField(models.UUIDField):  # type: ignore[type-arg]  # cannot be subscripted at run time
    """A uuid column that Python code only ever sees as its prefixed text."""

    # For the type checker (django-stubs): what may be assigned, what is read.
    _pyi_private_set_type: str
    _pyi_private_get_type: str  # type: ignore[assignment]

    def __init__(self, *args: Any, prefix: str, **kwargs: Any) -> None:
        self.prefix = prefix
        kwargs.setdefault("unique", True)
        kwargs.setdefault("editable", False)
        kwargs.setdefault("default", self.new)
        super().__init__(*args, **kwargs)

    def new(self) -> str:
        return encode(self.prefix, new_uuid7())

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        kwargs.pop("default", None)
        kwargs.pop("unique", None)
        kwargs.pop("editable", None)
        kwargs["prefix"] = self.prefix
        return name, path, args, kwargs

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> str | None:
        return None if value is None else encode(self.prefix, value)

    def to_python(self, value: Any) -> str | None:
        if value is None or isinstance(value, str):
            return value
        if not isinstance(value, uuid.UUID):
            raise MalformedId("neither a text nor a uuid")
        return encode(self.prefix, value)

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        if isinstance(value, str):
            value = decode(self.prefix, value)
        return super().get_db_prep_value(value, connection, prepared)

    def get_prep_value(self, value: Any) -> Any:
        return decode(self.prefix, value) if isinstance(value, str) else value

    def formfield(self, **kwargs: Any) -> Any:
        return models.Field.formfield(self, **kwargs)


def get_by_uid(queryset: models.QuerySet[M], uid: str) -> M:
    """The row with that public id within the queryset.

    :raises NotFound: malformed, unknown and not visible ids alike, so that nothing is revealed.
    """
    try:
        row = queryset.filter(uid=uid).first()
    except MalformedId:
        row = None
    if row is None:
        raise NotFound
    return row

"""Asserting that something is refused, in a way that lets the test look at the database afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import pytest
from django.db import transaction

E = TypeVar("E", bound=Exception)


@contextmanager
def refused(error: type[E], **fields: object) -> Iterator[pytest.ExceptionInfo[E]]:
    """The block must raise exactly this error, carrying these fields.

    Operations join the caller's transaction, which in a test is the test's own: without a savepoint here a refusal
    would leave it unusable, and "nothing was written" could not be asked.
    """
    with pytest.raises(error) as caught, transaction.atomic():
        yield caught
    assert type(caught.value) is error
    known = getattr(caught.value, "fields", {})
    assert {name: known.get(name) for name in fields} == fields

"""Constants of ours in the text of statements."""

from __future__ import annotations

from django.db.models.expressions import RawSQL


def literal(value: str | int) -> RawSQL:
    """A status of ours as part of the statement's text: with a parameter in its place a prepared statement's generic
    plan could not use the partial indexes."""
    return RawSQL(repr(value), ())  # noqa: S611 - only our own constants come here

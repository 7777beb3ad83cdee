"""Moving sealed people to new keys; lines calls the half that holder slots depend on. Who rotates is audited there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.db.models import Model, Q

from apps.core import keyring, resealing
from apps.core.db import operation
from apps.core.resealing import Batch, Columns, made_with
from apps.subscribers.models import (
    IdentityDocument,
    IdentityImage,
    Representative,
    Subscriber,
    WatchListEntry,
)
from apps.subscribers.realname import documents
from apps.subscribers.realname.documents import DocumentType
from apps.subscribers.services.watch_list import count_listings_to_reindex

SEALED: Mapping[str, tuple[type[Model], Columns]] = {
    "subscribers": (
        Subscriber,
        {
            "name_sealed": lambda row: row.context("name"),
            "address_sealed": lambda row: row.context("address"),
            "contact_phone_sealed": lambda row: row.context("contact_phone"),
        },
    ),
    "representatives": (
        Representative,
        {
            "name_sealed": lambda row: row.context("name"),
            "number_sealed": lambda row: row.context("number"),
        },
    ),
    "documents": (IdentityDocument, {"number_sealed": lambda row: row.number_context}),
    "images": (IdentityImage, {"key_sealed": lambda row: row.key_context}),
    "watch-list": (WatchListEntry, {"number_sealed": lambda row: row.number_context}),
}


@dataclass(frozen=True, slots=True)
class Reindexed:
    """A fingerprint that has changed, and what else stood under it must change with it."""

    operator_id: int
    old: bytes
    new: bytes


@operation
def reseal_people(*, table: str, after: int, limit: int) -> Batch:
    """The next rows of a table of SEALED under the current data key; see `resealing.reseal`."""
    model, columns = SEALED[table]
    return resealing.reseal(model=model, columns=columns, after=after, limit=limit)


@operation
def reindex_documents(*, after: int, limit: int) -> tuple[Batch, list[Reindexed]]:
    """The next documents under the current index key, and what changed, for the caller's half of the transaction.

    Documents that an order has in its hands are left: see `selectors.get_holder_fingerprints`.
    """
    rows = list(
        IdentityDocument.objects.filter(_not_indexed(), pk__gt=after)
        .select_for_update(skip_locked=True)
        .order_by("pk")[:limit]
    )
    if not rows:
        return Batch(0, None), []
    changes = {
        row.pk: Reindexed(
            row.operator_id,
            bytes(row.fingerprint),
            documents.fingerprint(
                type=DocumentType(row.type), number=row.open_number(), issuing_country=row.issuing_country
            ),
        )
        for row in rows
    }
    resealing.store(
        model=IdentityDocument,
        columns=["fingerprint"],
        rows=[(pk, change.new) for pk, change in changes.items()],
    )
    return Batch(len(rows), rows[-1].pk), list(changes.values())


@operation
def reindex_representatives(*, after: int, limit: int) -> Batch:
    """The next people who stand for subscribers, under the current index key; no holder slot stands under theirs."""
    rows = list(
        Representative.objects.filter(_not_indexed(), pk__gt=after)
        .select_for_update(skip_locked=True, no_key=True)
        .order_by("pk")[:limit]
    )
    if not rows:
        return Batch(0, None)
    resealing.store(
        model=Representative,
        columns=["fingerprint"],
        rows=[
            (
                row.pk,
                documents.fingerprint(
                    type=DocumentType(row.document_type),
                    number=row.open_number(),
                    issuing_country=row.issuing_country,
                ),
            )
            for row in rows
        ],
    )
    return Batch(len(rows), rows[-1].pk)


def count_people_to_move() -> dict[str, int]:
    """How many rows of each table are not yet under the current keys."""
    left = {
        table: model._base_manager.filter(resealing.not_current(columns)).count()
        for table, (model, columns) in SEALED.items()
    }
    left["blind indexes"] = sum(
        model._base_manager.filter(_not_indexed()).count() for model in (IdentityDocument, Representative)
    )
    left["blind indexes of the watch-list"] = count_listings_to_reindex()
    return left


def _not_indexed() -> Q:
    """Documents and representatives under another index key than the current one; erased ones are under none."""
    [name, _], *_ = keyring.ring().index
    return (~made_with("fingerprint", name) if name else Q(pk__in=[])) & ~Q(number_sealed=b"")

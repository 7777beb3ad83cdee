"""The watch-list: who is put on it and taken off, and what that does to checks that have passed without it.

Whoever is listed has passed nothing any more: `apply_listings` ends passes, sends running checks back to their
beginning, and marks those that a person is deciding on. It follows the listing, in transactions of its own: a check
that begins after the listing was committed sees it, and one that began before is found here.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import date, datetime

from django.db.models import Q

from apps.audit import services as audit
from apps.core import dispatch, keyring, masking, resealing
from apps.core.actor import Actor
from apps.core.db import operation, serialize_on, use_case
from apps.core.errors import FieldError, InvalidTransition, NotFound
from apps.core.public_ids import get_by_uid
from apps.core.resealing import Batch, made_with
from apps.core.sealing import SealBroken
from apps.operators import policies
from apps.operators.calendar import china_date
from apps.operators.models import VirtualOperator
from apps.operators.policies import PolicyKey
from apps.subscribers import errors, watch_list_file
from apps.subscribers.models import (
    IdentityDocument,
    Representative,
    Verification,
    VerificationCheck,
    WatchListEntry,
    WatchListFile,
)
from apps.subscribers.realname import documents
from apps.subscribers.realname.documents import DocumentType
from apps.subscribers.services.reasons import checked_reason
from apps.subscribers.states import CheckOutcome, RepresentativeRole, VerificationStatus
from apps.subscribers.watch_list_file import ListedPerson

logger = logging.getLogger(__name__)

MANAGE_WATCH_LIST = "watchlist.manage"


@operation
def import_watch_list(
    *, actor: Actor, operator: VirtualOperator | None, file_name: str, content: bytes, now: datetime
) -> WatchListFile:
    """Puts everybody in the CSV on the operator's list, or (None) on the national one; all of them or nobody.

    Columns: document_type, number, reason, source, valid_until, and issuing_country where there are passports. Who is
    on the list already, from the same source, gets the reason and last day of the file.

    :raises Forbidden: without the right `watchlist.manage`, or the national list by an operator's staff.
    :raises NotFound: another operator's list. :raises WatchListInvalid: `errors` names every bad row.
    """
    _require(actor, operator)
    people = watch_list_file.read(content, today=china_date(now))
    _serialize(operator)
    file = WatchListFile.objects.create(
        operator=operator,
        file_name="".join(character for character in file_name if character.isprintable())[-200:],
        rows=len(people),
        added=0,
        imported_by=f"{actor.kind}:{actor.id}",
        imported_at=now,
    )
    added = _list(actor, operator, people, file, now)
    WatchListFile.objects.filter(pk=file.pk).update(added=len(added))
    file.added = len(added)
    audit.record(
        actor=actor,
        action="watch_list.import",
        target_type="watch_list_file",
        target_id=file.uid,
        operator_id=file.operator_id,
        after={"rows": file.rows, "added": file.added},
        now=now,
    )
    dispatch.after_commit("subscribers.apply_listings")
    return file


@operation
def list_person(
    *,
    actor: Actor,
    operator: VirtualOperator | None,
    document_type: str,
    number: str,
    reason: str,
    source: str,
    valid_until: date,
    now: datetime,
    issuing_country: str = "",
) -> WatchListEntry:
    """Puts one person on the list, or renews their entry; see `import_watch_list`. Audited.

    :raises WatchListInvalid: `errors` names every bad field. :raises Forbidden: :raises NotFound: as there.
    """
    _require(actor, operator)
    cells = {
        "document_type": document_type,
        "number": number,
        "issuing_country": issuing_country,
        "reason": reason,
        "source": source,
        "valid_until": valid_until.isoformat(),
    }
    found: list[FieldError] = []
    person = watch_list_file.person(cells, "", found, today=china_date(now))
    if person is None:
        raise errors.WatchListInvalid(errors=found)
    _serialize(operator)
    _list(actor, operator, [person], None, now)
    (entry,) = _entries_of(operator, [person]).values()
    audit.record(
        actor=actor,
        action="watch_list.list",
        target_type="watch_list_entry",
        target_id=entry.uid,
        operator_id=entry.operator_id,
        after={"source": entry.source, "valid_until": entry.valid_until.isoformat()},
        reason=entry.reason,
        now=now,
    )
    dispatch.after_commit("subscribers.apply_listings")
    return entry


@operation
def lift_listing(*, actor: Actor, entry_uid: str, reason: str, now: datetime) -> WatchListEntry:
    """Takes one entry off its list. Whoever failed for it starts a new check.

    :raises Forbidden: as in `import_watch_list`. :raises ReasonMissing: no reason.
    :raises NotFound: unknown, or another list's. :raises InvalidTransition: it is off already.
    """
    actor.require(MANAGE_WATCH_LIST)
    written = checked_reason(reason)
    entry = get_by_uid(WatchListEntry.objects.visible_to(actor).select_for_update(no_key=True), entry_uid)
    if entry.lifted_at is not None:
        raise InvalidTransition("This person has been taken off the list already.")
    entry.lift(now=now)
    audit.record(
        actor=actor,
        action="watch_list.lift",
        target_type="watch_list_entry",
        target_id=entry.uid,
        operator_id=entry.operator_id,
        after={"source": entry.source},
        reason=written,
        now=now,
    )
    return entry


@use_case
def apply_listings(*, actor: Actor, now: datetime, limit: int = 1000) -> int:
    """Brings home up to `limit` listings that are new; returns how many. Safe to kill and to run twice at once."""
    entries = list(
        WatchListEntry.objects.visible_to(actor)
        .to_apply()
        .select_for_update(skip_locked=True, no_key=True)
        .order_by("id")[:limit]
    )
    if not entries:
        return 0
    people = _subscribers_of(entries)
    WatchListEntry.objects.filter(pk__in=[entry.pk for entry in entries]).update(applied_at=now)
    checks = Verification.objects.filter(
        subscriber_id__in=people,
        status__in=(VerificationStatus.PENDING, VerificationStatus.REVIEW, VerificationStatus.PASSED),
    )
    for verification in checks.select_for_update(no_key=True).order_by("id"):
        _apply(actor, verification, now)
    if people:
        dispatch.after_commit("subscribers.run_verifications")
    return len(entries)


@operation
def erase_ended_listings(*, actor: Actor, now: datetime, limit: int = 500) -> int:
    """Forgets who it was, for up to `limit` entries that were lifted or have ended (PIPL art. 47); returns how many."""
    kept = WatchListEntry.objects.visible_to(actor).exclude(number_sealed=b"")
    ended = kept.filter(valid_until__lt=china_date(now)) | kept.filter(lifted_at__isnull=False)
    rows = list(ended.select_for_update(skip_locked=True).order_by("id")[:limit])
    for row in rows:
        row.erase()
        audit.record(
            actor=actor,
            action="watch_list.erase",
            target_type="watch_list_entry",
            target_id=row.uid,
            operator_id=row.operator_id,
            now=now,
        )
    return len(rows)


@operation
def reindex_watch_list(*, after: int, limit: int) -> Batch:
    """The next entries under the current index key; see `resealing`."""
    rows = list(
        WatchListEntry.objects.filter(_not_indexed(), pk__gt=after)
        .select_for_update(skip_locked=True)
        .order_by("pk")[:limit]
    )
    if not rows:
        return Batch(0, None)
    moved = []
    for row in rows:
        try:
            moved.append((row.pk, _fingerprints(row)[0]))
        except SealBroken:
            logger.error("sealed row does not open", extra={"row": f"WatchListEntry.number_sealed {row.pk}"})
    if moved:
        resealing.store(model=WatchListEntry, columns=["fingerprint"], rows=moved)
    return Batch(len(moved), rows[-1].pk)


def count_listings_to_reindex() -> int:
    """How many entries stand under another index key than the current one."""
    return WatchListEntry.objects.filter(_not_indexed()).count()


def _not_indexed() -> Q:
    [name, _], *_ = keyring.ring().index
    stale = ~made_with("fingerprint", name) if name else Q(pk__in=[])
    return stale & ~Q(number_sealed=b"")


def _require(actor: Actor, operator: VirtualOperator | None) -> None:
    actor.require(MANAGE_WATCH_LIST)
    if operator is None:
        if actor.operator_id is not None:
            raise errors.NationalListForbidden
    elif not actor.sees(operator.pk):
        raise NotFound


def _serialize(operator: VirtualOperator | None) -> None:
    """One at a time per list, so that nobody stands there twice whatever key their index was made with."""
    serialize_on(f"subscribers.watch_list:{operator.pk if operator else 'national'}")


def _list(
    actor: Actor,
    operator: VirtualOperator | None,
    people: Sequence[ListedPerson],
    file: WatchListFile | None,
    now: datetime,
) -> list[WatchListEntry]:
    """The entries that are new; those that were there are renewed."""
    known = _entries_of(operator, people)
    added = []
    for place, person in enumerate(people):
        if entry := known.get(place):
            if (entry.reason, entry.valid_until) != (person.reason, person.valid_until):
                entry.renew(reason=person.reason, valid_until=person.valid_until, file=file)
            continue
        entry = WatchListEntry(
            operator=operator,
            file=file,
            document_type=person.type,
            issuing_country=person.issuing_country,
            number_masked=masking.mask_document_number(person.number),
            fingerprint=documents.fingerprint(
                type=person.type, number=person.number, issuing_country=person.issuing_country
            ),
            reason=person.reason,
            source=person.source,
            valid_until=person.valid_until,
            listed_at=now,
            listed_by=f"{actor.kind}:{actor.id}",
        )
        entry.seal_number(person.number)
        added.append(entry)
    return WatchListEntry.objects.bulk_create(added, batch_size=1000)


def _entries_of(
    operator: VirtualOperator | None, people: Sequence[ListedPerson]
) -> Mapping[int, WatchListEntry]:
    """Place in `people` -> the entry that the list has from the same source."""
    places = {
        (fingerprint, person.source): place
        for place, person in enumerate(people)
        for fingerprint in documents.fingerprints(
            type=person.type, number=person.number, issuing_country=person.issuing_country
        )
    }
    rows = WatchListEntry.objects.filter(
        operator=operator, lifted_at=None, fingerprint__in=[fingerprint for fingerprint, _ in places]
    )
    return {
        places[key]: row
        for row in rows.select_for_update(no_key=True).order_by("id")
        if (key := (bytes(row.fingerprint), row.source)) in places
    }


def _fingerprints(entry: WatchListEntry) -> tuple[bytes, ...]:
    return documents.fingerprints(
        type=DocumentType(entry.document_type),
        number=entry.open_number(),
        issuing_country=entry.issuing_country,
    )


def _readable_fingerprints(entry: WatchListEntry) -> tuple[bytes, ...]:
    """At least the one that the row stands under: one that does not open must not stop the list for everybody."""
    try:
        return (*_fingerprints(entry), bytes(entry.fingerprint))
    except SealBroken:
        logger.error("sealed row does not open", extra={"row": f"WatchListEntry.number_sealed {entry.pk}"})
        return (bytes(entry.fingerprint),)


def _subscribers_of(entries: Sequence[WatchListEntry]) -> set[int]:
    """Everybody with one of these documents, or for whom somebody with one stands, at the list's operator or (national
    list) at all of them.
    """
    listed = {
        (entry.operator_id, fingerprint) for entry in entries for fingerprint in _readable_fingerprints(entry)
    }
    operators = {operator_id for operator_id, _ in listed}
    if None in operators:
        operators = set(VirtualOperator.objects.values_list("pk", flat=True))
    # Operators are named because the index of documents begins with them.
    wanted = {"operator_id__in": operators, "fingerprint__in": {fingerprint for _, fingerprint in listed}}
    columns = ("operator_id", "fingerprint", "subscriber_id")
    standing = Representative.objects.filter(ended_at=None, **wanted).exclude(role=RepresentativeRole.PROXY)
    rows = (*IdentityDocument.objects.filter(**wanted).values_list(*columns), *standing.values_list(*columns))
    return {
        subscriber_id
        for operator_id, fingerprint, subscriber_id in rows
        if {(None, bytes(fingerprint)), (operator_id, bytes(fingerprint))} & listed
    }


def _apply(actor: Actor, verification: Verification, now: datetime) -> None:
    before = VerificationStatus(verification.status)
    if before == VerificationStatus.PENDING:
        verification.start_over(now=now)
        return
    if before == VerificationStatus.PASSED:
        verification.expire()
    else:
        to_review = policies.get(
            operator_id=verification.operator_id, key=PolicyKey.WATCHLIST_TO_REVIEW, now=now
        )
        VerificationCheck.objects.filter(verification=verification, name="watch_list").update(
            outcome=CheckOutcome.REVIEW if to_review else CheckOutcome.FAIL,
            code="watchlisted",
            checked_at=now,
        )
    audit.record(
        actor=actor,
        action="verification.watchlisted",
        target_type="verification",
        target_id=verification.uid,
        operator_id=verification.operator_id,
        before={"status": before},
        after={"status": verification.status},
        reason="watchlisted",
        now=now,
    )

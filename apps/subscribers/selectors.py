"""Reading subscribers and verifications: within the actor's operator, and masked."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from django.db.models import Count, Exists, F, Min, OuterRef, Prefetch, Q, QuerySet

from apps.core.actor import Actor
from apps.core.public_ids import MalformedId, get_by_uid
from apps.subscribers.holdings import Holder
from apps.subscribers.models import (
    Consent,
    DemandStep,
    IdentityDocument,
    IdentityImage,
    LegalHold,
    NoticeTemplate,
    Representative,
    ReverificationDemand,
    ReviewCase,
    Subscriber,
    Verification,
    VerificationCheck,
    WatchListEntry,
)
from apps.subscribers.realname import documents, names
from apps.subscribers.realname.documents import DocumentType
from apps.subscribers.states import (
    CheckOutcome,
    ConsentPurpose,
    DemandStatus,
    ImageKind,
    RepresentativeRole,
    Standing,
    VerificationStatus,
)

# KEY SHARE is what a foreign key takes: any number of orders at once, but no change of the fingerprint. The person
# comes before the document, as for whoever erases both.
_HOLDER = """
WITH person AS MATERIALIZED (SELECT id FROM subscribers_subscriber WHERE id = %s FOR KEY SHARE)
SELECT document.id, document.fingerprint
FROM person JOIN subscribers_identitydocument AS document ON document.subscriber_id = person.id
ORDER BY document.id FOR KEY SHARE OF document
"""

_STEPS = Prefetch("steps", DemandStep.objects.order_by("id"))


def get_subscriber(*, actor: Actor, uid: str) -> Subscriber:
    """With its documents, latest verification and the like loaded. :raises NotFound: unknown or another operator's."""
    return get_by_uid(_with_parts(Subscriber.objects.visible_to(actor)), uid)


def list_subscribers(
    *, actor: Actor, fingerprints: Collection[bytes] | None = None, external_id: str | None = None
) -> QuerySet[Subscriber]:
    """With their documents loaded; exact filters only, documents through every blind index they may stand under."""
    found = _with_parts(Subscriber.objects.visible_to(actor))
    if fingerprints is not None:
        # The operator is named on the document as well: the index begins with it.
        found = found.filter(documents__fingerprint__in=fingerprints, documents__operator_id=F("operator_id"))
    if external_id is not None:
        found = found.filter(external_id=external_id)
    return found


def list_consents(
    *, actor: Actor, subscriber_uid: str, purpose: ConsentPurpose | None = None
) -> QuerySet[Consent]:
    """Those of one person, withdrawn ones too. :raises NotFound: unknown or another operator's."""
    subscriber = get_by_uid(Subscriber.objects.visible_to(actor), subscriber_uid)
    consents = Consent.objects.visible_to(actor).filter(subscriber=subscriber).select_related("given_by")
    return consents if purpose is None else consents.filter(purpose=purpose)


def get_verification(*, actor: Actor, uid: str) -> Verification:
    """With subscriber and checks, in order. :raises NotFound: unknown or another operator's."""
    return get_by_uid(_with_checks(Verification.objects.visible_to(actor)), uid)


@dataclass(frozen=True, slots=True)
class VerificationState:
    """How a subscriber stands at one moment, the verification that says so, and why when it did not pass."""

    standing: Standing
    verification_id: int | None = None
    verification_uid: str | None = None
    # The code of the check that failed, was never answered or is in doubt; empty otherwise.
    code: str = ""


def get_verification_state(*, subscriber_id: int, now: datetime) -> VerificationState:
    """What an order needs to know: the latest verification counts.

    One still PENDING does not hide an earlier one: asking again takes nothing away. One in REVIEW does.
    """
    latest = list(Verification.objects.filter(subscriber_id=subscriber_id).order_by("-id")[:2])
    if not latest:
        return VerificationState(Standing.NONE)
    counting = latest[0]
    if counting.status == VerificationStatus.PENDING and len(latest) == 2 and _is_fresh(latest[1], now):
        counting = latest[1]
    standing = {
        VerificationStatus.PENDING: Standing.PENDING,
        VerificationStatus.REVIEW: Standing.REVIEW,
        VerificationStatus.FAILED: Standing.FAILED,
        VerificationStatus.EXPIRED: Standing.EXPIRED,
        VerificationStatus.PASSED: Standing.PASSED_FRESH if _is_fresh(counting, now) else Standing.EXPIRED,
    }[VerificationStatus(counting.status)]
    _, code = (
        get_decisive_check(verification_id=counting.pk)
        if standing in (Standing.FAILED, Standing.REVIEW)
        else ("", "")
    )
    return VerificationState(standing, counting.pk, counting.uid, code)


def get_subscriber_id_of_verification(*, verification_uid: str) -> int | None:
    """Whose verification it is; None for an unknown one. For consumers of its event."""
    return Verification.objects.filter(uid=verification_uid).values_list("subscriber_id", flat=True).first()


def get_holder_fingerprints(*, subscriber_id: int) -> list[bytes]:
    """The fingerprints of the subscriber's documents, the first one ever shown first: what the five-cards limit counts.

    They stay these until the caller's transaction ends: a rotation of their key, which moves documents and holder slots
    together, waits.

    :raises IdentityDocument.DoesNotExist: for an id that is no subscriber's (each has a document).
    """
    rows = [bytes(row.fingerprint) for row in IdentityDocument.objects.raw(_HOLDER, [subscriber_id])]
    if not rows:
        raise IdentityDocument.DoesNotExist
    return rows


def find_person(*, operator_id: int, fingerprints: Collection[bytes], name: str = "") -> int | None:
    """The subscriber of this operator with that document and, when one is given, that name; None for everybody else."""
    found = (
        IdentityDocument.objects.filter(operator_id=operator_id, fingerprint__in=list(fingerprints))
        .select_related("subscriber")
        .first()
    )
    if found is None or found.subscriber.erased_at is not None:
        return None
    if name and not names.same(found.subscriber.open_name(), name):
        return None
    return found.subscriber_id


def was_verified_by(*, subscriber_id: int, requested_by: str, since: datetime) -> bool:
    """Whether the person's latest verification has passed since then, and that caller had asked for it."""
    latest = Verification.objects.filter(subscriber_id=subscriber_id).order_by("-id").first()
    return (
        latest is not None
        and latest.status == VerificationStatus.PASSED
        and latest.requested_by == requested_by
        and latest.decided_at is not None
        and latest.decided_at >= since
    )


def has_passed_since(*, subscriber_id: int, since: datetime, now: datetime) -> bool:
    """Whether a verification that proves what was so after that moment has passed, is fresh, none after it failed."""
    latest = Verification.objects.proving_after(since).filter(subscriber_id=subscriber_id).order_by("-id")
    decided = latest.exclude(status=VerificationStatus.PENDING).first()
    return (
        decided is not None
        and decided.status == VerificationStatus.PASSED
        and decided.fresh_until is not None
        and decided.fresh_until > now
    )


def list_erasable(*, operator_id: int, before: datetime) -> QuerySet[Subscriber]:
    """People whom no legal hold and nothing that this app knows keeps since that moment; lines know the rest."""
    held = LegalHold.objects.filter(subscriber=OuterRef("pk"), lifted_at=None)
    # Whoever was looked at since may have an order on its way.
    verified = Verification.objects.filter(subscriber=OuterRef("pk"), created_at__gt=before)
    return Subscriber.objects.filter(
        ~Exists(held),
        ~Exists(verified),
        Q(handed_on_at=None) | Q(handed_on_at__lte=before),
        operator_id=operator_id,
        erased_at=None,
        created_at__lte=before,
    )


@dataclass(frozen=True, slots=True)
class EndingDocument:
    """A document with an end; new while this end has not been a reason to demand anything."""

    id: int
    subscriber_id: int
    valid_until: date
    is_new: bool


def list_ending_documents(
    *, operator_id: int, until: date, after: tuple[date, int] | None = None, limit: int
) -> list[EndingDocument]:
    """One operator's documents whose last day is `until` or before, by (last day, id), behind `after`.

    At most `limit` rows of an index are read, whatever is new among them, so that walking over all of them is bounded
    work each time.
    """
    documents = IdentityDocument.objects.filter(operator_id=operator_id, valid_until__lte=until)
    if after is not None:
        day, last = after
        documents = documents.filter(Q(valid_until__gt=day) | Q(id__gt=last), valid_until__gte=day)
    rows = list(
        documents.order_by("valid_until", "id").values_list("id", "subscriber_id", "valid_until")[:limit]
    )
    used = set(
        ReverificationDemand.objects.filter(document_id__in=[row[0] for row in rows]).values_list(
            "document_id", "document_until"
        )
    )
    return [
        EndingDocument(key, subscriber_id, day, (key, day) not in used)
        for key, subscriber_id, day in rows
        if day is not None
    ]


def list_demands_to_apply(*, now: datetime, limit: int) -> list[int]:
    """Keys of demands whose lines have to be looked at, longest due first; one read of a partial index."""
    rows = ReverificationDemand.objects.unapplied(now=now).order_by("apply_at", "id")
    return list(rows.values_list("id", flat=True)[:limit])


def get_demand_id(*, demand_uid: str) -> int | None:
    """None for an unknown one. For consumers of its events."""
    return ReverificationDemand.objects.filter(uid=demand_uid).values_list("id", flat=True).first()


def get_demand_words(*, demand_uid: str, status: DemandStatus) -> tuple[str, str] | None:
    """Notice and remedy of that step, in Chinese and then in English; None when the id is no demand's."""
    try:
        step = DemandStep.objects.filter(demand__uid=demand_uid, status=status).first()
    except MalformedId:
        return None
    return (f"{step.notice_zh}\n{step.notice_en}", f"{step.remedy_zh}\n{step.remedy_en}") if step else None


def get_last_demand_at(*, subscriber_id: int) -> datetime | None:
    """When the last of what is still demanded of the person was demanded."""
    demands = ReverificationDemand.objects.open().filter(subscriber_id=subscriber_id)
    return demands.order_by("-created_at").values_list("created_at", flat=True).first()


def list_demands(
    *, actor: Actor, subscriber_id: int, line_uid: str | None = None
) -> QuerySet[ReverificationDemand]:
    """Of one subscriber, the last first, with their steps; with `line_uid` only those that the line is under."""
    demands = ReverificationDemand.objects.visible_to(actor).filter(subscriber_id=subscriber_id)
    if line_uid is not None:
        demands = demands.filter(line_uid__in=("", line_uid))
    return demands.order_by("-id").prefetch_related(_STEPS)


def list_notice_templates(*, actor: Actor) -> QuerySet[NoticeTemplate]:
    """The operator's own words and the default ones."""
    if actor.operator_id is None:
        return NoticeTemplate.objects.all()
    return NoticeTemplate.objects.filter(Q(operator_id=actor.operator_id) | Q(operator_id=None))


def find_listed(*, people: Collection[Holder], today: date) -> set[Holder]:
    """Of these people those whom a list holds that counts for their operator; one query."""
    wanted = {fingerprint for person in people for fingerprint in person.fingerprints}
    if not wanted:
        return set()
    operators = {person.operator_id for person in people}
    rows = (
        WatchListEntry.objects.in_force(today=today)
        .filter(Q(operator_id=None) | Q(operator_id__in=operators), fingerprint__in=wanted)
        .values_list("operator_id", "fingerprint")
    )
    listed = {(operator_id, bytes(fingerprint)) for operator_id, fingerprint in rows}
    return {
        person
        for person in people
        if any(
            (operator_id, fingerprint) in listed
            for operator_id in (None, person.operator_id)
            for fingerprint in person.fingerprints
        )
    }


def list_listings_of(*, actor: Actor, subscriber: Subscriber, today: date) -> QuerySet[WatchListEntry]:
    """The entries in force that hold this person: of the actor's own list and of the national one."""
    fingerprints = {
        fingerprint
        # Those of people who were erased find nobody.
        for document in subscriber.documents.exclude(number_sealed=b"")
        for fingerprint in documents.fingerprints(
            type=DocumentType(document.type),
            number=document.open_number(),
            issuing_country=document.issuing_country,
        )
    }
    entries = WatchListEntry.objects.in_force(today=today).filter(fingerprint__in=fingerprints)
    return entries.filter(operator_id=None) | entries.filter(operator_id=subscriber.operator_id)


def has_listings_to_apply() -> bool:
    """Whether a worker would find somebody newly listed; one read of a partial index."""
    return WatchListEntry.objects.to_apply().exists()


def has_due_verifications(*, now: datetime) -> bool:
    """Whether a worker would find something to claim; one read of a partial index."""
    return Verification.objects.due(now=now).exists()


def _is_fresh(verification: Verification, now: datetime) -> bool:
    return (
        verification.status == VerificationStatus.PASSED
        and verification.fresh_until is not None
        and verification.fresh_until > now
    )


def get_decisive_check(*, verification_id: int) -> tuple[str, str]:
    """Name and code of the first check that did not pass; both empty when all did."""
    row = (
        VerificationCheck.objects.filter(
            ~Q(outcome=CheckOutcome.PASS),
            verification_id=verification_id,
        )
        .order_by("position")
        .values_list("name", "code")
        .first()
    )
    return row or ("", "")


def _with_parts(subscribers: QuerySet[Subscriber]) -> QuerySet[Subscriber]:
    latest = Verification.objects.order_by("subscriber_id", "-id").distinct("subscriber_id")
    standing = Representative.objects.filter(ended_at=None).exclude(role=RepresentativeRole.PROXY)
    letters = IdentityImage.objects.filter(
        kind=ImageKind.AUTHORISATION_LETTER, key_sealed__isnull=False
    ).order_by("-id")
    parts: list[Prefetch[Any]] = [
        Prefetch("documents", IdentityDocument.objects.order_by("id")),
        Prefetch("verifications", latest, to_attr="latest_verification"),
        Prefetch("representatives", standing, to_attr="standing_for_it"),
        Prefetch("images", letters, to_attr="known_letters"),
        Prefetch(
            "demands",
            ReverificationDemand.objects.open().order_by("id").prefetch_related(_STEPS),
            to_attr="open_demands",
        ),
    ]
    return subscribers.prefetch_related(*parts)


def _with_checks(verifications: QuerySet[Verification]) -> QuerySet[Verification]:
    return verifications.select_related("subscriber", "dealer", "representative").prefetch_related(
        Prefetch("checks", VerificationCheck.objects.order_by("position"))
    )


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many review cases wait for a person, and since when the oldest does."""

    count: int
    oldest_at: datetime | None


def get_waiting_cases(*, actor: Actor) -> Waiting:
    """As far as the actor may see them; from a partial index."""
    found = ReviewCase.objects.visible_to(actor).open().aggregate(count=Count("id"), oldest=Min("opened_at"))
    return Waiting(found["count"], found["oldest"])


def get_case(*, actor: Actor, uid: str) -> ReviewCase:
    """With its verification and subscriber. :raises NotFound: unknown or another operator's."""
    return get_by_uid(
        ReviewCase.objects.visible_to(actor).select_related("verification__subscriber", "operator"), uid
    )


def get_case_for_update(*, actor: Actor, uid: str) -> ReviewCase:
    """The same, the case locked. :raises NotFound: unknown or another operator's."""
    rows = ReviewCase.objects.visible_to(actor).select_related("verification__subscriber", "operator")
    return get_by_uid(rows.select_for_update(of=("self",)), uid)


def get_open_case(*, verification_id: int) -> ReviewCase | None:
    """What people are asked about the verification now."""
    return ReviewCase.objects.open().filter(verification_id=verification_id).first()


def get_override_of(*, verification_id: int) -> ReviewCase | None:
    """The confirmed proposal that the verification was started by."""
    rows = ReviewCase.objects.select_related("verification__representative")
    return rows.filter(rerun_id=verification_id).first()


def list_uploaders(*, subscriber_id: int) -> set[str]:
    """`KIND:id` of everybody who has brought a picture of the person that can still be looked at."""
    shown = IdentityImage.objects.filter(subscriber_id=subscriber_id, key_sealed__isnull=False)
    return set(shown.values_list("uploaded_by", flat=True))

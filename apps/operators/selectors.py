"""Reading tenants and what they are allowed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TypeVar

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Length

from apps.core.actor import Actor
from apps.core.errors import NotFound
from apps.core.public_ids import MalformedId, get_by_uid
from apps.operators import territory
from apps.operators.calendar import china_date
from apps.operators.errors import AgreementNotValid, DealerNotAllowed, LicenceNotValid
from apps.operators.models import (
    AccessCode,
    Dealer,
    DocumentType,
    HostCarrier,
    Licence,
    Policy,
    VirtualOperator,
    WholesaleAgreement,
)
from apps.operators.states import Validity

# When several papers exist and none is valid, the answer names the one closest to being so.
_NEAREST = (
    Validity.VALID,
    Validity.NOT_COVERED,
    Validity.NOT_YET_VALID,
    Validity.EXPIRED,
    Validity.REVOKED,
    Validity.NONE,
)
_SENTENCES = {
    Validity.NOT_COVERED: "does not cover this area",
    Validity.NOT_YET_VALID: "is not valid yet",
    Validity.EXPIRED: "has expired",
    Validity.REVOKED: "has been ended",
    Validity.NONE: "does not exist",
}

P = TypeVar("P", Licence, WholesaleAgreement)


def get_operator(*, actor: Actor, uid: str) -> VirtualOperator:
    """:raises NotFound: unknown or another operator."""
    return get_by_uid(VirtualOperator.objects.visible_to(actor), uid)


def get_operator_by_code(*, actor: Actor, code: str) -> VirtualOperator:
    """:raises NotFound: unknown or another operator."""
    operator = VirtualOperator.objects.visible_to(actor).filter(code=code).first()
    if operator is None:
        raise NotFound
    return operator


def list_operators(*, actor: Actor) -> QuerySet[VirtualOperator]:
    """Live tenants and sandboxes the actor may see, by code."""
    return VirtualOperator.objects.visible_to(actor).order_by("code")


def no_operators() -> QuerySet[VirtualOperator]:
    """Nothing: what a form offers before it knows who asks."""
    return VirtualOperator.objects.none()


def list_licences(*, actor: Actor) -> QuerySet[Licence]:
    """Licences the actor may see, ended ones too."""
    return Licence.objects.visible_to(actor).order_by("operator_id", "-valid_until")


def list_agreements(*, actor: Actor) -> QuerySet[WholesaleAgreement]:
    """Agreements the actor may see, ended ones too."""
    return WholesaleAgreement.objects.visible_to(actor).order_by(
        "operator_id", "host_carrier_id", "-valid_until"
    )


def no_agreements() -> QuerySet[WholesaleAgreement]:
    """Nothing: what a form offers before it knows who asks."""
    return WholesaleAgreement.objects.none()


def list_dealers(*, actor: Actor) -> QuerySet[Dealer]:
    """Dealers the actor may see, whether they may act or not."""
    return Dealer.objects.visible_to(actor).order_by("operator_id", "code")


def list_policies(*, actor: Actor) -> QuerySet[Policy]:
    """Every version of the defaults and of what the actor may see beside them."""
    if actor.operator_id is None:
        return Policy.objects.all()
    return Policy.objects.filter(Q(operator_id=actor.operator_id) | Q(operator=None))


def get_host_carrier(*, code: str) -> HostCarrier:
    """:raises NotFound: there is no host carrier with that code."""
    carrier = HostCarrier.objects.filter(code=code).first()
    if carrier is None:
        raise NotFound("There is no such host carrier.")
    return carrier


def list_host_carriers() -> QuerySet[HostCarrier]:
    """All of them, by code."""
    return HostCarrier.objects.order_by("code")


def get_access_code(*, digits: str) -> AccessCode | None:
    """The access code with the longest prefix of these leading digits ("1709000"), with its host carrier."""
    prefixes = [digits[:length] for length in range(3, len(digits) + 1)]
    return (
        AccessCode.objects.filter(prefix__in=prefixes)
        .select_related("host_carrier")
        .order_by(Length("prefix").desc())
        .first()
    )


def list_access_codes() -> QuerySet[AccessCode]:
    """All of them, by their digits."""
    return AccessCode.objects.order_by("prefix")


def list_document_types() -> QuerySet[DocumentType]:
    """All of them, by code, whether accepted or not."""
    return DocumentType.objects.order_by("code")


def require_valid_licence(*, operator_id: int, now: datetime, area: str | None = None) -> Licence:
    """A licence of the operator that is valid now and, when an area ("省" or "省/市") is given, covers it. One query.

    :raises LicenceNotValid: field `reason` says why (Telecom Regulations art. 7).
    """
    licences = Licence.objects.filter(operator_id=operator_id).order_by("-valid_until")
    state, licence = _nearest(licences, now=now, place=area)
    if licence is None or state is not Validity.VALID:
        raise LicenceNotValid(f"The operator's licence {_SENTENCES[state]}.", reason=state)
    return licence


def require_valid_agreement(
    *, operator_id: int, host_carrier_id: int, now: datetime, province: str = "", city: str = ""
) -> WholesaleAgreement:
    """An agreement with that host carrier, valid now and, when a province is given, covering the place. One query.

    :raises AgreementNotValid: field `reason` says why (MIIT notice of 2018-04-28: the contract names the territory).
    """
    agreements = WholesaleAgreement.objects.filter(operator_id=operator_id, host_carrier_id=host_carrier_id)
    place = territory.area(province, city) if province else None
    state, agreement = _nearest(agreements.order_by("-valid_until"), now=now, place=place)
    if agreement is None or state is not Validity.VALID:
        raise AgreementNotValid(f"The agreement with this host carrier {_SENTENCES[state]}.", reason=state)
    return agreement


def require_dealer(*, operator_id: int, dealer_code_or_uid: str, now: datetime) -> Dealer:
    """The operator's dealer with that code or public id, allowed to act now.

    :raises DealerNotAllowed: unknown, foreign, suspended, not yet or no longer authorised.
    """
    own = Dealer.objects.filter(operator_id=operator_id)
    try:
        dealer = own.filter(Q(code=dealer_code_or_uid) | Q(uid=dealer_code_or_uid)).first()
    except MalformedId:
        dealer = own.filter(code=dealer_code_or_uid).first()
    if dealer is None or dealer.validity(now=now) is not Validity.VALID:
        raise DealerNotAllowed
    return dealer


@dataclass(frozen=True, slots=True)
class PaperState:
    """What a licence or agreement is worth now; `carrier` is the host's code, empty for a licence."""

    state: Validity
    number: str
    valid_until: str | None
    carrier: str = ""


def get_licence_state(*, operator_id: int, now: datetime) -> PaperState:
    """The operator's best licence, or NONE."""
    state, licence = _nearest(
        Licence.objects.filter(operator_id=operator_id).order_by("-valid_until"), now=now
    )
    if licence is None:
        return PaperState(Validity.NONE, "", None)
    return PaperState(state, licence.number, licence.valid_until.isoformat())


def list_agreement_states(*, operator_id: int, now: datetime) -> list[PaperState]:
    """The operator's best agreement with each host carrier it has one with, by carrier code."""
    by_carrier: dict[str, list[WholesaleAgreement]] = {}
    agreements = WholesaleAgreement.objects.filter(operator_id=operator_id).select_related("host_carrier")
    for agreement in agreements.order_by("host_carrier__code", "-valid_until"):
        by_carrier.setdefault(agreement.host_carrier.code, []).append(agreement)
    states = []
    for carrier, rows in by_carrier.items():
        state, nearest = _nearest(rows, now=now)
        if nearest is not None:
            states.append(PaperState(state, nearest.contract_no, nearest.valid_until.isoformat(), carrier))
    return states


@dataclass(frozen=True, slots=True)
class EndingPaper:
    """A licence (`carrier` is empty) or agreement that ends, and that no later one continues."""

    kind: str
    uid: str
    operator: VirtualOperator
    number: str
    carrier: str
    # The first day on which it is not valid any more, and how many days are left until then.
    valid_until: date
    days_left: int


def list_ending_papers(*, actor: Actor, now: datetime, within_days: int) -> list[EndingPaper]:
    """Papers valid today that end within so many days, the first to end first; of all operators the actor may see.

    One that a later paper of the same kind takes over from without a gap does not end. Two queries.
    """
    today = china_date(now)
    until = today + timedelta(days=within_days)
    found = []
    for kind, papers in (
        ("licence", Licence.objects.visible_to(actor).filter(revoked_at=None)),
        ("agreement", WholesaleAgreement.objects.visible_to(actor).filter(terminated_at=None)),
    ):
        ending = papers.filter(valid_from__lte=today, valid_until__gt=today, valid_until__lte=until)
        same = {"operator_id": OuterRef("operator_id")}
        related = ["operator"]
        if kind == "agreement":
            same["host_carrier_id"] = OuterRef("host_carrier_id")
            related.append("host_carrier")
        next_one = papers.filter(
            **same, valid_from__lte=OuterRef("valid_until"), valid_until__gt=OuterRef("valid_until")
        )
        found += [
            EndingPaper(
                kind=kind,
                uid=paper.uid,
                operator=paper.operator,
                number=str(paper),
                carrier=paper.host_carrier.code if isinstance(paper, WholesaleAgreement) else "",
                valid_until=paper.valid_until,
                days_left=(paper.valid_until - today).days,
            )
            for paper in ending.filter(~Exists(next_one)).select_related(*related)
        ]
    return sorted(found, key=lambda paper: (paper.valid_until, paper.operator.code, paper.uid))


def _nearest(papers: Iterable[P], *, now: datetime, place: str | None = None) -> tuple[Validity, P | None]:
    found: list[tuple[Validity, P | None]] = [
        (paper.validity(now=now, place=place), paper) for paper in papers
    ]
    return min(found, key=lambda pair: _NEAREST.index(pair[0]), default=(Validity.NONE, None))

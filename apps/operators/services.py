"""Registering tenants and granting, ending and setting what they are allowed; every change with its audit row."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, TypeVar

from django.db import IntegrityError

from apps.audit import services as audit
from apps.core.actor import Actor
from apps.core.db import operation, violated_constraint
from apps.core.errors import NotFound
from apps.core.public_ids import get_by_uid
from apps.operators import territory
from apps.operators.errors import AlreadyEnded, AlreadyExists, TermInvalid
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
from apps.operators.policies import REGISTRY, PolicyKey
from apps.operators.selectors import require_dealer, require_valid_agreement, require_valid_licence
from apps.operators.states import LicenceKind, OperatorMode

__all__ = [
    "grant_licence",
    "open_sandbox",
    "register_access_code",
    "register_dealer",
    "register_document_type",
    "register_host_carrier",
    "register_operator",
    "require_dealer",
    "require_valid_agreement",
    "require_valid_licence",
    "revoke_licence",
    "set_policy",
    "sign_agreement",
    "suspend_dealer",
    "terminate_agreement",
]

R = TypeVar("R", HostCarrier, AccessCode, DocumentType)

# Rights of the actor: the first belongs to platform staff, the second to an operator's own admins too.
MANAGE_OPERATORS = "operators.manage"
MANAGE_DEALERS = "dealers.manage"


@operation
def register_host_carrier(*, actor: Actor, code: str, name: str, name_zh: str, now: datetime) -> HostCarrier:
    """Adds or renames a host carrier; idempotent."""
    actor.require(MANAGE_OPERATORS)
    return _register(
        HostCarrier, actor, now, "host_carrier", code=code, values={"name": name, "name_zh": name_zh}
    )


@operation
def register_access_code(
    *,
    actor: Actor,
    prefix: str,
    host_carrier: HostCarrier,
    resale_only: bool,
    source_note: str,
    now: datetime,
    digits: int = 11,
) -> AccessCode:
    """Adds leading digits and their host carrier, or changes what is known of them; idempotent.

    `digits` is the length of the numbers that begin with them: 11 for persons, 13 for machines.
    """
    actor.require(MANAGE_OPERATORS)
    values = {
        "host_carrier": host_carrier,
        "digits": digits,
        "resale_only": resale_only,
        "source_note": source_note,
    }
    return _register(AccessCode, actor, now, "access_code", prefix=prefix, values=values)


@operation
def register_document_type(
    *,
    actor: Actor,
    code: str,
    name: str,
    name_zh: str,
    holder_kind: str,
    number_format: str,
    check_rule: str,
    source_note: str,
    now: datetime,
) -> DocumentType:
    """Adds a kind of identity document or changes its description; idempotent."""
    actor.require(MANAGE_OPERATORS)
    values = {
        "name": name,
        "name_zh": name_zh,
        "holder_kind": holder_kind,
        "number_format": number_format,
        "check_rule": check_rule,
        "source_note": source_note,
    }
    return _register(DocumentType, actor, now, "document_type", code=code, values=values)


@operation
def register_operator(
    *,
    actor: Actor,
    code: str,
    name: str,
    name_zh: str,
    now: datetime,
    first_host: HostCarrier | None = None,
    source_note: str = "",
) -> VirtualOperator:
    """A new live tenant; it may do nothing before it has a licence and an agreement.

    :raises AlreadyExists: the code is taken.
    """
    actor.require(MANAGE_OPERATORS)
    operator = VirtualOperator(
        code=code,
        name=name,
        name_zh=name_zh,
        mode=OperatorMode.LIVE,
        first_host=first_host,
        source_note=source_note,
        created_at=now,
    )
    _insert(operator, "There is an operator with this code.")
    _audit_operator(actor, operator, "operator.register", now)
    return operator


@operation
def open_sandbox(*, actor: Actor, operator: VirtualOperator, now: datetime) -> VirtualOperator:
    """The test tenant of a live operator, named `<code>-test`; it gets licence and agreements of its own.

    :raises AlreadyExists: it has one.
    :raises TermInvalid: the operator is itself a sandbox.
    """
    actor.require(MANAGE_OPERATORS)
    if operator.mode != OperatorMode.LIVE:
        raise TermInvalid("A sandbox has no sandbox of its own.")
    sandbox = VirtualOperator(
        code=f"{operator.code}-test",
        name=f"{operator.name} (sandbox)",
        name_zh=f"{operator.name_zh}（测试）",
        mode=OperatorMode.TEST,
        sandbox_of=operator,
        created_at=now,
    )
    _insert(sandbox, "This operator has a sandbox already.")
    _audit_operator(actor, sandbox, "operator.open_sandbox", now)
    return sandbox


@operation
def grant_licence(
    *,
    actor: Actor,
    operator: VirtualOperator,
    number: str,
    kind: LicenceKind,
    valid_from: date,
    valid_until: date,
    areas: Sequence[str],
    now: datetime,
    source_note: str = "",
) -> Licence:
    """Records a licence for the days from `valid_from` up to, not including, `valid_until`, in these areas.

    :raises TermInvalid: an empty period or a malformed area. :raises AlreadyExists: recorded before.
    """
    actor.require(MANAGE_OPERATORS)
    _check_term(valid_from, valid_until, areas)
    licence = Licence(
        operator=operator,
        number=number,
        kind=kind,
        valid_from=valid_from,
        valid_until=valid_until,
        areas=list(areas),
        source_note=source_note,
        created_at=now,
    )
    _insert(licence, "This licence is recorded already.")
    audit.record(
        actor=actor,
        action="licence.grant",
        target_type="licence",
        target_id=licence.uid,
        operator_id=operator.pk,
        after={"number": number, "kind": kind, **_term(licence)},
        now=now,
    )
    return licence


@operation
def revoke_licence(*, actor: Actor, licence_uid: str, reason: str, now: datetime) -> Licence:
    """Ends a licence at once; what is being leased, reserved or activated from now on is refused.

    :raises NotFound: unknown or not visible. :raises AlreadyEnded: revoked before.
    """
    actor.require(MANAGE_OPERATORS)
    licence = get_by_uid(Licence.objects.visible_to(actor).select_for_update(), licence_uid)
    if licence.revoked_at is not None:
        raise AlreadyEnded("This licence was revoked before.")
    licence.revoke(now=now)
    audit.record(
        actor=actor,
        action="licence.revoke",
        target_type="licence",
        target_id=licence.uid,
        operator_id=licence.operator_id,
        before={"revoked_at": None},
        after={"revoked_at": now.isoformat()},
        reason=reason,
        now=now,
    )
    return licence


@operation
def sign_agreement(
    *,
    actor: Actor,
    operator: VirtualOperator,
    host_carrier: HostCarrier,
    contract_no: str,
    valid_from: date,
    valid_until: date,
    areas: Sequence[str],
    now: datetime,
    source_note: str = "",
) -> WholesaleAgreement:
    """Records the wholesale contract with a host carrier (MIIT notice of 2018-04-28: it names the territory).

    :raises TermInvalid: an empty period or a malformed area. :raises AlreadyExists: recorded before.
    """
    actor.require(MANAGE_OPERATORS)
    _check_term(valid_from, valid_until, areas)
    agreement = WholesaleAgreement(
        operator=operator,
        host_carrier=host_carrier,
        contract_no=contract_no,
        valid_from=valid_from,
        valid_until=valid_until,
        areas=list(areas),
        source_note=source_note,
        created_at=now,
    )
    _insert(agreement, "This contract is recorded already.")
    audit.record(
        actor=actor,
        action="agreement.sign",
        target_type="agreement",
        target_id=agreement.uid,
        operator_id=operator.pk,
        after={"contract_no": contract_no, "host_carrier": host_carrier.code, **_term(agreement)},
        now=now,
    )
    return agreement


@operation
def terminate_agreement(
    *, actor: Actor, agreement_uid: str, reason: str, now: datetime
) -> WholesaleAgreement:
    """Ends a contract at once; lines that run stay, new ones at this host carrier are refused.

    :raises NotFound: unknown or not visible. :raises AlreadyEnded: terminated before.
    """
    actor.require(MANAGE_OPERATORS)
    agreement = get_by_uid(WholesaleAgreement.objects.visible_to(actor).select_for_update(), agreement_uid)
    if agreement.terminated_at is not None:
        raise AlreadyEnded("This agreement was terminated before.")
    agreement.terminate(now=now)
    audit.record(
        actor=actor,
        action="agreement.terminate",
        target_type="agreement",
        target_id=agreement.uid,
        operator_id=agreement.operator_id,
        before={"terminated_at": None},
        after={"terminated_at": now.isoformat()},
        reason=reason,
        now=now,
    )
    return agreement


@operation
def register_dealer(
    *,
    actor: Actor,
    operator: VirtualOperator,
    code: str,
    name: str,
    valid_from: date,
    now: datetime,
    valid_until: date | None = None,
) -> Dealer:
    """Admits an agent of the operator; `valid_until` is exclusive, None leaves the end open.

    :raises TermInvalid: an empty period. :raises AlreadyExists: the code is taken. :raises NotFound: not visible.
    """
    actor.require(MANAGE_DEALERS)
    if not actor.sees(operator.pk):
        raise NotFound
    if valid_until is not None:
        _check_term(valid_from, valid_until, (territory.NATIONWIDE,))
    dealer = Dealer(
        operator=operator,
        code=code,
        name=name,
        valid_from=valid_from,
        valid_until=valid_until,
        created_at=now,
    )
    _insert(dealer, "There is a dealer with this code.")
    audit.record(
        actor=actor,
        action="dealer.register",
        target_type="dealer",
        target_id=dealer.uid,
        operator_id=operator.pk,
        after={"code": code, "valid_from": str(valid_from), "valid_until": str(valid_until or "")},
        now=now,
    )
    return dealer


@operation
def suspend_dealer(*, actor: Actor, dealer_uid: str, reason: str, now: datetime) -> Dealer:
    """Takes the dealer's permission at once (MIIT 2016: on the first offence).

    :raises NotFound: unknown or not visible. :raises AlreadyEnded: suspended before.
    """
    actor.require(MANAGE_DEALERS)
    dealer = get_by_uid(Dealer.objects.visible_to(actor).select_for_update(), dealer_uid)
    if dealer.suspended_at is not None:
        raise AlreadyEnded("This dealer was suspended before.")
    dealer.suspend(now=now)
    audit.record(
        actor=actor,
        action="dealer.suspend",
        target_type="dealer",
        target_id=dealer.uid,
        operator_id=dealer.operator_id,
        before={"suspended_at": None},
        after={"suspended_at": now.isoformat()},
        reason=reason,
        now=now,
    )
    return dealer


@operation
def set_policy(
    *,
    actor: Actor,
    operator: VirtualOperator | None,
    key: PolicyKey,
    value: Any,
    source_note: str,
    now: datetime,
    valid_from: datetime | None = None,
) -> Policy:
    """A new version of a policy for one operator, or of the default for all (None); in force at once unless dated.

    Only the very first default of a key may be dated back (to the day of its law): everything else would rewrite
    what was decided under the version before.

    :raises PolicyInvalid: wrong type or out of bounds. :raises TermInvalid: dated back.
    :raises AlreadyExists: a version with that very moment exists.
    """
    actor.require(MANAGE_OPERATORS)
    starts = valid_from or now
    if starts < now and (operator is not None or Policy.objects.filter(key=key).exists()):
        raise TermInvalid("A policy cannot start in the past.")
    read = REGISTRY[key].read(value)
    policy = Policy(
        operator=operator,
        key=key,
        value=list(read) if isinstance(read, tuple) else read,
        valid_from=starts,
        source_note=source_note,
        created_at=now,
    )
    _insert(policy, "A version of this policy starts at that moment already.")
    audit.record(
        actor=actor,
        action="policy.set",
        target_type="policy",
        target_id=key,
        operator_id=operator.pk if operator else None,
        after={"value": policy.value, "valid_from": starts.isoformat()},
        reason=source_note,
        now=now,
    )
    return policy


def _insert(row: Any, taken: str) -> None:
    try:
        row.save(force_insert=True)
    except IntegrityError as error:
        if violated_constraint(error) in _UNIQUE:
            raise AlreadyExists(taken) from None
        raise


_UNIQUE = frozenset(
    {
        "operators_virtualoperator_code_key",
        "operator_one_sandbox",
        "licence_once",
        "agreement_once",
        "dealer_code",
        "policy_version",
    }
)


def _register(
    model: type[R], actor: Actor, now: datetime, noun: str, *, values: dict[str, Any], **key: str
) -> R:
    """Inserts or updates a reference row and records what changed; silent when nothing did."""
    row, created = model._default_manager.get_or_create(**key, defaults=values)
    changed = {name: value for name, value in values.items() if created or getattr(row, name) != value}
    if not changed:
        return row
    if not created:
        for name, value in changed.items():
            setattr(row, name, value)
        row.save(update_fields=list(changed))
    audit.record(
        actor=actor,
        action=f"{noun}.register",
        target_type=noun,
        target_id=next(iter(key.values())),
        operator_id=None,
        after={
            name: value if isinstance(value, (str, int)) else str(value) for name, value in changed.items()
        },
        now=now,
    )
    return row


def _check_term(valid_from: date, valid_until: date, areas: Sequence[str]) -> None:
    if valid_until <= valid_from:
        raise TermInvalid("The period ends before it begins.")
    if not areas or not all(
        place == territory.NATIONWIDE or territory.is_well_formed(place) for place in areas
    ):
        raise TermInvalid("Areas are '*', a province, or 'province/city'.")


def _term(paper: Licence | WholesaleAgreement) -> dict[str, Any]:
    return {"valid_from": str(paper.valid_from), "valid_until": str(paper.valid_until), "areas": paper.areas}


def _audit_operator(actor: Actor, operator: VirtualOperator, action: str, now: datetime) -> None:
    audit.record(
        actor=actor,
        action=action,
        target_type="operator",
        target_id=operator.uid,
        operator_id=operator.pk,
        after={"code": operator.code, "mode": operator.mode},
        now=now,
    )

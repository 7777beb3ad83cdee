"""What a claimed job asks of the carrier, in the adapters' words."""

from __future__ import annotations

from apps.carriers.base import (
    Accepted,
    ActivateRequest,
    Adapter,
    ChangeNumberRequest,
    ChangePlanRequest,
    ChangeSimRequest,
    LineRequest,
    Outcome,
    QueryRequest,
    ResumeRequest,
    SuspendRequest,
    TerminateRequest,
    TransferRequest,
)
from apps.core.faults import sabotage
from apps.lines.selectors import Fittings
from apps.numbering.numbers import to_e164
from apps.provisioning.selectors import SendingFacts
from apps.provisioning.services.jobs import Claim
from apps.provisioning.states import AttemptKind, OrderType
from apps.subscribers.services import HolderIdentity

Request = LineRequest | QueryRequest

# What stands on a real-name check, and what tells the carrier who the holder is.
CHECKED = (OrderType.ACTIVATE, OrderType.CHANGE_SIM, OrderType.TRANSFER)
_NAMED = (OrderType.ACTIVATE, OrderType.TRANSFER)


def stands_on_check(claim: Claim) -> bool:
    return claim.kind is AttemptKind.SEND and claim.operation in CHECKED


def is_first_send(claim: Claim) -> bool:
    """The carrier certainly knows nothing of it yet."""
    return claim.kind is AttemptKind.SEND and claim.never_told


def names_holder(claim: Claim) -> bool:
    return claim.kind is AttemptKind.SEND and claim.operation in _NAMED


def build(claim: Claim, fittings: Fittings, facts: SendingFacts, holder: HolderIdentity | None) -> Request:
    """The same for every attempt at the job: the carrier compares it with what it had under this reference."""
    number = to_e164(claim.number)
    if claim.kind is AttemptKind.QUERY:
        return QueryRequest(reference=claim.reference, request_id=claim.request_id, number=number)
    line = {
        "reference": f"{claim.reference}{claim.token}"
        if sabotage("new_reference_per_attempt")
        else claim.reference,
        "request_id": claim.request_id,
        "number": number,
        "iccid": facts.restores_iccid or fittings.iccid,
    }
    match claim.operation, facts, holder:
        case OrderType.ACTIVATE, _, HolderIdentity():
            return ActivateRequest(
                **line,
                imsi=fittings.imsi,
                plan_code=facts.plan_code,
                holder_name=holder.name,
                document_type=holder.document_type,
                document_number=holder.document_number,
            )
        case OrderType.TRANSFER, _, HolderIdentity():
            return TransferRequest(
                **line,
                holder_name=holder.name,
                document_type=holder.document_type,
                document_number=holder.document_number,
            )
        case OrderType.SUSPEND, SendingFacts(suspension_kind=str() as kind), _:
            return SuspendRequest(**line, kind=kind.lower())
        case OrderType.RESUME, _, _:
            return ResumeRequest(**line)
        case OrderType.CHANGE_SIM, SendingFacts(new_iccid=str() as iccid), _:
            return ChangeSimRequest(**line, new_iccid=iccid, new_imsi=facts.new_imsi)
        case OrderType.CHANGE_NUMBER, SendingFacts(new_number=int() as new), _:
            return ChangeNumberRequest(**line, new_number=to_e164(new))
        case OrderType.CHANGE_PLAN, _, _:
            return ChangePlanRequest(**line, plan_code=facts.plan_code)
        case OrderType.TERMINATE, _, _:
            return TerminateRequest(**line, reason=facts.request_reason)
    raise TypeError(f"nothing to ask the carrier for {claim.operation}")


async def call(adapter: Adapter | None, request: Request | None) -> Accepted | Outcome:
    """Network. Raises what the adapter raises."""
    if adapter is None:
        raise TypeError("no adapter")
    match request:
        case ActivateRequest():
            return await adapter.activate(request)
        case SuspendRequest():
            return await adapter.suspend(request)
        case ResumeRequest():
            return await adapter.resume(request)
        case ChangeSimRequest():
            return await adapter.change_sim(request)
        case ChangeNumberRequest():
            return await adapter.change_number(request)
        case ChangePlanRequest():
            return await adapter.change_plan(request)
        case TransferRequest():
            return await adapter.transfer(request)
        case TerminateRequest():
            return await adapter.terminate(request)
        case QueryRequest():
            return await adapter.query(request)
    raise TypeError("no request")

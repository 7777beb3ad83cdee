"""What we ask of a host carrier, in our own words: the only page that an adapter and its callers share.

An adapter either returns one of the results below or raises one of the four errors, and the error alone
decides the next step. Which one to raise when: nothing was sent, or the carrier said "not now" in a
documented way -> `CarrierUnavailable`; a documented business refusal -> `CarrierRejected`; credentials or
format refused -> `CarrierMisconfigured`; everything else, whatever it looks like (time-out, reset, 5xx, HTML,
a wrong echo) -> `OutcomeUnknown`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Who we are at one carrier: a CarrierConnection with its secrets opened. Lives for one call or one batch
    of them.
    """

    base_url: str
    app_key: str
    secret: str = field(repr=False)
    callback_secret: str = field(repr=False)
    notify_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LineRequest:
    """An order on one line. `reference` is ours, 8 to 64 of [A-Za-z0-9_-], the same for the life of the job; `number`
    (E.164) and `iccid` are what the line has before the order; `request_id` is of the request that it all began with,
    so that the carrier's log and ours can be laid side by side.
    """

    reference: str
    number: str
    iccid: str
    request_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivateRequest(LineRequest):
    """Open a line for this holder. Document types are ours, the ten of the partner API."""

    imsi: str | None
    plan_code: str
    holder_name: str = field(repr=False)
    document_type: str
    document_number: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SuspendRequest(LineRequest):
    """Stop a line, or change how it is stopped: `one_way` cannot call, `two_way` cannot be called either."""

    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeRequest(LineRequest):
    """Put a suspended line back into service."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSimRequest(LineRequest):
    """Another card for the same number."""

    new_iccid: str
    new_imsi: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeNumberRequest(LineRequest):
    """Another number on the same card; answers about this order still name the old one."""

    new_number: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangePlanRequest(LineRequest):
    """Another plan from now on; what is to happen next month is sent next month."""

    plan_code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferRequest(LineRequest):
    """Another holder for the same line."""

    holder_name: str = field(repr=False)
    document_type: str
    document_number: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TerminateRequest(LineRequest):
    """Close a line for good. `reason` is one of ours: user_request, arrears, fraud, regulator."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryRequest:
    """What became of the order with this reference? With `number` given, the one that the order was sent with, an
    answer about another one is not believed.
    """

    reference: str
    number: str | None = None
    request_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinesRequest:
    """One page of the carrier's own view. `cursor` is empty, or `LinesPage.next` of the page before."""

    cursor: str = ""
    limit: int = 1000
    request_id: str = ""


class LineState(StrEnum):
    """What a line is at the carrier."""

    ACTIVE = "ACTIVE"
    SUSPENDED_ONE_WAY = "SUSPENDED_ONE_WAY"
    SUSPENDED_TWO_WAY = "SUSPENDED_TWO_WAY"
    TERMINATED = "TERMINATED"


@dataclass(frozen=True, slots=True)
class CarrierLine:
    """One line as the carrier has it: number in E.164, our plan code."""

    number: str
    iccid: str
    state: LineState
    plan_code: str


@dataclass(frozen=True, slots=True)
class LinesPage:
    """In an order of the carrier's; `next` is None on the last page. A line that is being opened is not in it yet; one
    that an order is changing is in it as it was.
    """

    lines: tuple[CarrierLine, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The carrier took the order; how it ends comes by callback or query."""

    carrier_reference: str


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The order is carried out."""

    carrier_reference: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """The carrier took the order and then refused it: final. `code` is ours, `carrier_code` as it came."""

    code: str
    detail: str
    carrier_code: str = ""
    carrier_reference: str = ""


@dataclass(frozen=True, slots=True)
class InProgress:
    """The carrier has the order and is not through with it."""

    carrier_reference: str


@dataclass(frozen=True, slots=True)
class NotFound:
    """The carrier knows no such reference: believed only after the connection's `settle_seconds`."""


Outcome = NotFound | InProgress | Succeeded | Rejected


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackMessage:
    """A callback whose signature, age and addressee were checked. `event_id` is the carrier's; it may come
    many times.
    """

    event_id: str
    reference: str
    carrier_reference: str
    outcome: Succeeded | Rejected
    number: str
    occurred_at: datetime


class CarrierError(Exception):
    """How a call to a carrier can fail. `code` is stable and ours, `detail` holds no personal data: both are
    kept.
    """

    code: str = "carrier_error"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class CarrierRejected(CarrierError):
    """A documented business refusal: final, a repetition would be refused again."""

    def __init__(self, code: str, detail: str, *, carrier_code: str = "") -> None:
        super().__init__(detail)
        self.code = code
        self.carrier_code = carrier_code


class CarrierUnavailable(CarrierError):
    """Certainly not accepted: try again with the same reference, after `retry_after` seconds when the carrier
    says so.
    """

    code = "carrier_unavailable"

    def __init__(self, detail: str, *, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class CarrierMisconfigured(CarrierError):
    """Certainly not accepted, and staff must mend something first: credentials, clock, format."""

    code = "carrier_misconfigured"


class OutcomeUnknown(CarrierError):
    """It may have been accepted or not: ask before doing anything else."""

    code = "carrier_outcome_unknown"


class CallbackForged(Exception):
    """The callback is not the carrier's, not fresh, or not for us: 401, and nothing is believed."""


class CallbackMalformed(CallbackForged):
    """Signed by the carrier, but not in its documented form: refused the same way, and worth a look."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: header names in lower case, the body whole and within the size limit."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Exchange(Protocol):
    """How adapters reach the network: with time limits, a size cap, no redirects. Built by `transport`."""

    async def post(self, url: str, *, content: bytes, headers: Mapping[str, str]) -> Reply:
        """Network.

        :raises CarrierUnavailable: not a byte of the request was written.
        :raises OutcomeUnknown: it was written, or may have been, and no whole answer came in time.
        """


class Adapter(ABC):
    """One dialect, stateless. What says "Network" is a coroutine for the event loop of `transport`, where hundreds of
    calls wait at once: begun there, or waited for with `transport.blocking`.
    """

    dialect: ClassVar[str]

    def __init__(self, *, account: Account, exchange: Exchange) -> None:
        self.account = account
        self.exchange = exchange

    @abstractmethod
    async def activate(self, request: ActivateRequest) -> Accepted | Succeeded:
        """Network. The same reference again is answered like the first time where the carrier deduplicates. So do the
        other seven that change a line.

        :raises CarrierError: one of the four; `document_type_not_accepted_by_carrier` before anything is sent.
        """

    @abstractmethod
    async def suspend(self, request: SuspendRequest) -> Accepted | Succeeded:
        """Network; as `activate`."""

    @abstractmethod
    async def resume(self, request: ResumeRequest) -> Accepted | Succeeded:
        """Network; as `activate`."""

    @abstractmethod
    async def change_sim(self, request: ChangeSimRequest) -> Accepted | Succeeded:
        """Network; as `activate`."""

    @abstractmethod
    async def change_number(self, request: ChangeNumberRequest) -> Accepted | Succeeded:
        """Network; as `activate`."""

    @abstractmethod
    async def change_plan(self, request: ChangePlanRequest) -> Accepted | Succeeded:
        """Network; as `activate`."""

    @abstractmethod
    async def transfer(self, request: TransferRequest) -> Accepted | Succeeded:
        """Network; as `activate`."""

    @abstractmethod
    async def terminate(self, request: TerminateRequest) -> Accepted | Succeeded:
        """Network; as `activate`."""

    @abstractmethod
    async def query(self, request: QueryRequest) -> Outcome:
        """Network. Changes nothing at the carrier.

        :raises CarrierError: any but CarrierRejected; all mean "ask again".
        """

    @abstractmethod
    async def list_lines(self, request: LinesRequest) -> LinesPage:
        """Network. One page of every line the carrier has under this account. Changes nothing.

        :raises CarrierError: any but CarrierRejected; a page with one unreadable row is no page.
        """

    @abstractmethod
    def parse_callback(self, headers: Mapping[str, str], raw_body: bytes, now: datetime) -> CallbackMessage:
        """No network, no database: verifies and reads.

        :raises CallbackForged: nothing in it may be believed; always, where the carrier sends none.
        """

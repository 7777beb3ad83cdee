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
class ActivateRequest:
    """Open a line. `reference` is ours, 8 to 64 of [A-Za-z0-9_-], the same for the life of the job; `number` is E.164;
    `request_id` is of the request that it all began with, so that the carrier's log and ours can be laid side by side.
    """

    reference: str
    number: str
    iccid: str
    imsi: str | None
    plan_code: str
    holder_name: str = field(repr=False)
    document_type: str
    document_number: str = field(repr=False)
    request_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TerminateRequest:
    """Close a line for good. `reason` is one of ours: user_request, arrears, fraud, regulator."""

    reference: str
    number: str
    iccid: str
    reason: str
    request_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryRequest:
    """What became of the order with this reference? With `number` given, an answer about another one is not
    believed.
    """

    reference: str
    number: str | None = None
    request_id: str = ""


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

    def post(self, url: str, *, content: bytes, headers: Mapping[str, str]) -> Reply:
        """Network.

        :raises CarrierUnavailable: not a byte of the request was written.
        :raises OutcomeUnknown: it was written, or may have been, and no whole answer came in time.
        """


class Adapter(ABC):
    """One dialect. Stateless and thread-safe; what says "Network" blocks, and refuses to run inside a
    transaction.
    """

    dialect: ClassVar[str]

    def __init__(self, *, account: Account, exchange: Exchange) -> None:
        self.account = account
        self.exchange = exchange

    @abstractmethod
    def activate(self, request: ActivateRequest) -> Accepted | Succeeded:
        """Network. The same reference again is answered like the first time where the carrier deduplicates.

        :raises CarrierError: one of the four.
        """

    @abstractmethod
    def terminate(self, request: TerminateRequest) -> Accepted | Succeeded:
        """Network; as `activate`."""

    @abstractmethod
    def query(self, request: QueryRequest) -> Outcome:
        """Network. Changes nothing at the carrier.

        :raises CarrierError: any but CarrierRejected; all mean "ask again".
        """

    @abstractmethod
    def parse_callback(self, headers: Mapping[str, str], raw_body: bytes, now: datetime) -> CallbackMessage:
        """No network, no database: verifies and reads.

        :raises CallbackForged: nothing in it may be believed.
        """

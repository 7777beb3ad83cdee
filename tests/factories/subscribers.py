"""People who do not exist: born 1900-01-01, sequence 000, told apart by area codes that follow each other."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from django.conf import settings
from stdnum.iso7064 import mod_11_2

from apps.core.actor import Actor
from apps.operators.calendar import china_date
from apps.operators.models import VirtualOperator
from apps.subscribers import services
from apps.subscribers.management import seeding
from apps.subscribers.models import ReverificationDemand, Subscriber, Verification, WatchListFile
from apps.subscribers.realname.documents import DocumentInput, DocumentType
from apps.subscribers.realname.providers.base import (
    AuthorityAnswer,
    Evidence,
    FaceAnswer,
    FaceVerdict,
    LivenessAnswer,
    Providers,
    ProviderUnavailable,
    Reply,
)
from apps.subscribers.services import PersonInput
from apps.subscribers.states import Channel, DemandReason

SYSTEM = Actor.system("tests")
BORN = date(1900, 1, 1)
# Tests that name an area code of their own stay below.
_areas = itertools.count(200_001)
_units = itertools.count(1)


def resident_number(area: str = "", *, born: date = BORN, sequence: str = "000") -> str:
    """A resident identity number with the right check digit; without an area code one not given out before."""
    body = f"{area or next(_areas)}{born:%Y%m%d}{sequence}"
    return body + mod_11_2.calc_check_digit(body)


def minor_number(now: datetime, *, area: str = "", years: int = 10) -> str:
    """Of somebody of that age, who by the default policies needs a guardian, and may have one."""
    return resident_number(area, born=date(china_date(now).year - years, 1, 1))


def fifteen_digits(number: str) -> str:
    """The same number as first-generation cards print it."""
    return number[:6] + number[8:17]


def document(number: str = "", **fields: Any) -> DocumentInput:
    return DocumentInput(type=DocumentType.RESIDENT_ID, number=number or resident_number(), **fields)


def registration(*, name: str = "张三丰", number: str = "", **fields: Any) -> dict[str, Any]:
    """The body of POST /subscribers."""
    return {
        "kind": "individual",
        "name": name,
        "document": {"type": "resident_id", "number": number or resident_number()},
        **fields,
    }


def given_notices(*, now: datetime) -> None:
    """The words of re-verifications, as the seeds bring them; may be called again."""
    seeding.load(folder=settings.BASE_DIR / "seeds", actor=SYSTEM, now=now)


def given_demand(*, subscriber: Subscriber, now: datetime, line_uid: str = "") -> ReverificationDemand:
    """The subscriber has to be verified again; `given_notices` has to come before."""
    return services.demand_reverification(
        actor=SYSTEM,
        subscriber_uid=subscriber.uid,
        line_uid=line_uid,
        reason=DemandReason.DISPUTE,
        note="somebody wrote a letter",
        now=now,
    )


def given_subscriber(
    *,
    operator: VirtualOperator,
    now: datetime,
    actor: Actor = SYSTEM,
    name: str = "张三丰",
    number: str = "",
    external_id: str = "",
    **fields: Any,
) -> Subscriber:
    """A registered person; `fields` are the document's."""
    subscriber, _ = services.register_individual(
        actor=actor,
        operator_id=operator.pk,
        name=name,
        document=document(number, **fields),
        external_id=external_id,
        now=now,
    )
    return subscriber


def given_minor(
    *, operator: VirtualOperator, now: datetime, number: str = "", actor: Actor = SYSTEM, **fields: Any
) -> Subscriber:
    """A registered child, with a guardian."""
    subscriber, _ = services.register_individual(
        actor=actor,
        operator_id=operator.pk,
        name="张三丰",
        document=document(number or minor_number(now)),
        now=now,
        **{"guardian": somebody(), **fields},
    )
    return subscriber


def uscc(unit: str = "") -> str:
    """A unified social credit code of nobody, with the right check character."""
    body = f"91000000{unit or next(_units):0>9}"
    alphabet = "0123456789ABCDEFGHJKLMNPQRTUWXY"
    total = sum(alphabet.index(character) * pow(3, place, 31) for place, character in enumerate(body))
    return body + alphabet[-total % 31]


def somebody(*, name: str = "钱七星", number: str = "", **fields: Any) -> PersonInput:
    """A person of age who stands for somebody else; `fields` are the document's."""
    return PersonInput(name=name, document=document(number, **fields))


def given_organization(
    *,
    operator: VirtualOperator,
    now: datetime,
    actor: Actor = SYSTEM,
    name: str = "某某（测试）有限公司",
    code: str = "",
    responsible: PersonInput | None = None,
    **fields: Any,
) -> Subscriber:
    subscriber, _ = services.register_organization(
        actor=actor,
        operator_id=operator.pk,
        name=name,
        document=DocumentInput(type=DocumentType.USCC, number=code or uscc()),
        responsible_person=responsible or somebody(),
        now=now,
        **fields,
    )
    return subscriber


def given_verified_organization(*, operator: VirtualOperator, now: datetime, **fields: Any) -> Subscriber:
    """A registered organization whose verification has just passed; without a letter, which policy must not ask."""
    subscriber = given_organization(operator=operator, now=now, **fields)
    given_verification(subscriber=subscriber, now=now)
    services.run_due_verifications(clock=lambda: now, providers=answering())
    return subscriber


def given_watch_list_file(
    *, now: datetime, operator: VirtualOperator | None = None, numbers: Sequence[str] = ()
) -> WatchListFile:
    """A file with these people, or somebody new, on the operator's list or the national one."""
    rows = "\n".join(
        f"resident_id,{number},cards sold,MPS,2090-01-01" for number in numbers or [resident_number()]
    )
    return services.import_watch_list(
        actor=SYSTEM,
        operator=operator,
        file_name="list.csv",
        content=f"document_type,number,reason,source,valid_until\n{rows}\n".encode(),
        now=now,
    )


def given_verification(
    *, subscriber: Subscriber, now: datetime, actor: Actor = SYSTEM, **fields: Any
) -> Verification:
    """A verification that waits for a worker."""
    return services.request_verification(
        actor=actor, subscriber_uid=subscriber.uid, channel=Channel.IN_STORE, now=now, **fields
    )


def given_verified_subscriber(*, operator: VirtualOperator, now: datetime, **fields: Any) -> Subscriber:
    """A registered person whose verification has just passed (as have all others that were due)."""
    subscriber = given_subscriber(operator=operator, now=now, **fields)
    given_verification(subscriber=subscriber, now=now)
    services.run_due_verifications(clock=lambda: now, providers=answering())
    return subscriber


@dataclass
class Authority:
    """An authority in memory that gives one answer, or none, and remembers how often it was asked."""

    answer: AuthorityAnswer | str = AuthorityAnswer.MATCH
    name: str = "authority"
    asked: list[dict[str, str]] = field(default_factory=list)

    def match(self, **question: str) -> Reply[AuthorityAnswer]:
        self.asked.append(question)
        if not isinstance(self.answer, AuthorityAnswer):
            raise ProviderUnavailable(self.answer, provider=self.name)
        return Reply(self.answer, self.name)


@dataclass
class Face:
    """A face match in memory, in the same way."""

    answer: FaceAnswer | str = FaceAnswer.MATCH
    liveness: LivenessAnswer = LivenessAnswer.LIVE
    name: str = "face"
    asked: list[dict[str, Any]] = field(default_factory=list)

    def match(self, *, document_number: str, evidence: Evidence, request_id: str) -> Reply[FaceVerdict]:
        self.asked.append(
            {"document_number": document_number, "evidence": evidence, "request_id": request_id}
        )
        if not isinstance(self.answer, FaceAnswer):
            raise ProviderUnavailable(self.answer, provider=self.name)
        return Reply(FaceVerdict(self.liveness, self.answer), self.name)


def answering(
    authority: AuthorityAnswer | str = AuthorityAnswer.MATCH, face: FaceAnswer | str = FaceAnswer.MATCH
) -> Providers:
    """Providers that always say the same; a plain text is the code of being unavailable."""
    return Providers(authority=Authority(authority), face=Face(face))

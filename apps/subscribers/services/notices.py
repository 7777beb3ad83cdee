"""What somebody is told at each step of a demand: words from the table, by operator and reason, in force that day."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from string import Formatter

from django.db.models import Q

from apps.audit import services as audit
from apps.core.actor import Actor
from apps.core.db import operation
from apps.core.errors import FieldError
from apps.operators.calendar import CHINA
from apps.operators.errors import TermInvalid
from apps.operators.models import VirtualOperator
from apps.operators.services import MANAGE_OPERATORS
from apps.subscribers import errors
from apps.subscribers.models import NoticeTemplate
from apps.subscribers.states import DemandReason, DemandStatus

WORDS = ("notice_zh", "notice_en", "remedy_zh", "remedy_en", "papers_zh", "papers_en")
LONGEST = 300
# What a text may name in braces: when the next step comes, and the last day of the document.
PLACES = frozenset({"due", "document_until"})


@operation
def set_notice_template(
    *,
    actor: Actor,
    operator: VirtualOperator | None,
    reason: DemandReason | None,
    status: DemandStatus,
    words: Mapping[str, str],
    source_note: str,
    now: datetime,
    valid_from: datetime | None = None,
) -> NoticeTemplate:
    """Another version of the words of a step, in force at once unless dated; without operator or reason for all others.

    Only the very first words of a step may be dated back, as of a policy.

    :raises Forbidden: without the right `operators.manage`. :raises TermInvalid: dated back.
    :raises NoticeInvalid: a text is missing, too long, or names in braces what is not among `PLACES`.
    """
    actor.require(MANAGE_OPERATORS)
    starts = valid_from or now
    earlier = NoticeTemplate.objects.filter(operator=operator, reason=reason or "", status=status)
    if starts < now and (operator is not None or earlier.exists()):
        raise TermInvalid("Words cannot start in the past.")
    faults = [
        FieldError(
            f"/{name}",
            errors.NoticeInvalid.code,
            f"1 to {LONGEST} characters; in braces only due and document_until.",
        )
        for name in WORDS
        if not _is_template(words.get(name, ""))
    ]
    if faults:
        raise errors.NoticeInvalid(errors=faults)
    row = NoticeTemplate.objects.create(
        operator=operator,
        reason=reason or "",
        status=status,
        valid_from=starts,
        source_note=source_note,
        created_at=now,
        **{name: words[name] for name in WORDS},
    )
    audit.record(
        actor=actor,
        action="notice_template.set",
        target_type="notice_template",
        target_id=f"{row.reason or '*'}/{status}",
        operator_id=operator.pk if operator else None,
        after={"valid_from": starts.isoformat()},
        now=now,
    )
    return row


@dataclass(frozen=True, slots=True)
class Notices:
    """The words in force for some operators at one moment."""

    _rows: Mapping[tuple[int | None, str, str], NoticeTemplate]

    @classmethod
    def of(cls, operator_ids: Collection[int], now: datetime) -> Notices:
        """One query for all of them."""
        rows = NoticeTemplate.objects.filter(
            Q(operator_id__in=operator_ids) | Q(operator_id=None), valid_from__lte=now
        ).order_by("valid_from")
        return cls({(row.operator_id, row.reason, row.status): row for row in rows})

    def words(
        self,
        *,
        operator_id: int,
        reason: str,
        status: str,
        due: datetime | None,
        document_until: date | None,
    ) -> dict[str, str]:
        """All texts of `WORDS`. :raises NoticeMissing: neither the operator nor the seeds have any for this step."""
        for key in ((operator_id, reason), (operator_id, ""), (None, reason), (None, "")):
            if row := self._rows.get((*key, status)):
                return {
                    name: getattr(row, name).format(**_places(name[-2:], due, document_until))
                    for name in WORDS
                }
        raise errors.NoticeMissing


def _places(language: str, due: datetime | None, document_until: date | None) -> dict[str, str]:
    if language == "zh":
        moment, day = "{0.year}年{0.month}月{0.day}日{0:%H:%M}", "{0.year}年{0.month}月{0.day}日"
        none = "（未登记）"
    else:
        moment, day, none = "{0:%Y-%m-%d %H:%M} (Beijing time)", "{0}", "an unknown date"
    return {
        "due": moment.format(due.astimezone(CHINA)) if due else none,
        "document_until": day.format(document_until) if document_until else none,
    }


def _is_template(text: str) -> bool:
    if not 1 <= len(text) <= LONGEST:
        return False
    try:
        named = [(name, how, form) for _, name, how, form in Formatter().parse(text) if name is not None]
    except ValueError:
        return False
    return all(name in PLACES and not how and not form for name, how, form in named)

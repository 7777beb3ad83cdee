"""The words of re-verifications: from the seeds, versioned, an operator's own before the default ones."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest

from apps.core.actor import Actor
from apps.core.errors import Forbidden
from apps.operators.errors import TermInvalid
from apps.operators.models import VirtualOperator
from apps.subscribers import services
from apps.subscribers.errors import NoticeInvalid, NoticeMissing
from apps.subscribers.models import NoticeTemplate
from apps.subscribers.services.notices import WORDS, Notices
from apps.subscribers.states import OPEN_DEMAND, DemandReason, DemandStatus
from tests.factories.subscribers import SYSTEM, given_notices
from tests.refusals import refused

pytestmark = pytest.mark.django_db

WARNED = DemandStatus.WARNED


def words(text: str = "Come by {due}") -> dict[str, str]:
    return dict.fromkeys(WORDS, text)


def told(operator: VirtualOperator, at: datetime, reason: str = "DISPUTE", status: str = "WARNED") -> str:
    return Notices.of({operator.pk}, at).words(
        operator_id=operator.pk, reason=reason, status=status, due=at, document_until=date(2090, 1, 2)
    )["notice_en"]


def set_words(now: datetime, **fields: object) -> NoticeTemplate:
    return services.set_notice_template(
        **{
            "actor": SYSTEM,
            "operator": None,
            "reason": None,
            "status": WARNED,
            "words": words(),
            "source_note": "for tests",
            "now": now,
            **fields,
        }
    )


def test_the_seeds_have_words_for_every_step(operator: VirtualOperator, now: datetime) -> None:
    given_notices(now=now)
    count = NoticeTemplate.objects.count()
    given_notices(now=now)
    assert NoticeTemplate.objects.count() == count
    notices = Notices.of({operator.pk}, now)
    longest = 0
    for reason in DemandReason:
        for status in DemandStatus:
            said = notices.words(
                operator_id=operator.pk,
                reason=reason,
                status=status,
                due=now,
                document_until=date(2090, 1, 2),
            )
            assert set(said) == set(WORDS)
            longest = max(
                longest, *(len(said[f"{name}_zh"]) + len(said[f"{name}_en"]) for name in ("notice", "remedy"))
            )
            if status in OPEN_DEMAND:
                # How to object, and where the appeal goes next.
                assert "12300" in said["remedy_zh"]
                assert "12300" in said["remedy_en"]
    # Both languages fit on a line's suspension.
    assert longest < 700


def test_whose_words_beat_whose(
    operator: VirtualOperator, other_operator: VirtualOperator, now: datetime
) -> None:
    with pytest.raises(NoticeMissing):
        told(operator, now)
    set_words(now, words=words("any"), valid_from=now - timedelta(days=9))
    assert told(operator, now) == "any"
    set_words(now, words=words("dispute"), reason=DemandReason.DISPUTE)
    assert (told(operator, now), told(operator, now, "ABNORMAL_USE")) == ("dispute", "any")
    set_words(now, words=words("ours"), operator=operator)
    assert (told(operator, now), told(other_operator, now)) == ("ours", "dispute")
    later = now + timedelta(days=1)
    set_words(now, words=words("ours, later"), operator=operator, valid_from=later)
    assert (told(operator, now), told(operator, later)) == ("ours", "ours, later")
    with pytest.raises(NoticeMissing):
        told(operator, now, status="TWO_WAY")


def test_what_may_stand_in_braces(operator: VirtualOperator, now: datetime) -> None:
    set_words(now, words=words("{document_until}"))
    assert told(operator, now) == "2090-01-02"


@pytest.mark.parametrize(
    "text",
    ["", "x" * 301, "{name}", "{due.year}", "{due!r}", "{due:>9999}", "{", "}", "{}", "{0}", "{due[0]}"],
)
def test_what_may_not(db: None, now: datetime, text: str) -> None:
    with refused(NoticeInvalid):
        set_words(now, words={**words(), "papers_zh": text})
    assert not NoticeTemplate.objects.exists()


def test_words_are_set_by_the_platform_and_never_in_the_past(operator_admin: Actor, now: datetime) -> None:
    with refused(Forbidden):
        set_words(now, actor=operator_admin)
    set_words(now)
    with refused(TermInvalid):
        set_words(now, valid_from=now - timedelta(days=1))

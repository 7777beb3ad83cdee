"""Each check's outcome and code, the order of the list, and what the findings amount to."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import date, timedelta

import pytest

from apps.subscribers.realname import checks
from apps.subscribers.realname.checks import Finding, Rules, Subject
from apps.subscribers.realname.providers.base import (
    AuthorityAnswer,
    Evidence,
    FaceAnswer,
    LivenessAnswer,
    Providers,
    Reply,
)
from apps.subscribers.states import CheckOutcome
from tests.factories.subscribers import Authority, Face, answering, resident_number

TODAY = date(2026, 11, 24)
RULES = Rules(
    accepted_document_types=frozenset({"resident_id"}),
    minimum_age=16,
    minimum_age_with_guardian=8,
    representative_age=18,
    proxy_channels=frozenset({"in_store"}),
    face_session_required=False,
    holder_limit=5,
)
SUBJECT = Subject(
    request_id="ver_x-1",
    name="阿卜杜拉•买买提",
    document_type="resident_id",
    document_number=resident_number("110101"),
    valid_from=None,
    valid_until=None,
    channel="IN_STORE",
    face_session="",
    dealer_may_act=None,
    places_filled=0,
    today=TODAY,
    rules=RULES,
)
NAMES = [
    "dealer_allowed",
    "document_type",
    "document_number",
    "document_validity",
    "minimum_age",
    "representative",
    "watch_list",
    "holder_limit",
    "authority_match",
    "representative_authority_match",
    "liveness",
    "face_match",
]


def test_the_list_and_its_order() -> None:
    findings = checks.run(SUBJECT, answering())

    assert [finding.name for finding in findings] == NAMES
    assert {(finding.outcome, finding.code) for finding in findings} == {(CheckOutcome.PASS, "ok")}
    assert [finding.provider for finding in findings] == [""] * 8 + ["authority", "", "face", "face"]
    assert checks.verdict(findings) == CheckOutcome.PASS


BROKEN = [
    (replace(SUBJECT, dealer_may_act=False), "dealer_allowed", "dealer_not_allowed"),
    (replace(SUBJECT, document_type="passport"), "document_type", "document_type_not_accepted"),
    (
        replace(SUBJECT, rules=replace(RULES, accepted_document_types=frozenset({"passport"}))),
        "document_type",
        "document_type_not_accepted",
    ),
    (replace(SUBJECT, document_number="11010519491231002Y"), "document_number", "document_invalid"),
    (replace(SUBJECT, document_number="110105194912310021"), "document_number", "document_invalid"),
    (replace(SUBJECT, valid_until=TODAY - timedelta(days=1)), "document_validity", "document_expired"),
    (replace(SUBJECT, valid_from=TODAY + timedelta(days=1)), "document_validity", "document_invalid"),
    (
        replace(SUBJECT, document_number=resident_number("110101", born=date(2010, 11, 25))),
        "minimum_age",
        "subscriber_under_age",
    ),
    (replace(SUBJECT, is_listed=True), "watch_list", "watchlisted"),
]


@pytest.mark.parametrize(("subject", "name", "code"), BROKEN, ids=[f"{row[1]}-{row[2]}" for row in BROKEN])
def test_checks_of_our_own_fail_before_anybody_is_asked(subject: Subject, name: str, code: str) -> None:
    providers = answering()

    findings = checks.run(subject, providers)

    assert findings[-1] == Finding(name, CheckOutcome.FAIL, code)
    assert [finding.name for finding in findings] == NAMES[: NAMES.index(name) + 1]
    assert checks.verdict(findings) == CheckOutcome.FAIL
    assert providers.authority.asked == providers.face.asked == []  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "subject",
    [
        replace(SUBJECT, dealer_may_act=True),
        replace(SUBJECT, places_filled=5),
        replace(SUBJECT, places_filled=None, rules=RULES.for_exempt()),
        replace(SUBJECT, valid_until=TODAY, valid_from=TODAY),
        replace(SUBJECT, document_number=resident_number("110101", born=date(2010, 11, 24))),
        replace(SUBJECT, rules=replace(RULES, face_session_required=True), face_session="fs-1"),
    ],
)
def test_what_is_just_good_enough(subject: Subject) -> None:
    assert checks.verdict(checks.run(subject, answering())) == CheckOutcome.PASS


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (AuthorityAnswer.NAME_MISMATCH, "name_mismatch"),
        (AuthorityAnswer.NOT_FOUND, "document_unknown"),
        (AuthorityAnswer.DOCUMENT_VOID, "document_void"),
    ],
)
def test_the_authority_says_no_and_no_face_is_sent(answer: AuthorityAnswer, code: str) -> None:
    providers = answering(answer)

    findings = checks.run(SUBJECT, providers)

    assert findings[-1] == Finding("authority_match", CheckOutcome.FAIL, code, "authority")
    assert checks.verdict(findings) == CheckOutcome.FAIL
    assert providers.face.asked == []  # type: ignore[attr-defined]


def test_the_authority_gets_the_canonical_name() -> None:
    providers = answering()

    checks.run(SUBJECT, providers)

    assert providers.authority.asked == [  # type: ignore[attr-defined]
        {
            "name": "阿卜杜拉·买买提",
            "document_type": "resident_id",
            "document_number": SUBJECT.document_number,
            "request_id": "ver_x-1",
        }
    ]
    assert providers.face.asked == [  # type: ignore[attr-defined]
        {
            "document_number": SUBJECT.document_number,
            "evidence": Evidence(channel="in_store"),
            "request_id": "ver_x-1",
        }
    ]


@pytest.mark.parametrize(
    ("answer", "outcome", "code"),
    [
        (FaceAnswer.MISMATCH, CheckOutcome.FAIL, "face_mismatch"),
        (FaceAnswer.UNCERTAIN, CheckOutcome.REVIEW, "face_uncertain"),
    ],
)
def test_the_face_is_another_or_in_doubt(answer: FaceAnswer, outcome: CheckOutcome, code: str) -> None:
    findings = checks.run(SUBJECT, answering(face=answer))

    assert findings[-1] == Finding("face_match", outcome, code, "face")
    assert checks.verdict(findings) == outcome


def test_a_missing_face_session_fails_where_policy_wants_one() -> None:
    providers = answering()

    findings = checks.run(replace(SUBJECT, rules=replace(RULES, face_session_required=True)), providers)

    assert findings[-1] == Finding("liveness", CheckOutcome.FAIL, "evidence_missing")
    assert providers.face.asked == []  # type: ignore[attr-defined]


WANTED = replace(RULES, face_session_required=True)


@pytest.mark.parametrize(
    ("channel", "reader", "has_photo", "enough"),
    [
        ("IN_STORE", "R-1", True, True),
        ("IN_STORE", "", True, False),
        ("IN_STORE", "R-1", False, False),
        ("ONLINE_VIDEO", "R-1", True, False),
    ],
)
def test_a_counter_shows_the_person_with_reader_and_photo(
    channel: str, reader: str, has_photo: bool, enough: bool
) -> None:
    providers = answering()
    subject = replace(
        SUBJECT, channel=channel, reader=reader, photo=(lambda: b"jpeg") if has_photo else None, rules=WANTED
    )

    findings = checks.run(subject, providers)

    if not enough:
        assert findings[-1] == Finding("liveness", CheckOutcome.FAIL, "evidence_missing")
        return
    assert checks.verdict(findings) == CheckOutcome.PASS
    (asked,) = providers.face.asked  # type: ignore[attr-defined]
    assert asked["evidence"] == Evidence(channel="in_store", reader="R-1", photo=b"jpeg")


@pytest.mark.parametrize(
    ("liveness", "outcome", "code"),
    [
        (LivenessAnswer.NOT_LIVE, CheckOutcome.FAIL, "not_live"),
        (LivenessAnswer.UNCERTAIN, CheckOutcome.REVIEW, "liveness_uncertain"),
    ],
)
def test_a_picture_of_a_person_is_no_person(
    liveness: LivenessAnswer, outcome: CheckOutcome, code: str
) -> None:
    findings = checks.run(SUBJECT, Providers(authority=Authority(), face=Face(liveness=liveness)))

    assert findings[10] == Finding("liveness", outcome, code, "face")
    assert checks.verdict(findings) == outcome


def test_a_listed_person_is_reviewed_where_policy_says_so() -> None:
    findings = checks.run(
        replace(SUBJECT, is_listed=True, rules=replace(RULES, watchlist_to_review=True)), answering()
    )

    assert findings[6] == Finding("watch_list", CheckOutcome.REVIEW, "watchlisted")
    assert checks.verdict(findings) == CheckOutcome.REVIEW


@pytest.mark.parametrize(
    ("filled", "outcome", "code"),
    [
        (4, CheckOutcome.PASS, "ok"),
        (5, CheckOutcome.PASS, "holder_limit_full"),
        (6, CheckOutcome.REVIEW, "holder_limit_exceeded"),
        (None, CheckOutcome.UNAVAILABLE, "holder_count_unknown"),
    ],
)
def test_places_of_the_holder_limit(filled: int | None, outcome: CheckOutcome, code: str) -> None:
    findings = checks.run(replace(SUBJECT, places_filled=filled), answering())

    assert findings[7] == Finding("holder_limit", outcome, code)
    assert checks.verdict(findings) == outcome


@pytest.mark.parametrize("code", ["provider_unavailable", "provider_refused_us", "provider_answer_invalid"])
def test_no_answer_is_never_a_pass(code: str) -> None:
    authority = checks.run(SUBJECT, answering(code))
    face = checks.run(SUBJECT, answering(face=code))

    assert authority[-1] == Finding("authority_match", CheckOutcome.UNAVAILABLE, code, "authority")
    assert face[-1] == Finding("liveness", CheckOutcome.UNAVAILABLE, code, "face")
    assert checks.verdict(authority) == checks.verdict(face) == CheckOutcome.UNAVAILABLE


def test_a_crash_of_ours_holds_back_and_says_nothing_personal(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Authority):
        def match(self, **question: str) -> Reply[AuthorityAnswer]:
            raise RuntimeError(f"cannot ask about {question}")

    with caplog.at_level(logging.DEBUG):
        findings = checks.run(SUBJECT, Providers(authority=Broken(), face=Face()))

    assert findings[-1] == Finding("authority_match", CheckOutcome.UNAVAILABLE, "check_crashed")
    assert checks.verdict(findings) == CheckOutcome.UNAVAILABLE
    assert [record.__dict__["error"] for record in caplog.records] == ["RuntimeError"]
    assert SUBJECT.document_number not in caplog.text


def test_an_answer_nobody_has_a_rule_for_holds_back() -> None:
    class New(Authority):
        def match(self, **question: str) -> Reply[AuthorityAnswer]:
            return Reply("match, probably", "new")  # type: ignore[arg-type]

    findings = checks.run(SUBJECT, Providers(authority=New(), face=Face()))

    assert checks.verdict(findings) == CheckOutcome.UNAVAILABLE


FULL = tuple(Finding(name, CheckOutcome.PASS, "ok") for name in NAMES)


@pytest.mark.parametrize(
    ("findings", "verdict"),
    [
        (FULL, CheckOutcome.PASS),
        ((), CheckOutcome.UNAVAILABLE),
        (FULL[:-1], CheckOutcome.UNAVAILABLE),
        (FULL[1:], CheckOutcome.UNAVAILABLE),
        (FULL[::-1], CheckOutcome.UNAVAILABLE),
        ((*FULL, Finding("more", CheckOutcome.REVIEW, "x")), CheckOutcome.REVIEW),
        (
            (*FULL, Finding("a", CheckOutcome.REVIEW, "x"), Finding("b", CheckOutcome.UNAVAILABLE, "x")),
            CheckOutcome.UNAVAILABLE,
        ),
        (
            (Finding("a", CheckOutcome.UNAVAILABLE, "x"), Finding("b", CheckOutcome.FAIL, "x")),
            CheckOutcome.FAIL,
        ),
    ],
)
def test_only_a_whole_list_of_passes_passes(findings: tuple[Finding, ...], verdict: CheckOutcome) -> None:
    assert checks.verdict(findings) == verdict


def test_the_subject_prints_nothing_personal() -> None:
    assert SUBJECT.document_number not in repr(SUBJECT)
    assert SUBJECT.name not in repr(SUBJECT)

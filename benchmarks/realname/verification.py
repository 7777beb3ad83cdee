"""The local part of a verification: everything from asking for it to the recorded pass, but the providers."""

from __future__ import annotations

import statistics
import time
from datetime import datetime, timedelta

from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.core.actor import Actor
from apps.core.db import database_now
from apps.operators.models import VirtualOperator
from apps.subscribers import services
from apps.subscribers.models import Subscriber
from apps.subscribers.realname.providers.base import (
    AuthorityAnswer,
    Evidence,
    FaceAnswer,
    FaceVerdict,
    LivenessAnswer,
    Providers,
    Reply,
)
from apps.subscribers.states import Channel
from benchmarks.realname.crypto import number
from benchmarks.report import Report

GOAL_MS = 15.0
LISTED = 20_000
ACTOR = Actor.system("benchmark")


class _Authority:
    """Says yes in no time: what a provider takes is not measured here."""

    name = "authority"

    def match(
        self, *, name: str, document_type: str, document_number: str, request_id: str
    ) -> Reply[AuthorityAnswer]:
        return Reply(AuthorityAnswer.MATCH, self.name)


class _Face:
    name = "face"

    def match(self, *, document_number: str, evidence: Evidence, request_id: str) -> Reply[FaceVerdict]:
        return Reply(FaceVerdict(LivenessAnswer.LIVE, FaceAnswer.MATCH), self.name)


PROVIDERS = Providers(authority=_Authority(), face=_Face())


def list_many(*, now: datetime) -> None:
    """A national watch-list of other people, as long as one may be."""
    until = (now + timedelta(days=700)).date()
    rows = "\n".join(f"resident_id,{number(500_000 + each)},cards sold,MPS,{until}" for each in range(LISTED))
    content = f"document_type,number,reason,source,valid_until\n{rows}\n".encode()
    services.import_watch_list(actor=ACTOR, operator=None, file_name="many.csv", content=content, now=now)
    while services.apply_listings(actor=ACTOR, now=now):
        pass
    # What autovacuum, which is off here, would have done long ago: without it nothing is known of the tables.
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")


def measure(report: Report, *, operator: VirtualOperator, many: int) -> None:
    """One client, one after the other, over people who are all different."""
    uids = list(
        Subscriber.objects.filter(operator=operator).order_by("id").values_list("uid", flat=True)[:many]
    )
    warm, uids = uids[: len(uids) // 10], uids[len(uids) // 10 :]
    for uid in warm:
        _verify(uid)
    report.say(f"  {LISTED:,} people on the watch-list; 2 commits and these queries for one verification:")
    with CaptureQueriesContext(connection) as queries:
        _verify(uids.pop())
    report.add("queries of one verification, begin and commit included", len(queries), "queries")
    took = sorted(_verify(uid) for uid in uids)
    parts = statistics.quantiles(took, n=100)
    report.add("local part of a verification, p50", parts[49], "ms")
    report.add("local part of a verification, p99", parts[98], "ms", goal=GOAL_MS, at_most=True)
    report.add("local part of a verification, the slowest", took[-1], "ms")


def _verify(uid: str) -> float:
    """Milliseconds from the request to the recorded pass."""
    started = time.perf_counter()
    services.request_verification(
        actor=ACTOR,
        subscriber_uid=uid,
        channel=Channel.ONLINE_VIDEO,
        face_session=f"fs-{uid}",
        now=database_now(),
    )
    claims = services.claim_due_verifications(now=database_now(), limit=1)
    for claim, findings in services.run_checks(claims=claims, providers=PROVIDERS):
        row = services.record_verification(actor=ACTOR, claim=claim, findings=findings, now=database_now())
        if row is None or row.status != "PASSED":
            raise SystemExit(f"{uid} did not pass: {findings}")
    return (time.perf_counter() - started) * 1000

"""F09 and F10: what carriers say twice, late, backwards; and what somebody else says in their name."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2

from apps.carriers.adapters.unicom import SIGNATURE_HEADER, TIMESTAMP_HEADER, sign
from apps.carriers.models import CarrierConnection
from tests.faults.client import Client, activations
from tests.faults.report import Run
from tests.faults.rig import Place, Rig, drain, query
from tests.faults.storm import finish, running
from tests.simulator import callback_secret_for

ORDERS = 300
# The slowest of a hundred answers to a callback, on a machine that does everything else as well.
SLOWEST_P99_SECONDS = 0.5


def repeated_and_out_of_order(found: Place, seed: int) -> list[Run]:
    """Told early, late, three times and shuffled; afterwards every message comes thrice more, backwards."""
    run = Run("F09 callbacks", seed, {"orders": ORDERS})
    with _unicom(found, run, seed, callbacks="mixed") as (rig, client):
        before = _states()
        messages = [_message(entry) for entry in reversed(rig.ledger())]
        seconds, answers = [], Counter[int]()
        with httpx2.Client(base_url=found.web_url, trust_env=False, timeout=10) as http:
            for connection, body in [message for message in messages for _ in range(3)]:
                at = time.monotonic()
                answers[_post(http, connection, json.dumps(body).encode()).status_code] += 1
                seconds.append(time.monotonic() - at)
            # The opposite of what is final, by the carrier itself.
            for connection, body in messages[:50]:
                other = body | {
                    "event_id": f"{body['event_id']}-not",
                    "result": "REFUSED",
                    "reason_code": "UC-2001",
                }
                answers[_post(http, connection, json.dumps(other).encode()).status_code] += 1
        drain(rig, seconds=30)
        finish(run, rig, client, within=30)
        [[conflicts]] = query("SELECT count(*) FROM provisioning_carriercallback WHERE outcome = 'CONFLICT'")
        after = _states()
    p99 = sorted(seconds)[int(len(seconds) * 0.99)]
    run.measured = [
        (f"every message is answered with 200: {dict(answers)}", set(answers) == {200}),
        ("no state has moved", after == before),
        (f"contradictions are kept for staff: {conflicts} of 50", conflicts >= 50),
        (f"p99 of the answer {p99 * 1000:.0f} ms", p99 <= SLOWEST_P99_SECONDS),
    ]
    run.counts["callbacks sent again"] = len(seconds)
    run.minima = {"callbacks sent again": ORDERS * 2, "callbacks in conflict or unmatched": 50}
    return [run]


EACH = 100
_STORED = "SELECT outcome, count(*) FROM provisioning_carriercallback GROUP BY 1"


def forged(found: Place, seed: int) -> list[Run]:
    """No signature, a wrong one, another carrier's key, an old one, a flipped byte, another operator's order."""
    run = Run("F10 forged callbacks", seed, {"each": EACH})
    with _unicom(found, run, seed, callbacks="none", callback_delay_ms=60_000) as (rig, client):
        answers: dict[str, Counter[int]] = {}
        with httpx2.Client(base_url=found.web_url, trust_env=False, timeout=10) as http:
            entries = rig.ledger()[:EACH]
            for entry in entries:
                for kind, (connection, body, headers) in _forgeries(entry, entries):
                    answer = http.post(f"/carrier/callbacks/{connection.uid}", content=body, headers=headers)
                    answers.setdefault(kind, Counter())[answer.status_code] += 1
        rig.knobs(callback_delay_ms=0)
        finish(run, rig, client, within=120)
        stored = dict(query(_STORED))
        [[moved]] = query("SELECT count(*) FROM audit_auditevent WHERE actor_kind = 'CARRIER'")
    # Genuinely signed, but for a job of somebody else's: stored, since the carrier said it, and never applied.
    honest = {"another operator's order"}
    run.measured = [
        # The simulator calls back about nothing here: whatever a callback moves, a forgery has moved.
        (f"nothing has moved on the word of a callback: {moved}", moved == 0),
        (f"none of them is applied: {stored}", set(stored) == {"UNMATCHED"}),
        *(
            (f"{kind}: {dict(counts)}", set(counts) == ({200} if kind in honest else {401}))
            for kind, counts in answers.items()
        ),
    ]
    run.counts["forgeries"] = sum(sum(counts.values()) for counts in answers.values())
    run.minima = {"forgeries": EACH * 6}
    return [run]


def _forgeries(
    entry: dict[str, Any], entries: list[dict[str, Any]]
) -> Iterator[tuple[str, tuple[CarrierConnection, bytes, dict[str, str]]]]:
    connection, content = _message(entry)
    body = json.dumps(content).encode()
    secret = callback_secret_for(connection.app_key)
    now = int(time.time())
    stranger = next(other for other in entries if other["app_key"] != entry["app_key"])
    good = _headers(secret, now, body)
    yield "no signature", (connection, body, {TIMESTAMP_HEADER: str(now)})
    yield "bad signature", (connection, body, good | {SIGNATURE_HEADER: "0" * len(good[SIGNATURE_HEADER])})
    other_secret = callback_secret_for(stranger["app_key"])
    yield "another account's key", (connection, body, _headers(other_secret, now, body))
    yield "old", (connection, body, _headers(secret, now - 3600, body))
    flipped = body.replace(b'"DONE"', b'"D0NE"')
    yield "flipped byte", (connection, flipped, good)
    foreign = json.dumps(
        content | {"serial": stranger["reference"], "event_id": f"X{entry['order_no']}"}
    ).encode()
    yield "another operator's order", (connection, foreign, _headers(secret, now, foreign))


@contextmanager
def _unicom(found: Place, run: Run, seed: int, **knobs: Any) -> Iterator[tuple[Rig, Client]]:
    """Orders over unicom alone, the carrier that calls back: all placed, and all through if it tells of them."""
    rng = random.Random(seed)
    with running(
        found,
        run=run,
        rng=rng,
        orders=ORDERS,
        carriers=("unicom",),
        connection={"callback_wait_seconds": 20.0},
    ) as (rig, stock):
        usual = {"latency_ms": 30, "callback_delay_ms": 200, "late_by_ms": 4000, "seed": seed}
        rig.knobs(carrier="unicom", **usual | knobs)
        client = Client(
            found.web_url,
            activations(stock.shops, count=ORDERS, rng=rng, twice_rate=0.0),
            per_second=20,
            rng=random.Random(seed + 1),
        )
        client.start()
        until, is_told = time.monotonic() + 120, knobs["callbacks"] != "none"
        while not (client.is_done and (not is_told or _at_rest())) and time.monotonic() < until:
            rig.watch()
            time.sleep(0.2)
        yield rig, client


def _at_rest() -> bool:
    """Every job is through and every callback applied."""
    [[jobs]] = query("SELECT count(*) FROM provisioning_activationjob WHERE status <> 'SUCCEEDED'")
    [[callbacks]] = query("SELECT count(*) FROM provisioning_carriercallback WHERE applied_at IS NULL")
    return bool(jobs + callbacks == 0)


def _states() -> list[Any]:
    return [
        query(f"SELECT status, count(*) FROM {table} GROUP BY 1 ORDER BY 1")
        for table in ("provisioning_serviceorder", "provisioning_activationjob", "lines_line", "sims_simcard")
    ]


_connections: dict[str, CarrierConnection] = {}


def _message(entry: dict[str, Any]) -> tuple[CarrierConnection, dict[str, Any]]:
    """What the carrier says about an order of its ledger."""
    app_key = entry["app_key"]
    if app_key not in _connections:
        _connections[app_key] = CarrierConnection.objects.get(app_key=app_key)
    body = {
        "event_id": f"EV{entry['order_no']}",
        "app_key": app_key,
        "serial": entry["reference"],
        "order_no": entry["order_no"],
        "number": entry["number"],
        "result": "DONE",
        "finished_at": entry["at"],
    }
    return _connections[app_key], body


def _headers(secret: str, timestamp: int, body: bytes) -> dict[str, str]:
    return {
        "Content-Type": "application/json",
        TIMESTAMP_HEADER: str(timestamp),
        SIGNATURE_HEADER: sign(secret=secret, timestamp=str(timestamp), body=body),
    }


def _post(http: httpx2.Client, connection: CarrierConnection, body: bytes) -> httpx2.Response:
    secret = callback_secret_for(connection.app_key)
    headers = _headers(secret, int(time.time()), body)
    return http.post(f"/carrier/callbacks/{connection.uid}", content=body, headers=headers)

"""The simulator as the outside truth: what it accepted survives everything, and what it is told to do wrong
it does.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from apps.carriers.adapters.unicom import UnicomAdapter
from apps.carriers.base import Account, ActivateRequest, CarrierError, OutcomeUnknown, QueryRequest, Succeeded
from apps.carriers.transport import Transport
from apps.core import clock
from tests.carriers.conftest import Blocking
from tests.contracts.conftest import CallbackInbox
from tests.simulator import (
    REALNAME_TOKEN,
    ROOT,
    callback_secret_for,
    http,
    read_ledger,
    read_state,
    reset,
    secret_for,
    set_knobs,
    start_simulator,
    stop_simulator,
    wait_for_result,
)

APP_KEY = "simulator-tests"


@pytest.fixture
def open_adapter(make_transport: Callable[..., Transport]) -> Callable[..., Blocking]:
    def make(
        base_url: str, notify_url: str = "http://127.0.0.1:9/nobody", *, total_seconds: float = 20.0
    ) -> Blocking:
        account = Account(
            base_url=f"{base_url}/unicom",
            app_key=APP_KEY,
            secret=secret_for(APP_KEY),
            callback_secret=callback_secret_for(APP_KEY),
            notify_url=notify_url,
        )
        return Blocking(UnicomAdapter(account=account, exchange=make_transport(total_seconds=total_seconds)))

    return make


OpenAdapter = Callable[..., Blocking]


def _activation(n: int, *, reference: str | None = None) -> ActivateRequest:
    return ActivateRequest(
        reference=reference or uuid.uuid4().hex,
        number=f"+86{17090000000 + n}",
        iccid=f"89860119{n:07d}0000",
        imsi=None,
        plan_code="U-FREE-19",
        holder_name="测试用户",
        document_type="resident_id",
        document_number="110105190001010001",
    )


Kill = Callable[[], None]
Launch = Callable[[], tuple[Kill, str]]


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger.jsonl"


@pytest.fixture
def launch(ledger: Path) -> Iterator[Launch]:
    """Starts a simulator on `ledger`; gives its kill -9 and its base url. None outlives the test."""
    processes = []

    def start() -> tuple[Kill, str]:
        process, base_url = start_simulator(ledger=ledger)
        processes.append(process)

        def kill() -> None:
            process.kill()
            process.wait()

        return kill, base_url

    yield start
    for process in processes:
        stop_simulator(process)


def test_ledger_survives_kill_and_owed_callbacks_are_sent_after_the_restart(
    open_adapter: OpenAdapter, launch: Launch, inbox: CallbackInbox
) -> None:
    inbox.answer = lambda _: 503
    kill, base_url = launch()
    request = _activation(1)
    accepted = open_adapter(base_url, inbox.url).activate(request)
    inbox.wait_for(1)
    kill()
    unheard = len(inbox.received)
    inbox.answer = lambda _: 200

    _, base_url = launch()

    adapter = open_adapter(base_url, inbox.url)
    [entry] = read_ledger(base_url)
    assert (entry["reference"], entry["order_no"]) == (request.reference, accepted.carrier_reference)
    assert adapter.activate(request) == accepted
    callback = inbox.wait_for(unheard + 1)[-1]
    message = adapter.parse_callback(callback.headers, callback.body, clock.now())
    assert message.outcome == Succeeded(accepted.carrier_reference)
    assert adapter.query(QueryRequest(reference=request.reference)) == message.outcome


def test_confirmed_callbacks_are_not_sent_again_by_a_restart(
    open_adapter: OpenAdapter, launch: Launch, ledger: Path, inbox: CallbackInbox
) -> None:
    kill, base_url = launch()
    open_adapter(base_url, inbox.url).activate(_activation(1))
    inbox.wait_for(1)
    until = time.monotonic() + 5
    while b'"told"' not in ledger.read_bytes() and time.monotonic() < until:
        time.sleep(0.02)
    kill()

    _, base_url = launch()

    time.sleep(0.3)
    assert len(inbox.received) == 1
    assert read_state(base_url)["counts"].get("callbacks_sent", 0) == 0


def test_a_line_torn_by_a_kill_is_dropped_and_the_file_goes_on(
    open_adapter: OpenAdapter, launch: Launch, ledger: Path
) -> None:
    kill, base_url = launch()
    open_adapter(base_url).activate(_activation(1))
    kill()
    with ledger.open("ab") as file:
        file.write(b'{"kind":"order","n":2,"at":17')

    kill, base_url = launch()

    open_adapter(base_url).activate(_activation(2))
    assert [entry["n"] for entry in read_ledger(base_url)] == [1, 2]
    kill()
    assert [json.loads(line)["n"] for line in ledger.read_text().splitlines() if '"order"' in line] == [1, 2]


@pytest.mark.parametrize(
    ("environment", "content", "says"),
    [({}, "", "CARRIER_SIM_SECRET: missing"), ({"CARRIER_SIM_SECRET": "x"}, "nonsense\n", "not an entry")],
)
def test_a_start_that_cannot_work_says_so_in_one_line(
    ledger: Path, environment: dict[str, str], content: str, says: str
) -> None:
    ledger.write_text(content)
    clean = {name: value for name, value in os.environ.items() if name != "CARRIER_SIM_SECRET"}

    ended = subprocess.run(
        [sys.executable, "-m", "apps.carrier_sim", "--port", "0", "--ledger", str(ledger)],
        cwd=ROOT,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert ended.returncode == 2
    assert says in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_the_ledger_holds_nobody(open_adapter: OpenAdapter, launch: Launch, ledger: Path) -> None:
    _, base_url = launch()
    open_adapter(base_url).activate(_activation(1))

    for text in (ledger.read_text(encoding="utf-8"), json.dumps(read_ledger(base_url), ensure_ascii=False)):
        assert "测试用户" not in text
        assert "110105190001010001" not in text
    assert oct(ledger.stat().st_mode & 0o777) == "0o600"


def test_five_hundred_calls_at_once(open_adapter: OpenAdapter, simulator: str) -> None:
    set_knobs(simulator, latency_ms=4000, callbacks="none")
    adapter = open_adapter(simulator)

    with ThreadPoolExecutor(500) as threads:
        answers = list(threads.map(lambda n: adapter.activate(_activation(n)), range(500)))

    assert len(set(answers)) == 500
    assert len(read_ledger(simulator)) == 500
    assert read_state(simulator)["counts"]["most_in_flight"] == 500


def test_a_seed_decides_the_fate_of_each_reference_whatever_the_order(
    open_adapter: OpenAdapter, simulator: str
) -> None:
    references = [f"seeded-{n:04d}" for n in range(40)]

    def fates(numbers: list[int]) -> dict[str, str]:
        reset(simulator)
        set_knobs(simulator, latency_ms=0, callbacks="none", seed=7, error_rate_before=0.3)
        set_knobs(simulator, error_rate_after_accept=0.3, error_after_accept="500")
        adapter = open_adapter(simulator)
        seen = {}
        for n in numbers:
            try:
                adapter.activate(_activation(n, reference=references[n]))
                seen[references[n]] = "accepted"
            except CarrierError as error:
                seen[references[n]] = error.code
        return seen

    first = fates(list(range(40)))
    assert first == fates(list(reversed(range(40))))
    assert set(first.values()) == {"accepted", "carrier_unavailable", "carrier_outcome_unknown"}


def test_hanging_calls_end_with_their_callers(open_adapter: OpenAdapter, simulator: str) -> None:
    set_knobs(simulator, error_rate_after_accept=1, error_after_accept="hang", callbacks="none")
    with pytest.raises(OutcomeUnknown):
        open_adapter(simulator, total_seconds=0.3).activate(_activation(1))

    until = time.monotonic() + 5
    while read_state(simulator)["in_flight"] and time.monotonic() < until:
        time.sleep(0.02)
    assert read_state(simulator)["in_flight"] == 0


def _knobs(simulator: str) -> dict[str, object]:
    return {name: state["knobs"] for name, state in read_state(simulator)["carriers"].items()}


@pytest.mark.parametrize(
    "bad",
    [
        {"latency": 5},
        {"latency_ms": -1},
        {"latency_ms": True},
        {"latency_ms": 3_600_001},
        {"capacity": -1},
        {"outage_as": "late"},
        {"error_rate_before": 1.5},
        {"error_rate_before": "0.5"},
        {"dedupe": 1},
        {"callbacks": "loud"},
        {"error_after_accept": "explode"},
        {"seed": "seven"},
        {"latency_ms": 7, "nonsense": 1},
        [],
        None,
    ],
)
def test_a_bad_knob_is_refused_and_nothing_turns(simulator: str, bad: object) -> None:
    before = _knobs(simulator)

    reply = http.put(f"{simulator}/_sim/knobs", json=bad)

    assert reply.status_code == 400
    assert reply.json()["error"]
    assert _knobs(simulator) == before


def test_the_ledger_is_read_in_pages(open_adapter: OpenAdapter, simulator: str) -> None:
    adapter = open_adapter(simulator)
    for n in range(5):
        adapter.activate(_activation(n))

    first = http.get(f"{simulator}/_sim/ledger", params={"limit": 3}).json()
    rest = http.get(f"{simulator}/_sim/ledger", params={"after": first["next"], "limit": 3}).json()

    assert [entry["n"] for entry in first["items"]] == [1, 2, 3]
    assert ([entry["n"] for entry in rest["items"]], rest["next"]) == ([4, 5], None)
    assert http.get(f"{simulator}/_sim/ledger?after=x").status_code == 400
    assert http.get(f"{simulator}/_sim/ledger?limit=0").status_code == 400


def test_the_carrier_shows_its_own_view_of_the_lines(open_adapter: OpenAdapter, simulator: str) -> None:
    request = _activation(3)
    open_adapter(simulator).activate(request)
    wait_for_result(simulator, request.reference)

    mine = http.get(f"{simulator}/_sim/lines", params={"app_key": APP_KEY}).json()["items"]
    others = http.get(f"{simulator}/_sim/lines", params={"app_key": "nobody"}).json()["items"]

    assert [(line["number"], line["iccid"], line["status"]) for line in mine] == [
        ("17090000003", request.iccid, "IN_SERVICE")
    ]
    assert others == []


def test_the_page_needs_nothing_from_elsewhere(simulator: str) -> None:
    page = http.get(f"{simulator}/_sim/")

    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert not re.search(r"""(src|href)=|https?://|@import""", page.text)


# --- the gateway's own manners, without an adapter in between ---


UNREADABLE = [
    b"",
    b"[]",
    b"{",
    b"<html/>",
    b"[" * 60_000,
    b"<a>" * 20_000,
    b" " * 70_000,
    b"{}",
    b"<request/>",
]
BOMB = b'<!DOCTYPE r [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><request><head/><body>&b;</body></request>'


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        ("unicom/gateway", b'{"app_key":"simulator-tests"}'),
        ("mobile/service", b"<request><head><partner>simulator-tests</partner></head><body/></request>"),
        ("telecom/api/order.submit", b'{"requestNo":"simulator-tests"}'),
    ],
)
def test_what_is_unreadable_or_unsigned_is_refused(simulator: str, path: str, wrong: bytes) -> None:
    for body in (*UNREADABLE, BOMB, wrong):
        reply = http.post(f"{simulator}/{path}", content=body)
        code = re.search(r'"(?:code|resultCode)":"?(?:UC-)?([0-9]+)|<result>([0-9]+)<', reply.text)
        # Each dialect's first block of codes: signature, time, form.
        assert code is not None, reply.text
        assert (code[1] or code[2]).startswith(("100", "200"))
        assert reply.status_code in ((200,) if path.startswith("mobile") else (400, 401))
    assert read_ledger(simulator) == []


@pytest.mark.parametrize(
    "query",
    ["knobs?carrier=giant", "ledger?carrier=giant", "lines?limit=0", "lines?after=1", "ledger?after=-1"],
)
def test_views_of_what_is_not_there(simulator: str, query: str) -> None:
    assert http.get(f"{simulator}/_sim/{query}").status_code == 400


def test_an_older_ledger_is_read(open_adapter: OpenAdapter, launch: Launch, ledger: Path) -> None:
    """Written before orders could change a line: such entries have no `change`."""
    kill, base_url = launch()
    open_adapter(base_url).activate(_activation(1))
    kill()
    ledger.write_text(ledger.read_text().replace('"change":"",', ""))

    _, base_url = launch()

    assert [entry["change"] for entry in read_ledger(base_url)] == [""]


# --- the real-name providers ---


def _document(prefix: str) -> str:
    digits = f"{prefix}19000101000"
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    total = sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=True))
    return digits + "10X98765432"[total % 11]


def _ask(simulator: str, provider: str, prefix: str, **changes: object) -> httpx2.Response:
    body = {
        "name": "测试用户",
        "document_type": "resident_id",
        "document_number": _document(prefix),
        "face_session": "fs-1",
        "channel": "in_store",
        "request_id": "req-1",
        **changes,
    }
    headers = {"Authorization": f"Bearer {REALNAME_TOKEN}"}
    return http.post(f"{simulator}/realname/{provider}", json=body, headers=headers)


@pytest.mark.parametrize(
    ("prefix", "authority", "face"),
    [
        ("110105", "match", "match"),
        ("700001", "match", "match"),
        ("700002", "name_mismatch", "match"),
        ("700003", "match", "mismatch"),
        ("700004", "match", "uncertain"),
        ("700007", "document_void", "match"),
    ],
)
def test_magic_people(simulator: str, prefix: str, authority: str, face: str) -> None:
    assert _ask(simulator, "authority", prefix).json() == {
        "request_id": "req-1",
        "document_number": _document(prefix),
        "result": authority,
    }
    answer = _ask(simulator, "face", prefix).json()
    assert answer["result"] == face
    assert 0 <= answer["score"] <= 1


def test_authority_that_is_down_stays_down(simulator: str) -> None:
    replies = [_ask(simulator, "authority", "700005") for _ in range(4)]

    assert {(reply.status_code, reply.headers["retry-after"]) for reply in replies} == {(503, "1")}


def test_authority_that_is_down_twice_comes_back(simulator: str) -> None:
    assert [_ask(simulator, "authority", "700006").status_code for _ in range(6)] == [503, 503, 200] * 2


@pytest.mark.parametrize("provider", ["authority", "face"])
def test_providers_want_a_token_and_every_field(simulator: str, provider: str) -> None:
    url = f"{simulator}/realname/{provider}"
    assert http.post(url, json={}).status_code == 401
    wrong = http.post(url, json={}, headers={"Authorization": "Bearer guess"})
    assert (wrong.status_code, wrong.headers["www-authenticate"]) == (401, "Bearer")
    assert _ask(simulator, provider, "110105", document_number=None).status_code == 400
    assert _ask(simulator, provider, "110105", request_id="").status_code == 400
    headers = {"Authorization": f"Bearer {REALNAME_TOKEN}"}
    assert http.post(url, content=b"[]", headers=headers).status_code == 400

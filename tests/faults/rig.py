"""Everything that `make run` starts, with a few more workers, to be killed, stopped and flushed by pid."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx2
import psycopg
import redis

from config.run import local_env, ports, programs, servers
from config.run.console import Problem, say
from config.run.embedded import Embedded
from config.run.home import ROOT, VAR
from config.run.processes import Program, Supervisor
from config.run.run_settings import RunSettings
from tests.simulator import MASTER_SECRET, REALNAME_TOKEN, read_ledger, read_state, reset, set_knobs

HOME = VAR / "faults" / "rig"
CARRIERS = ("unicom", "mobile", "telecom")
CARRIER_WORKERS = ("carrier-1", "carrier-2")
# What random kills hit, and how often compared with each other.
TARGETS = {"carrier-1": 4, "carrier-2": 4, "work": 3, "web": 2, "web child": 2, "beat": 1}
PATIENCE_SECONDS = 60.0
# Longer than a lease of the suite's connections (2 x 1 s + 5 s) and their settle horizon.
STOP_SECONDS = 9.5


@dataclass(frozen=True)
class Place:
    """The servers of the suite, which outlive every run, and where the run's own processes are."""

    supervisor: Supervisor
    # Of the migrated database that every run gets a copy of.
    template_url: str
    database_url: str
    redis_url: str
    web_url: str
    simulator_url: str


@contextlib.contextmanager
def place() -> Iterator[Place]:
    """Embedded servers under var/faults/, a migrated template, and the environment that Django needs here."""
    with servers.claimed(home=HOME, doing="run the fault suite") as supervisor:
        embedded = Embedded(home=HOME, supervisor=supervisor)
        template_url, redis_url = embedded.start_postgres(), embedded.start_redis()
        web, simulator = (f"http://{ports.HOST}:{ports.free_port(remembered=None)}" for _ in range(2))
        found = Place(supervisor, template_url, _named(template_url, "kaihu_run"), redis_url, web, simulator)
        os.environ.update(_environment(found, found.database_url))
        command = [sys.executable, "manage.py", "migrate", "--noinput"]
        program = Program(
            name="migrate",
            command=command,
            env={**os.environ, "DATABASE_URL": template_url},
            cwd=ROOT,
            keep=False,
        )
        if supervisor.complete(program) != 0:
            raise Problem("manage.py migrate failed", log=supervisor.log_of("migrate"), exit_code=1)
        import django

        django.setup()
        yield found


def fresh_database(found: Place) -> None:
    """A new copy of the template, and an empty Redis."""
    from django.db import connection

    connection.close()
    with psycopg.connect(_named(found.template_url, "postgres"), autocommit=True) as control:
        control.execute("DROP DATABASE IF EXISTS kaihu_run WITH (FORCE)")
        control.execute("CREATE DATABASE kaihu_run TEMPLATE kaihu")
    with redis.Redis.from_url(found.redis_url) as client:
        client.flushall()


class Rig:
    """The processes of one run. Everything that forks happens in the thread that made it (see Supervisor)."""

    def __init__(
        self,
        found: Place,
        *,
        rng: random.Random,
        beats: int = 1,
        environment: Mapping[str, str] | None = None,
        armed: Mapping[str, str] | None = None,
        prefork: bool = False,
    ) -> None:
        self.place = found
        self.supervisor = found.supervisor
        self.rng = rng
        self.counts: Counter[str] = Counter()
        # What must not be found in Redis, and the keys it was found in.
        self.canaries: frozenset[bytes] = frozenset()
        self.leaks: list[str] = []
        self.deaths: Counter[str] = Counter()
        self.on_death: Callable[[str], Program | None] | None = None
        self._resumes: dict[str, float] = {}
        # Children of its own instead of threads for the worker of short tasks; drains run in threads only.
        self.prefork = prefork
        # Programs that have a fault point armed from their first start on.
        self.armed = dict(armed or {})
        self._environment = {**_environment(found, found.database_url), **(environment or {})}
        self.beats = [f"beat-{n}" for n in range(1, beats + 1)]
        self._ledger = HOME / "ledger.jsonl"

    # --- starting and stopping ---

    def __enter__(self) -> Rig:
        self._ledger.unlink(missing_ok=True)
        self.supervisor.start(*(self.program(name) for name in self.names()))
        reset(self.simulator)
        return self

    def __exit__(self, *error: object) -> None:
        for name in list(self._resumes):
            self.resume(name)
        self.supervisor.stop(*self.names())

    def names(self) -> list[str]:
        return ["carrier_sim", "web", *CARRIER_WORKERS, "work", *self.beats]

    @property
    def simulator(self) -> str:
        return self.place.simulator_url

    def program(self, name: str, *, fault: str = "") -> Program:
        """As `make run` starts it, with another name where there is more than one, and perhaps with a fault armed."""
        fault = fault or self.armed.get(name, "")
        words = {
            "port": urlsplit(self.place.web_url).port,
            "sim_port": urlsplit(self.simulator).port,
            "run": HOME / "run" / name,
            "ledger": self._ledger,
        }
        kind = name.partition("-")[0]
        command = programs.TABLE[kind]
        if kind == "carrier":
            command = command.replace("carrier@%h", f"{name}@%h")
        if kind == "work":
            # The checks of people are not what is tested here: no worker of their own.
            command = command.replace("-Q default,events", "-Q default,events,realname")
        if kind == "beat":
            (HOME / "run" / name).mkdir(parents=True, exist_ok=True)
        if command.startswith("celery"):
            command += " --loglevel WARNING"
        if self.prefork and kind == "work":
            command = command.replace("--pool threads", "--pool prefork")
        if " worker " in command:
            command += " --without-gossip --without-mingle"
        ready = {
            "web": lambda: programs.answers(f"{self.place.web_url}/readyz"),
            "carrier_sim": lambda: programs.answers(f"{self.simulator}/_sim/"),
        }
        return Program(
            name=name,
            command=[sys.executable, "-m", *(part.format(**words) for part in command.split())],
            env=self._environment | ({"KAIHU_FAULTS": fault} if fault else {}),
            cwd=ROOT,
            keep=False,
            ready=ready.get(name),
            grace_seconds=4,
        )

    # --- faults ---

    def watch(self) -> None:
        """Wakes what has slept enough, and starts again what has died by itself (at a fault point)."""
        for name in CARRIER_WORKERS:
            if name not in self._resumes and self.is_stopped(name):
                self._resumes[name] = time.monotonic() + STOP_SECONDS
                self.counts["stops at a fault point"] += 1
        for name, at in list(self._resumes.items()):
            if time.monotonic() >= at:
                self.resume(name)
        for name in self.names():
            child = self.supervisor.children[name]
            if child.process.poll() is not None:
                self.deaths[name] += 1
                self.supervisor.start_again(name, self.on_death(name) if self.on_death else None)

    def kill(self, target: str) -> None:
        """SIGKILL to a program and all its children at once, and a new one in its place; or to one child of web."""
        name, _, child = target.partition(" ")
        process = self.supervisor.children[name].process
        if child:
            pid = self.rng.choice(_children(process.pid) or [process.pid])
            _send(os.kill, pid, signal.SIGKILL)
        else:
            self._resumes.pop(name, None)
            _send(os.killpg, process.pid, signal.SIGKILL)
            self.supervisor.start_again(name)
        self.counts["kills"] += 1
        self.counts[f"kills of {target}"] += 1

    def kill_somebody(self) -> None:
        """A random target; a carrier worker preferably while it has calls out."""
        target = self.rng.choices(list(TARGETS), weights=list(TARGETS.values()))[0]
        target = target.replace("beat", self.rng.choice(self.beats))
        if target in CARRIER_WORKERS:
            self.kill_with_calls_out(target)
        else:
            self.kill(target)

    def kill_with_calls_out(self, name: str) -> None:
        """`kill`, in a moment when sends are under way, if one comes soon."""
        self.counts["kills with calls in flight"] += self._calls_are_out()
        self.kill(name)

    def pause_with_calls_out(self, name: str) -> bool:
        """`pause` beyond the lease, in such a moment."""
        self._calls_are_out()
        return self.pause(name, seconds=STOP_SECONDS)

    def _calls_are_out(self) -> bool:
        until = time.monotonic() + 3
        while not in_flight() and time.monotonic() < until:
            time.sleep(0.05)
        return in_flight() > 0

    def pause(self, name: str, *, seconds: float) -> bool:
        """SIGSTOP to a program and its children; `watch` wakes it. False when it sleeps already."""
        if name in self._resumes or self.is_stopped(name):
            return False
        _send(os.killpg, self.supervisor.children[name].process.pid, signal.SIGSTOP)
        self._resumes[name] = time.monotonic() + seconds
        self.counts["stops"] += 1
        return True

    def resume(self, name: str) -> None:
        self._resumes.pop(name, None)
        _send(os.killpg, self.supervisor.children[name].process.pid, signal.SIGCONT)

    def is_stopped(self, name: str) -> bool:
        """Whether the kernel has it stopped, by whomever."""
        return _state(self.supervisor.children[name].process.pid) == "T"

    def flush_redis(self) -> None:
        """FLUSHALL, after a look for personal data."""
        with redis.Redis.from_url(self.place.redis_url) as client:
            self.look_for_leaks(client)
            self.counts["keys flushed"] += client.dbsize()
            self.counts["messages flushed"] += sum(
                client.llen(queue) for queue in ("default", "events", "realname", *_QUEUES)
            )
            client.flushall()
        self.counts["flushes"] += 1

    def look_for_leaks(self, client: redis.Redis | None = None) -> None:
        """Notes every Redis key whose content holds one of the canaries."""
        with client or redis.Redis.from_url(self.place.redis_url) as used:
            for key in used.scan_iter(count=500):
                content = key + (used.dump(key) or b"")
                if any(canary in content for canary in self.canaries):
                    self.leaks.append(key.decode(errors="replace"))
            self.counts["looks into Redis"] += 1

    def restart_postgres(self) -> None:
        """`pg_ctl restart -m immediate`: no checkpoint, every connection cut, recovery from the log."""
        from django.db import connection

        connection.close()
        child = self.supervisor.children["postgres"]
        _send(os.kill, child.process.pid, signal.SIGQUIT)
        child.process.wait(timeout=PATIENCE_SECONDS)
        self.supervisor.start_again("postgres")
        until = time.monotonic() + PATIENCE_SECONDS
        ready = child.program.ready
        while ready is not None and not ready():
            if time.monotonic() > until:
                raise Problem(
                    "PostgreSQL did not come back", log=self.supervisor.log_of("postgres"), exit_code=1
                )
            time.sleep(0.05)
        self.counts["immediate restarts of PostgreSQL"] += 1

    # --- the carrier ---

    def knobs(self, *, carrier: str | None = None, **knobs: Any) -> None:
        set_knobs(self.simulator, carrier=carrier, **knobs)

    def ledger(self) -> list[dict[str, Any]]:
        return read_ledger(self.simulator)

    def carrier_state(self) -> dict[str, Any]:
        return read_state(self.simulator)

    def carrier_lines(self) -> list[dict[str, Any]]:
        """The carriers' own view of every line."""
        lines: list[dict[str, Any]] = []
        with httpx2.Client(trust_env=False, timeout=60) as http:
            for carrier in CARRIERS:
                after: str | None = ""
                while after is not None:
                    page = http.get(
                        f"{self.simulator}/_sim/lines", params={"carrier": carrier, "after": after}
                    ).json()
                    lines += page["items"]
                    after = page["next"]
        return lines


_QUEUES = tuple(f"carrier.{carrier}" for carrier in CARRIERS)


def query(statement: str, parameters: Any = None) -> list[Any]:
    """Rows, tried again while the database restarts."""
    from django.db import DatabaseError, InterfaceError, connection

    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement, parameters)
                return cursor.fetchall()
        except (DatabaseError, InterfaceError):
            connection.close()
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


def in_flight() -> int:
    """Sends whose lease is running."""
    [[count]] = query(
        "SELECT count(*) FROM provisioning_activationjob WHERE status = 'SENDING' AND lease_until > clock_timestamp()"
    )
    return int(count)


def still_open() -> int:
    """Orders that are neither finished nor with staff (a dead letter), nor callbacks not yet applied."""
    [[count]] = query(
        """
        SELECT (SELECT count(*) FROM provisioning_serviceorder o WHERE finished_at IS NULL AND NOT EXISTS (
            SELECT FROM provisioning_activationjob WHERE order_id = o.id AND failure_kind = 'SYSTEM'))
            + (SELECT count(*) FROM provisioning_carriercallback WHERE applied_at IS NULL)
        """
    )
    return int(count)


def drain(rig: Rig, *, seconds: float) -> float:
    """Waits, unaided, until nothing is open; the seconds it took, or `seconds` when it was not enough."""
    started = time.monotonic()
    while (took := time.monotonic() - started) < seconds:
        rig.watch()
        if still_open() == 0:
            return took
        time.sleep(0.3)
    say(f"  {still_open()} still open after {seconds:.0f} s")
    return seconds


def _environment(found: Place, database_url: str) -> dict[str, str]:
    settings = RunSettings(
        web_url=found.web_url,
        database_url=database_url,
        redis_url=found.redis_url,
        carrier_sim_url=found.simulator_url,
        var=HOME,
    )
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {
        **kept,
        **local_env.secrets_of(HOME),
        **settings.environment(),
        "DJANGO_SETTINGS_MODULE": "config.settings.faults",
        "CARRIER_SIM_SECRET": MASTER_SECRET,
        "REALNAME_TOKEN": REALNAME_TOKEN,
    }


def _named(url: str, database: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))


def _send(send: Callable[[int, int], None], pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        send(pid, number)


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ["X", "0"]


def _state(pid: int) -> str:
    return _stat(pid)[0]


def _children(pid: int) -> list[int]:
    everybody = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    return sorted(other for other in everybody if _stat(other)[1] == str(pid))


def git_sha() -> str:
    """Of what is tested, with a plus when files differ from it."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    return (git("rev-parse", "--short=12", "HEAD") or "unknown") + (
        "+" if git("status", "--porcelain") else ""
    )

"""Child processes: started in a session of their own, watched, started again, and none left behind.

A child ends with its supervisor even when that is killed with SIGKILL: the kernel tells it (Linux). What
escapes that, for instance the workers of a web server whose master was killed as well, is found at the next
start through `run/*.pid`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from config.run import privileges
from config.run.console import Problem, say, step

FIRST_BACK_OFF_SECONDS = 0.5
LONGEST_BACK_OFF_SECONDS = 30.0
# A child that lived this long starts again at once.
STEADY_SECONDS = 30.0
POLL_SECONDS = 0.05


@dataclass(frozen=True, kw_only=True)
class Program:
    """What to run and how to treat it.

    `ready` answers whether it serves; without it the program counts as ready when it runs. `before_start`
    runs before the first start and before each later one. `keep` says to start it again whenever it ends.
    `is_server` programs stop last. `orphan_signal` is what the program gets when its supervisor is killed.
    """

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    label: str = ""
    ready: Callable[[], bool] | None = None
    ready_seconds: float = 60.0
    before_start: Callable[[], None] | None = None
    keep: bool = True
    is_server: bool = False
    stop_signal: signal.Signals = signal.SIGTERM
    orphan_signal: signal.Signals = signal.SIGKILL
    grace_seconds: float = 12.0
    identity: privileges.Identity | None = None
    shows_output: bool = False


@dataclass(kw_only=True)
class Child:
    program: Program
    process: subprocess.Popen[bytes]
    started: float
    back_off: float = FIRST_BACK_OFF_SECONDS
    start_again: float | None = field(default=None)


class Supervisor:
    """Starts programs, keeps them running while `watch` is called, stops them all on the way out.

    One thread only: the kernel ties a child to the thread that started it. Logs are `home/log/<name>.log` (of
    the run before: `.log.1`), pid files `home/run/<name>.pid`.
    """

    def __init__(self, *, home: Path) -> None:
        self.logs, self.run = home / "log", home / "run"
        self.children: dict[str, Child] = {}
        for folder in (self.logs, self.run):
            folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop_all()

    def log_of(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def start(self, *programs: Program) -> None:
        """Starts all, then waits for each to be ready, one line each.

        :raises Problem: one ended, or was not ready in time.
        """
        for program in programs:
            log = self.log_of(program.name)
            if log.exists():
                log.replace(log.with_suffix(".log.1"))
            self._spawn(program)
        for program in programs:
            with step(program.label or program.name):
                self._wait_until_ready(self.children[program.name])

    def complete(self, program: Program) -> int:
        """Runs a program to its end while watching the others; answers its exit code."""
        self._spawn(program)
        child = self.children[program.name]
        while child.process.poll() is None:
            self.watch()
            time.sleep(POLL_SECONDS)
        self._end(child)
        return child.process.returncode

    def watch(self) -> None:
        """Starts again what has ended, after a pause that doubles each time it did not last."""
        for name, child in list(self.children.items()):
            if not child.program.keep or child.process.poll() is None:
                continue
            now = time.monotonic()
            if child.start_again is None:
                _kill_group(child.process.pid)
                if now - child.started > STEADY_SECONDS:
                    child.back_off = FIRST_BACK_OFF_SECONDS
                child.start_again = now + child.back_off
                say(
                    f"  {name} {_ending(child.process.returncode)}; starting it again in {child.back_off:g} s"
                )
            elif now >= child.start_again:
                self._spawn(child.program, back_off=min(child.back_off * 2, LONGEST_BACK_OFF_SECONDS))

    def start_again(self, name: str, program: Program | None = None) -> None:
        """Kills what is left of a program and starts it (or another in its place) at once, without waiting for it."""
        child = self.children[name]
        self._end(child)
        self._spawn(program or child.program)

    def stop(self, *names: str) -> None:
        """Ends these programs together: first a polite signal to each process group, then SIGKILL to what is
        left."""
        children = [self.children[name] for name in names if name in self.children]
        for child in children:
            if child.process.poll() is None:
                _signal_group(child.process.pid, child.program.stop_signal)
        for child in children:
            deadline = time.monotonic() + child.program.grace_seconds
            while child.process.poll() is None and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
            self._end(child)

    def stop_all(self) -> None:
        """Ends everything, servers last."""
        self.stop(*[name for name, child in self.children.items() if not child.program.is_server])
        self.stop(*[name for name, child in self.children.items() if child.program.is_server])

    def _spawn(self, program: Program, *, back_off: float = FIRST_BACK_OFF_SECONDS) -> None:
        if program.before_start is not None:
            program.before_start()
        parent = os.getpid()

        def prepare() -> None:
            if program.identity is not None:
                privileges.become(program.identity)
            privileges.die_with_parent(parent=parent, with_signal=program.orphan_signal)

        with contextlib.ExitStack() as stack:
            log = None if program.shows_output else stack.enter_context(self.log_of(program.name).open("ab"))
            try:
                process = subprocess.Popen(
                    program.command,
                    env=dict(program.env),
                    cwd=program.cwd,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    preexec_fn=prepare,
                )
            except (OSError, subprocess.SubprocessError) as error:
                raise Problem(f"{program.name} could not be started: {error}", exit_code=1) from error
        self.children[program.name] = Child(
            program=program, process=process, started=time.monotonic(), back_off=back_off
        )
        record = {"pid": process.pid, "birth": birth(process.pid), "cwd": str(program.cwd)}
        (self.run / f"{program.name}.pid").write_text(json.dumps(record))

    def _wait_until_ready(self, child: Child) -> None:
        program, log = child.program, self.log_of(child.program.name)
        deadline = time.monotonic() + program.ready_seconds
        while True:
            if child.process.poll() is not None:
                raise Problem(f"{program.name} {_ending(child.process.returncode)}", log=log, exit_code=1)
            if program.ready is None or program.ready():
                return
            if time.monotonic() > deadline:
                message = f"{program.name} was not ready after {program.ready_seconds:g} s"
                raise Problem(message, log=log, exit_code=1)
            time.sleep(POLL_SECONDS)

    def _end(self, child: Child) -> None:
        _kill_group(child.process.pid)
        child.process.wait()
        self.children.pop(child.program.name, None)
        (self.run / f"{child.program.name}.pid").unlink(missing_ok=True)


def end_leftovers(*, home: Path) -> int:
    """Ends what an earlier supervisor of this folder left running; answers how many processes that were.

    A process is only touched when its pid file proves that it is ours: the same time of birth, or, when the
    leader is gone, a member of its process group in the same working directory. Call it with the lock of the
    folder held.
    """
    found: set[int] = set()
    for file in (home / "run").glob("*.pid"):
        try:
            record = json.loads(file.read_text())
            found.update(_survivors(pid=record["pid"], born=record["birth"], cwd=Path(record["cwd"])))
        except (ValueError, KeyError, TypeError):
            pass
        file.unlink(missing_ok=True)
    end_processes(found)
    return len(found)


def end_processes(
    pids: Iterable[int], *, politely: signal.Signals = signal.SIGTERM, seconds: float = 5.0
) -> None:
    """Signals the processes, waits, and kills what is left; returns when they are gone."""
    births = {pid: birth(pid) for pid in pids}

    def alive() -> list[int]:
        return [pid for pid, born in births.items() if born is not None and birth(pid) == born]

    for number, patience in ((politely, seconds), (signal.SIGKILL, 10.0)):
        for pid in alive():
            _send(os.kill, pid, number)
        deadline = time.monotonic() + patience
        while alive() and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)


def processes_in(folder: Path, *, named: str) -> list[int]:
    """The processes of this program whose working directory is this folder (Linux; elsewhere none are
    found)."""
    if not privileges.LINUX:
        return []
    place = str(folder.resolve())
    return [pid for pid in _all_pids() if _cwd(pid) == place and _name(pid) == named]


def leaders(pids: Iterable[int]) -> list[int]:
    """Those of these processes that are no child of another of them (Linux)."""
    among = set(pids)
    return sorted(pid for pid in among if _parent(pid) not in among)


def _parent(pid: int) -> int | None:
    try:
        # The name in brackets may hold anything; after it come the state and the parent.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[1])


def birth(pid: int) -> str | None:
    """When a running process was born, exact enough to tell it from a later one with the same number."""
    if not privileges.LINUX:
        command = ["ps", "-o", "lstart=", "-p", str(pid)]
        answer = subprocess.run(command, capture_output=True, text=True)
        return answer.stdout.strip() or None
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    # Zombies are dead to us: only their parent can make them go away.
    return None if fields[0] in "ZX" else f"{boot}:{fields[19]}"


def _survivors(*, pid: int, born: str | None, cwd: Path) -> list[int]:
    now = birth(pid)
    if now is not None and now != born:
        # Somebody else has the number now, which the kernel gives away only when the whole group is gone.
        return []
    leader = [pid] if now is not None else []
    if not privileges.LINUX:
        return leader
    place = str(cwd.resolve())
    return leader + [
        other for other in _all_pids() if other != pid and _group(other) == pid and _cwd(other) == place
    ]


def _all_pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except OSError:
        return None


def _cwd(pid: int) -> str | None:
    try:
        return str(Path(f"/proc/{pid}/cwd").readlink())
    except OSError:
        return None


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _ending(returncode: int) -> str:
    return f"was killed by signal {-returncode}" if returncode < 0 else f"ended with exit code {returncode}"


def _signal_group(pid: int, number: signal.Signals) -> None:
    _send(os.killpg, pid, number)


def _kill_group(pid: int) -> None:
    _signal_group(pid, signal.SIGKILL)


def _send(send: Callable[[int, int], None], pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        send(pid, number)

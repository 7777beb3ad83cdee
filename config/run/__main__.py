"""`python -m config.run serve [--once] | exec -- COMMAND... | stop`: what the Makefile calls."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from config.run import embedded, local_env, main_job, ports, privileges, programs, servers
from config.run.console import Problem, report, say, step
from config.run.home import ROOT, VAR, Lock, Memory
from config.run.processes import POLL_SECONDS, Program, Supervisor, end_leftovers, end_processes
from config.run.run_settings import RunSettings

STOP_SECONDS = 60
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """Somebody asked us to stop: Ctrl-C, SIGTERM, or the terminal is gone."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def serve(*, home: Path, once: bool) -> int:
    """Starts everything, does the main job, keeps serving until Ctrl-C; with `once` stops after the main job.

    Answers the main job's exit code, also when Ctrl-C ends it later.
    """
    started = time.monotonic()
    given = servers.Given.from_environment(os.environ, home=home)
    with servers.claimed(home=home, doing="serve") as supervisor, stoppable():
        port, simulator_port = choose_ports(home)
        given.check()
        running = servers.start(given=given, home=home, supervisor=supervisor)
        settings = RunSettings(
            web_url=f"http://{ports.HOST}:{port}",
            database_url=running.database_url,
            redis_url=running.redis_url,
            carrier_sim_url=f"http://{ports.HOST}:{simulator_port}",
            var=home,
            once=once,
        )
        environment = {**local_env.secrets_of(home), **os.environ, **settings.environment()}
        for command in (["migrate", "--noinput"], ["seed"]):
            manage(supervisor, environment, *command)
        supervisor.start(*programs.programs(settings=settings, environment=environment))
        say(f"  Everything runs after {time.monotonic() - started:.1f} s: {settings.web_url}\n")
        exit_code = do_main_job(supervisor, environment, home=home, once=once)
        if not once:
            say(f"\n  Serving at {settings.web_url} (logs in {supervisor.logs}). Ctrl-C stops everything.")
            keep_serving(supervisor)
        say("  Stopping.")
    return exit_code


def choose_ports(home: Path) -> tuple[int, int]:
    """Web and simulator, where they were last time if possible: carriers call back, and connections are stored.

    :raises Problem: PORT cannot be had.
    """
    memory = Memory.load(home)
    memory.web_port = ports.web_port(os.environ.get("PORT"), remembered=memory.web_port)
    memory.carrier_sim_port = ports.free_port(remembered=memory.carrier_sim_port)
    memory.save(home)
    return memory.web_port, memory.carrier_sim_port


def keep_serving(supervisor: Supervisor) -> None:
    """Until somebody asks us to stop."""
    try:
        while True:
            supervisor.watch()
            time.sleep(POLL_SECONDS)
    except Stopped:
        say()


def manage(supervisor: Supervisor, environment: Mapping[str, str], *arguments: str) -> None:
    """One management command as a step, its output in a log of its name."""
    name = arguments[0]
    command = [sys.executable, "manage.py", *arguments]
    supervisor.log_of(name).unlink(missing_ok=True)
    with step(f"manage.py {name}"):
        code = supervisor.complete(Program(name=name, command=command, env=environment, cwd=ROOT, keep=False))
        if code != 0:
            raise Problem(f"manage.py {name} failed", log=supervisor.log_of(name), exit_code=1)


def do_main_job(supervisor: Supervisor, environment: Mapping[str, str], *, home: Path, once: bool) -> int:
    """In a process of its own, so that this one can start again whatever ends meanwhile."""
    command = [sys.executable, "-m", "config.run", "job", "--var", str(home), *(["--once"] if once else [])]
    program = Program(
        name="main_job", command=command, env=environment, cwd=ROOT, keep=False, shows_output=True
    )
    return supervisor.complete(program)


def execute(command: list[str], *, home: Path) -> int:
    """Runs the command with servers up and everything set that Django needs; answers its exit code.

    Servers that `make run` has running are used, and left running.
    """
    given = servers.Given.from_environment(os.environ, home=home)
    given.check()
    running = given.complete() or servers.shared(given=given, home=home)
    if running is not None:
        return foreground(command, environment_of(running, home=home))
    with servers.claimed(home=home, doing="start servers") as supervisor, stoppable():
        running = servers.start(given=given, home=home, supervisor=supervisor)
        return foreground(command, environment_of(running, home=home))


def environment_of(running: servers.Servers, *, home: Path) -> dict[str, str]:
    """What a management command needs, the caller's own variables first."""
    home.mkdir(parents=True, exist_ok=True)
    return {
        "DJANGO_SETTINGS_MODULE": "config.settings.local",
        **local_env.secrets_of(home),
        **os.environ,
        "DATABASE_URL": running.database_url,
        "REDIS_URL": running.redis_url,
    }


def foreground(command: list[str], environment: Mapping[str, str]) -> int:
    """Runs the command in our own terminal; Ctrl-C is the command's affair, SIGTERM is passed on."""
    parent = os.getpid()

    def prepare() -> None:
        privileges.die_with_parent(parent=parent, with_signal=signal.SIGTERM)

    try:
        process = subprocess.Popen(command, env=dict(environment), preexec_fn=prepare)
    except OSError as error:
        raise Problem(f"cannot run {command[0]}: {error.strerror}", exit_code=127) from None
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for passed_on in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(passed_on, lambda number, frame: process.send_signal(number))
    code = process.wait()
    return code if code >= 0 else 128 - code


def stop(*, home: Path, delete_data: bool) -> int:
    """Ends what `serve` or `exec` of this clone runs, or what a killed one left behind."""
    if not home.exists():
        say("  Nothing runs.")
        return 0
    lock = Lock(home=home)
    ended = 0
    if not lock.acquire():
        owner = lock.owner()
        if owner is not None:
            end_processes([owner], seconds=STOP_SECONDS)
            ended = 1
        if not lock.acquire(seconds=5):
            raise Problem(f"process {owner} does not let go of {lock.path}", exit_code=1)
    ended += end_leftovers(home=home)
    for name, program in (("postgres", "postgres"), ("redis", "redis-server")):
        embedded.end_strays(home / name, named=program)
    if delete_data:
        embedded.remove_data(home=home)
    lock.release()
    say("  Stopped." if ended else "  Nothing runs.")
    return 0


@contextmanager
def stoppable() -> Iterator[None]:
    """Turns the signals that ask us to stop into Stopped; while we stop, further ones are ignored."""
    for number in STOP_SIGNALS:
        signal.signal(number, raise_stopped)
    try:
        yield
    finally:
        ignore_signals()


def raise_stopped(number: int, frame: FrameType | None) -> NoReturn:
    ignore_signals()
    raise Stopped(number)


def ignore_signals() -> None:
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m config.run", description="Runs Kaihu on this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    serve_parser = commands.add_parser("serve", help="everything, with the main job first")
    exec_parser = commands.add_parser("exec", help="one command, with PostgreSQL and Redis up")
    stop_parser = commands.add_parser("stop", help="end what serve or exec started here")
    job_parser = commands.add_parser("job", help="the main job alone, on what serve has running")
    for command in (serve_parser, exec_parser, stop_parser, job_parser):
        command.add_argument("--var", type=Path, default=VAR, help="the folder of data, logs and secrets")
    for command in (serve_parser, job_parser):
        command.add_argument("--once", action="store_true", help="stop after the main job")
    exec_parser.add_argument("program", nargs="+", metavar="-- COMMAND")
    stop_parser.add_argument(
        "--delete-data", action="store_true", help="and remove data kept outside the folder"
    )
    return parser.parse_args()


def main() -> int:
    chosen = arguments()
    home = chosen.var.resolve()
    try:
        match chosen.command:
            case "serve":
                return serve(home=home, once=chosen.once)
            case "exec":
                # Standard output is the command's own.
                with contextlib.redirect_stdout(sys.stderr):
                    return execute(chosen.program, home=home)
            case "job":
                return main_job.run(RunSettings.from_environment(os.environ, var=home, once=chosen.once))
            case _:
                return stop(home=home, delete_data=chosen.delete_data)
    except Problem as problem:
        return report(problem)
    except PermissionError as error:
        return report(
            Problem(f"{error.filename} belongs to another user: run as that user, or remove {home}")
        )
    except Stopped as stopped:
        return 128 + stopped.number
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())

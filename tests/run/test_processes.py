"""The supervisor: what it starts stays up, and nothing stays behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from config.run.console import Problem
from config.run.home import ROOT
from config.run.processes import Program, Supervisor, birth, end_leftovers
from tests.run.conftest import runs, wait_until

# Writes its own number and its child's into a file, and both ignore SIGTERM.
STUBBORN_FAMILY = """
trap '' TERM
sleep 60 &
echo $$ $! > "$1.new" && mv "$1.new" "$1"
wait
"""


def program(name: str, *command: str, cwd: Path, **options: object) -> Program:
    environment: Mapping[str, str] = {"PATH": os.environ["PATH"]}
    return Program(name=name, command=command, cwd=cwd, env=environment, **options)  # type: ignore[arg-type]


def family(cwd: Path, **options: object) -> Program:
    return program("family", "sh", "-c", STUBBORN_FAMILY, "sh", str(cwd / "family"), cwd=cwd, **options)


def family_pids(cwd: Path) -> list[int]:
    wait_until((cwd / "family").exists)
    return [int(pid) for pid in (cwd / "family").read_text().split()]


def test_what_crashes_is_started_again_after_a_growing_pause(
    tmp_path: Path, supervisor: Supervisor, capsys: pytest.CaptureFixture[str]
) -> None:
    supervisor.start(program("sleeper", "sleep", "60", cwd=tmp_path))

    for pause in ("0.5", "1"):
        killed = supervisor.children["sleeper"].process
        killed.kill()

        def again(killed: subprocess.Popen[bytes] = killed) -> bool:
            supervisor.watch()
            return supervisor.children["sleeper"].process.pid != killed.pid

        wait_until(again)
        assert f"sleeper was killed by signal 9; starting it again in {pause} s" in capsys.readouterr().out
        assert runs(supervisor.children["sleeper"].process.pid)


def test_what_is_left_of_a_crashed_group_goes_before_the_restart(
    tmp_path: Path, supervisor: Supervisor
) -> None:
    supervisor.start(family(tmp_path))
    leader, child = family_pids(tmp_path)
    os.kill(leader, signal.SIGKILL)
    supervisor.children["family"].process.wait()
    supervisor.watch()
    wait_until(lambda: not runs(child))


def test_stop_reaches_the_whole_group_and_does_not_wait_for_ever(tmp_path: Path) -> None:
    with Supervisor(home=tmp_path) as supervisor:
        supervisor.start(family(tmp_path, grace_seconds=0.3))
        pids = family_pids(tmp_path)
        assert all(runs(pid) for pid in pids)
    wait_until(lambda: not any(runs(pid) for pid in pids))
    assert list((tmp_path / "run").iterdir()) == []


def test_servers_stop_last(tmp_path: Path) -> None:
    note = (
        f"trap 'echo $0 >> {tmp_path}/order; exit' TERM; echo > {tmp_path}/$0; while :; do sleep 0.05; done"
    )
    with Supervisor(home=tmp_path) as supervisor:
        for name, is_server in (("server", True), ("client", False)):
            supervisor.start(
                program(
                    name,
                    "sh",
                    "-c",
                    note,
                    name,
                    cwd=tmp_path,
                    is_server=is_server,
                    ready=(tmp_path / name).exists,
                )
            )
    assert (tmp_path / "order").read_text().split() == ["client", "server"]


def test_a_program_that_ends_or_never_is_ready_is_a_problem_with_its_log(
    tmp_path: Path, supervisor: Supervisor
) -> None:
    with pytest.raises(Problem, match=r"^broken ended with exit code 3$") as ended:
        supervisor.start(
            program("broken", "sh", "-c", "echo why; exit 3", cwd=tmp_path, ready=lambda: False, keep=False)
        )
    assert ended.value.exit_code == 1
    assert ended.value.log is not None
    assert ended.value.log.read_text() == "why\n"
    with pytest.raises(Problem, match=r"^slow was not ready after 0\.2 s$"):
        supervisor.start(program("slow", "sleep", "60", cwd=tmp_path, ready=lambda: False, ready_seconds=0.2))
    with pytest.raises(Problem, match=r"^absent could not be started"):
        supervisor.start(program("absent", "/nonexistent", cwd=tmp_path))


def test_complete_answers_the_exit_code_and_watches_the_others(
    tmp_path: Path, supervisor: Supervisor
) -> None:
    supervisor.start(program("sleeper", "sleep", "60", cwd=tmp_path))
    first = supervisor.children["sleeper"].process
    first.kill()
    code = supervisor.complete(program("job", "sh", "-c", "sleep 1; exit 7", cwd=tmp_path, keep=False))
    assert code == 7
    assert supervisor.children["sleeper"].process.pid != first.pid


SUPERVISE = """
import sys, time
from pathlib import Path
from config.run.processes import Program, Supervisor
home = Path(sys.argv[1])
supervisor = Supervisor(home=home)
for name in ("one", "two"):
    supervisor.start(Program(name=name, command=["sleep", "60"], env={"PATH": "/usr/bin:/bin"}, cwd=home))
print('pids', *[child.process.pid for child in supervisor.children.values()], flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children that their parent was killed")
def test_a_killed_supervisor_leaves_nothing(tmp_path: Path, environment: dict[str, str]) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SUPERVISE, str(tmp_path)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        words = next(line.split() for line in parent.stdout if line.startswith("pids"))
        pids = [int(word) for word in words[1:]]
        assert len(pids) == 2
        assert all(runs(pid) for pid in pids)
        parent.kill()
    wait_until(lambda: not any(runs(pid) for pid in pids))


def test_the_next_start_ends_what_a_killed_one_left(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    command = ["sh", "-c", "sleep 60 >&- & echo $!; wait"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, start_new_session=True) as leader:
        assert leader.stdout is not None
        child = int(leader.stdout.readline())
        record = {"pid": leader.pid, "birth": birth(leader.pid), "cwd": str(tmp_path)}
        (tmp_path / "run" / "web.pid").write_text(json.dumps(record))
        # As when somebody kills the leader alone: its group stays.
        leader.kill()
    assert runs(child)

    assert end_leftovers(home=tmp_path) == 1

    assert not runs(child)
    assert list((tmp_path / "run").iterdir()) == []


def test_a_number_that_somebody_else_has_now_is_not_touched(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"], cwd=tmp_path, start_new_session=True) as stranger:
        (tmp_path / "run").mkdir()
        record = {"pid": stranger.pid, "birth": "another time", "cwd": str(tmp_path)}
        (tmp_path / "run" / "web.pid").write_text(json.dumps(record))
        (tmp_path / "run" / "torn.pid").write_text('{"pid": 1')

        assert end_leftovers(home=tmp_path) == 0

        assert stranger.poll() is None
        stranger.kill()
    assert list((tmp_path / "run").iterdir()) == []

"""`python -m config.run`: exit codes, one line for what the person must change, nothing left behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from config.run import local_env, ports
from config.run.console import Problem
from config.run.home import ROOT, Lock, Memory
from config.run.processes import processes_in
from config.run.servers import Given
from tests.run.conftest import wait_until
from tests.servers import redis_of_worker

Run = Callable[..., subprocess.CompletedProcess[str]]


def servers_in(home: Path) -> list[int]:
    return processes_in(home / "postgres", named="postgres") + processes_in(
        home / "redis", named="redis-server"
    )


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        (
            {"DATABASE_URL": "mysql://root@127.0.0.1/x"},
            "DATABASE_URL must look like postgresql://user:password@host:port/name",
        ),
        ({"DATABASE_URL": "postgresql://u:geheim@127.0.0.1:5432"}, r"DATABASE_URL names no database \(.*\)"),
        ({"DATABASE_URL": "postgresql://u:geheim@127.0.0.1:port/x"}, "DATABASE_URL.*port.*"),
        (
            {"DATABASE_URL": "postgresql://u:geheim@127.0.0.1:9/x"},
            r"DATABASE_URL: connection failed.* port 9 failed: .*",
        ),
        (
            {"DATABASE_URL": "postgresql://u:geheim@127.0.0.1/x?nonsense=1"},
            "DATABASE_URL is malformed: .*nonsense.*",
        ),
        ({"REDIS_URL": "127.0.0.1:6379"}, "REDIS_URL is malformed: .*"),
        ({"REDIS_URL": "redis://u:geheim@127.0.0.1:9/0"}, r"REDIS_URL: .*127\.0\.0\.1:9.*refused.*"),
        ({"PORT": "eight"}, "PORT must be a number from 1 to 65535, not 'eight'"),
        ({"PORT": "70000"}, "PORT must be a number from 1 to 65535, not '70000'"),
    ],
)
def test_a_wrong_variable_is_one_line_and_exit_2(
    run_command: Run, tmp_path: Path, variables: dict[str, str], line: str
) -> None:
    done = run_command("serve", "--once", **variables)

    assert done.returncode == 2
    assert re.fullmatch(f"kaihu: {line}\n", done.stderr), done.stderr
    assert "geheim" not in done.stderr
    assert servers_in(tmp_path) == []


def test_a_taken_port_is_one_line_and_exit_2(run_command: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run_command("serve", "--once", PORT=str(port))
    assert done.returncode == 2
    assert done.stderr == (
        f"kaihu: PORT={port} is taken (or not allowed) on 127.0.0.1: choose another, or leave PORT unset\n"
    )


@pytest.fixture
def old_postgres() -> Iterator[int]:
    """Speaks just enough of PostgreSQL's protocol to say that it is version 13.4."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer_as_old_postgres, args=(listener,), daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(timeout=5)


def answer_as_old_postgres(listener: socket.socket) -> None:
    def message(kind: bytes, body: bytes) -> bytes:
        return kind + struct.pack("!i", len(body) + 4) + body

    connection, _ = listener.accept()
    with closing(connection):
        while (code := struct.unpack("!ii", connection.recv(8, socket.MSG_WAITALL))[1]) in (
            80877103,
            80877104,
        ):
            connection.sendall(b"N")
        assert code >> 16 == 3
        connection.recv(4096)
        connection.sendall(
            message(b"R", struct.pack("!i", 0))
            + message(b"S", b"server_version\x0013.4\x00")
            + message(b"S", b"client_encoding\x00UTF8\x00")
            + message(b"K", struct.pack("!ii", 1, 1))
            + message(b"Z", b"I")
        )
        connection.recv(4096)


def test_an_old_postgresql_is_refused(run_command: Run, old_postgres: int) -> None:
    done = run_command(
        "serve", "--once", DATABASE_URL=f"postgresql://u@127.0.0.1:{old_postgres}/x?gssencmode=disable"
    )
    assert done.returncode == 2
    assert done.stderr == "kaihu: DATABASE_URL: PostgreSQL 13.4 is too old, 15 or newer is needed\n"


def test_one_serve_at_a_time(run_command: Run, tmp_path: Path) -> None:
    lock = Lock(home=tmp_path)
    assert lock.acquire()
    done = run_command("serve", "--once")
    lock.release()
    assert done.returncode == 2
    assert done.stderr.startswith(
        f"kaihu: cannot serve: process {os.getpid()} of this clone is already running"
    )
    assert done.stderr.count("\n") == 1


def test_exec_passes_output_and_exit_code_and_stops_the_servers(run_command: Run, tmp_path: Path) -> None:
    done = run_command("exec", "--", "sh", "-c", 'echo "$DATABASE_URL $REDIS_URL $KAIHU_DATA_KEYS"; exit 7')

    memory = Memory.load(tmp_path)
    assert done.returncode == 7
    secrets = local_env.secrets_of(tmp_path)
    assert done.stdout == f"{memory.database_url} {memory.redis_url} {secrets['KAIHU_DATA_KEYS']}\n"
    assert servers_in(tmp_path) == []
    assert run_command("exec", "--", "/nonexistent").returncode == 127
    assert servers_in(tmp_path) == []


@pytest.fixture
def running(tmp_path: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """`exec` of a command that waits."""
    command = [
        sys.executable,
        "-m",
        "config.run",
        "exec",
        "--var",
        str(tmp_path),
        "--",
        "sh",
        "-c",
        "echo up; exec sleep 60",
    ]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        yield process
        process.kill()


def test_a_second_exec_uses_the_servers_and_leaves_them(
    run_command: Run, tmp_path: Path, running: subprocess.Popen[str]
) -> None:
    before = servers_in(tmp_path)
    done = run_command("exec", "--", "sh", "-c", 'echo "$DATABASE_URL"')
    assert done.stdout == f"{Memory.load(tmp_path).database_url}\n"
    assert set(before) <= set(servers_in(tmp_path))
    assert running.poll() is None


def test_stop_ends_it_with_its_servers(
    run_command: Run, tmp_path: Path, running: subprocess.Popen[str]
) -> None:
    done = run_command("stop")
    assert (done.returncode, done.stdout) == (0, "  Stopped.\n")
    assert running.wait(timeout=5) == 128 + signal.SIGTERM
    assert servers_in(tmp_path) == []
    assert run_command("stop").stdout == "  Nothing runs.\n"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children that their parent was killed")
def test_a_killed_exec_leaves_nothing(tmp_path: Path, running: subprocess.Popen[str]) -> None:
    assert servers_in(tmp_path)
    running.kill()
    wait_until(lambda: not servers_in(tmp_path))


def test_secrets_are_made_once_and_completed(tmp_path: Path) -> None:
    first = local_env.secrets_of(tmp_path)
    assert local_env.secrets_of(tmp_path) == first
    assert (tmp_path / "local.env").stat().st_mode & 0o777 == 0o600
    kept = {name: value for name, value in first.items() if name != "REALNAME_TOKEN"}
    (tmp_path / "local.env").write_text("".join(f"{name}={value}\n" for name, value in kept.items()))

    completed = local_env.secrets_of(tmp_path)

    assert {name: value for name, value in completed.items() if name != "REALNAME_TOKEN"} == kept
    assert completed["REALNAME_TOKEN"] not in ("", first["REALNAME_TOKEN"])


def test_our_own_address_in_the_environment_counts_as_none(tmp_path: Path) -> None:
    memory = Memory(postgres_port=20_001, postgres_password="p", redis_port=20_002, redis_password="r")
    memory.save(tmp_path)
    environment = {"DATABASE_URL": memory.database_url, "REDIS_URL": "redis://elsewhere:6379/0"}
    given = Given.from_environment(environment, home=tmp_path)
    assert given == Given(database_url=None, redis_url="redis://elsewhere:6379/0")


def test_ports() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert not ports.is_free(port)
        assert ports.free_port(remembered=port) != port
        with pytest.raises(Problem):
            ports.web_port(str(port))
    assert ports.free_port(remembered=port) == port
    assert ports.web_port(str(port)) == port
    assert ports.is_free(ports.web_port(None, remembered=port))


@pytest.mark.parametrize(
    ("url", "number", "expected"),
    [
        ("redis://u:p@h:1/0", 0, "redis://u:p@h:1/0"),
        ("redis://u:p@h:1/0", 3, "redis://u:p@h:1/3"),
        ("redis://h:1", 1, "redis://h:1/1"),
        ("rediss://h:1/8?ssl_cert_reqs=none", 2, "rediss://h:1/10?ssl_cert_reqs=none"),
    ],
)
def test_every_worker_has_its_redis_database(url: str, number: int, expected: str) -> None:
    assert redis_of_worker(url, number=number) == expected

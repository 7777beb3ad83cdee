"""The embedded servers: as any user, again and again, whatever happened before."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from config.run import privileges
from config.run.embedded import Embedded, end_strays
from config.run.home import ROOT, Memory
from config.run.processes import Supervisor, processes_in
from config.run.servers import claimed
from tests.run.conftest import wait_until

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def start(home: Path, supervisor: Supervisor) -> tuple[str, str]:
    embedded = Embedded(home=home, supervisor=supervisor, durable=False)
    return embedded.start_postgres(), embedded.start_redis()


def leave_a_mark(database_url: str, redis_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE TABLE mark AS SELECT 'kept' AS word")
    with redis.Redis.from_url(redis_url) as client:
        client.set("mark", "kept")


def marks(database_url: str, redis_url: str) -> tuple[str, str]:
    with psycopg.connect(database_url) as connection, redis.Redis.from_url(redis_url) as client:
        row = connection.execute("SELECT word FROM mark").fetchone()
        return row[0] if row else "", (client.get("mark") or b"").decode()


def test_a_second_start_has_the_same_addresses_and_data(tmp_path: Path) -> None:
    with claimed(home=tmp_path, doing="test") as supervisor:
        first = start(tmp_path, supervisor)
        leave_a_mark(*first)
    assert processes_in(tmp_path / "postgres", named="postgres") == []

    with claimed(home=tmp_path, doing="test") as supervisor:
        assert start(tmp_path, supervisor) == first
        assert marks(*first) == ("kept", "kept")


def test_strangers_stay_out(tmp_path: Path, supervisor: Supervisor) -> None:
    database_url, redis_url = start(tmp_path, supervisor)
    memory = Memory.load(tmp_path)

    for user in ("kaihu", "postgres"):
        with pytest.raises(psycopg.OperationalError, match=r"authentication failed|no password"):
            psycopg.connect(database_url.replace(f"kaihu:{memory.postgres_password}", f"{user}:guess"))
    for address in (
        redis_url.replace(memory.redis_password, "guess"),
        f"redis://127.0.0.1:{memory.redis_port}/0",
    ):
        client = redis.Redis.from_url(address, retry=Retry(NoBackoff(), 0))
        with client, pytest.raises(redis.AuthenticationError):
            client.ping()
    with psycopg.connect(database_url) as connection:
        rights = connection.execute(
            "SELECT rolsuper, rolcreatedb FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
        assert rights == (False, True)
        listening = connection.execute("SELECT current_setting('listen_addresses')").fetchone()
        assert listening == ("127.0.0.1",)
    for secret in (tmp_path / "servers.json", tmp_path / "redis" / "redis.conf"):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    arguments = Path(f"/proc/{supervisor.children['redis'].process.pid}/cmdline").read_text()
    assert memory.redis_password not in arguments


def test_it_starts_after_everything_was_killed(tmp_path: Path, supervisor: Supervisor) -> None:
    before = start(tmp_path, supervisor)
    leave_a_mark(*before)
    postmaster = supervisor.children["postgres"].process.pid
    killed = processes_in(tmp_path / "postgres", named="postgres") + processes_in(
        tmp_path / "redis", named="redis-server"
    )
    assert len(killed) > 5
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    assert (tmp_path / "postgres" / "postmaster.pid").read_text().startswith(f"{postmaster}\n")

    with Supervisor(home=tmp_path) as second:
        assert start(tmp_path, second) == before
        assert marks(*before) == ("kept", "kept")


def test_a_pid_file_whose_number_somebody_else_has_now(tmp_path: Path, supervisor: Supervisor) -> None:
    database_url, _ = start(tmp_path, supervisor)
    data = tmp_path / "postgres"
    content = (data / "postmaster.pid").read_text().splitlines()
    owner = data.stat()
    supervisor.stop("postgres")
    # Run by the server's own user, or PostgreSQL would see by itself that it is not a server.
    identity = (
        None if owner.st_uid == os.geteuid() else privileges.Identity(uid=owner.st_uid, gid=owner.st_gid)
    )
    stranger = subprocess.Popen(
        ["sleep", "60"], preexec_fn=None if identity is None else lambda: privileges.become(identity)
    )
    try:
        (data / "postmaster.pid").write_text("\n".join([str(stranger.pid), *content[1:]]) + "\n")
        os.chown(data / "postmaster.pid", owner.st_uid, owner.st_gid)
        assert Embedded(home=tmp_path, supervisor=supervisor).start_postgres() == database_url
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_servers_that_outlived_their_supervisor_are_ended(tmp_path: Path, supervisor: Supervisor) -> None:
    before = start(tmp_path, supervisor)
    old = supervisor.children["postgres"].process
    for file in (tmp_path / "run").glob("*.pid"):
        file.unlink()

    with Supervisor(home=tmp_path) as second:
        assert start(tmp_path, second) == before
        assert old.wait(timeout=5) == 0
        assert second.children["postgres"].process.pid in processes_in(
            tmp_path / "postgres", named="postgres"
        )


def test_a_shell_in_the_data_directory_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"], cwd=tmp_path) as shell:
        end_strays(tmp_path, named="postgres")
        assert shell.poll() is None
        shell.kill()


def test_taken_ports_are_left_to_their_owner(tmp_path: Path) -> None:
    with Supervisor(home=tmp_path) as supervisor:
        start(tmp_path, supervisor)
    before = Memory.load(tmp_path)
    with (
        socket.create_server(("127.0.0.1", before.postgres_port or 0)),
        socket.create_server(("127.0.0.1", before.redis_port or 0)),
        Supervisor(home=tmp_path) as supervisor,
    ):
        start(tmp_path, supervisor)
        after = Memory.load(tmp_path)
    assert before.postgres_port != after.postgres_port
    assert before.redis_port != after.redis_port


def test_a_half_made_cluster_and_lost_passwords_are_made_again(
    tmp_path: Path, supervisor: Supervisor
) -> None:
    half = tmp_path / "postgres.new"
    (half / "base").mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    embedded = Embedded(home=tmp_path, supervisor=supervisor, durable=False)
    first = embedded.start_postgres()
    assert not half.exists()
    with psycopg.connect(first) as connection:
        connection.execute("CREATE TABLE mark AS SELECT 'kept' AS word")
    supervisor.stop("postgres")
    (tmp_path / "servers.json").unlink()

    second = Embedded(home=tmp_path, supervisor=supervisor, durable=False).start_postgres()

    assert second != first
    with psycopg.connect(second) as connection:
        assert connection.execute("SELECT word FROM mark").fetchone() == ("kept",)


def test_two_clones_at_once(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "another, with 空格 in its name"
    with claimed(home=one, doing="test") as first, claimed(home=other, doing="test") as second:
        urls = {*start(one, first), *start(other, second)}
    assert len(urls) == 4


# As another user: a fresh interpreter becomes that user and runs this twice; it prints the URLs and who owns
# the data.
SCRIPT = """
import os, sys
from pathlib import Path
import psycopg, redis
from config.run.embedded import Embedded
from config.run.servers import claimed
home = Path(sys.argv[1])
for _ in range(2):
    with claimed(home=home, doing="test") as supervisor:
        embedded = Embedded(home=home, supervisor=supervisor, durable=False)
        database_url, redis_url = embedded.start_postgres(), embedded.start_redis()
        with psycopg.connect(database_url) as connection, redis.Redis.from_url(redis_url) as client:
            connection.execute("SELECT 1"), client.ping()
        print(database_url, redis_url, os.geteuid())
"""


def run_twice(home: Path, environment: dict[str, str], become: Callable[[], None]) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(home)],
        cwd=ROOT,
        env=environment | {"PYTHONDONTWRITEBYTECODE": "1", "HOME": "/nonexistent"},
        preexec_fn=become,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@as_root
def test_a_normal_user(tmp_path: Path, environment: dict[str, str]) -> None:
    # Keeps the right to read everywhere only because this clone may be in a folder of root's own.
    user = privileges.Identity(uid=privileges.NOBODY, gid=privileges.NOBODY, reads_everything=True)
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, user.uid, user.gid)

    lines = run_twice(home, environment, lambda: privileges.become(user))

    first, second = (line for line in lines if line.startswith("postgresql://"))
    assert first == second
    assert first.endswith(f" {privileges.NOBODY}")
    assert (home / "postgres").stat().st_uid == privileges.NOBODY


@as_root
def test_root_without_the_capability_keeps_the_data_elsewhere(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    home = tmp_path / "home"

    lines = run_twice(home, environment, drop_capability)

    first, second = (line for line in lines if line.startswith("postgresql://"))
    assert first == second
    elsewhere = Path(Memory.load(home).postgres_folder)
    try:
        assert lines[0] == (
            f"  User {privileges.NOBODY} runs PostgreSQL and cannot reach this clone: data in {elsewhere}"
        )
        assert (elsewhere / "postgres").stat().st_uid == privileges.NOBODY
        assert not (home / "postgres").exists()
    finally:
        stopped = subprocess.run(
            [sys.executable, "-m", "config.run", "stop", "--delete-data", "--var", str(home)],
            cwd=ROOT,
            env=environment,
        )
        left = elsewhere.exists()
        shutil.rmtree(elsewhere, ignore_errors=True)
    assert stopped.returncode == 0
    assert not left


def drop_capability() -> None:
    """As in containers, whose root may not read everywhere."""
    pr_capbset_drop = 24
    assert privileges._libc.prctl(pr_capbset_drop, privileges.CAP_DAC_READ_SEARCH, 0, 0, 0) == 0


@as_root
def test_what_a_child_may_do_as_another_user(tmp_path: Path) -> None:
    secret = tmp_path / "closed" / "secret"
    secret.parent.mkdir(mode=0o700)
    secret.write_text("read")
    command = ["sh", "-c", f"cat '{secret}'; touch '{secret.parent}/more'; id -u; true"]

    def answer(*, reads_everything: bool) -> str | None:
        user = privileges.Identity(
            uid=privileges.NOBODY, gid=privileges.NOBODY, reads_everything=reads_everything
        )
        return privileges.output_of(command, identity=user)

    assert answer(reads_everything=True) == f"read{privileges.NOBODY}"
    assert answer(reads_everything=False) == str(privileges.NOBODY)
    assert not (secret.parent / "more").exists()
    assert not privileges.can_search(secret.parent, uid=privileges.NOBODY, gid=privileges.NOBODY)
    assert privileges.can_search(Path("/usr/bin/env"), uid=privileges.NOBODY, gid=privileges.NOBODY)


def test_a_server_that_is_killed_comes_back(tmp_path: Path, supervisor: Supervisor) -> None:
    before = start(tmp_path, supervisor)
    leave_a_mark(*before)
    for name in ("postgres", "redis"):
        supervisor.children[name].process.kill()

    def back() -> bool:
        supervisor.watch()
        try:
            return marks(*before) == ("kept", "kept")
        except (psycopg.OperationalError, redis.RedisError):
            return False

    wait_until(back)

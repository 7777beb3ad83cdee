"""Which PostgreSQL and Redis a command uses: those of DATABASE_URL and REDIS_URL, or embedded ones.

The two are independent: one may be given and the other embedded.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from config.run.console import Problem, say
from config.run.embedded import Embedded
from config.run.home import Lock, Memory
from config.run.processes import Supervisor, end_leftovers

OLDEST_POSTGRES = 15
OLDEST_REDIS = 6
CONNECT_SECONDS = 5
# How long a second command waits for servers that a first one is just starting.
SHARE_SECONDS = 60


class Busy(Problem):
    """Another command uses the folder now."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """The servers the environment names; None where it names none."""

    database_url: str | None
    redis_url: str | None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], *, home: Path) -> Given:
        """An URL of our own embedded server (out of `demo.env`) counts as none: that server may be gone."""
        ours = Memory.load(home)
        database_url, redis_url = (
            environment.get("DATABASE_URL") or None,
            environment.get("REDIS_URL") or None,
        )
        return cls(
            database_url=None if database_url == ours.database_url else database_url,
            redis_url=None if redis_url == ours.redis_url else redis_url,
        )

    def complete(self) -> Servers | None:
        """Both, when nothing has to be started."""
        if self.database_url is None or self.redis_url is None:
            return None
        return Servers(database_url=self.database_url, redis_url=self.redis_url)

    def check(self, *, database: str | None = None) -> None:
        """Connects to what is named; `database` instead of the one in the URL, which may not exist yet.

        :raises Problem: malformed, not reachable, or too old.
        """
        if self.database_url is not None:
            check_database(self.database_url, database=database)
        if self.redis_url is not None:
            check_redis(self.redis_url)


@dataclass(frozen=True, kw_only=True)
class Servers:
    database_url: str
    redis_url: str


@contextmanager
def claimed(*, home: Path, doing: str) -> Iterator[Supervisor]:
    """A supervisor for the folder, which nobody else uses meanwhile; what a killed one left is ended first.

    :raises Busy: another command of this clone is running.
    """
    lock = Lock(home=home)
    if not lock.acquire():
        raise Busy(
            f"cannot {doing}: process {lock.owner()} of this clone is already running (`make stop` ends it)"
        )
    try:
        ended = end_leftovers(home=home)
        if ended:
            say(f"  Ended {ended} process{'es' if ended > 1 else ''} that an earlier run left behind")
        with Supervisor(home=home) as supervisor:
            yield supervisor
    finally:
        lock.release()


def start(*, given: Given, home: Path, supervisor: Supervisor, durable: bool = True) -> Servers:
    """Starts what is not given; the supervisor stops it."""
    embedded = Embedded(home=home, supervisor=supervisor, durable=durable)
    return Servers(
        database_url=given.database_url or embedded.start_postgres(),
        redis_url=given.redis_url or embedded.start_redis(),
    )


def shared(*, given: Given, home: Path) -> Servers | None:
    """The servers that another command of this clone runs now, which the caller must not stop; or None."""
    lock, deadline = Lock(home=home), time.monotonic() + SHARE_SECONDS
    while not lock.acquire():
        memory = Memory.load(home)
        servers = Servers(
            database_url=given.database_url or memory.database_url,
            redis_url=given.redis_url or memory.redis_url,
        )
        try:
            check_database(servers.database_url)
            check_redis(servers.redis_url)
            return servers
        except Problem:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.3)
    lock.release()
    return None


def check_database(url: str, *, database: str | None = None) -> None:
    """:raises Problem: in one line and without the password, see Given.check."""
    if not url.startswith(("postgres://", "postgresql://")):
        raise Problem("DATABASE_URL must look like postgresql://user:password@host:port/name")
    try:
        if not psycopg.conninfo.conninfo_to_dict(url).get("dbname"):
            raise Problem("DATABASE_URL names no database (postgresql://user:password@host:port/name)")
        address = url if database is None else psycopg.conninfo.make_conninfo(url, dbname=database)
        with psycopg.connect(address, connect_timeout=CONNECT_SECONDS) as connection:
            version = connection.info.server_version
    except psycopg.ProgrammingError as error:
        raise Problem(f"DATABASE_URL is malformed: {_one_line(error, url)}") from None
    except psycopg.Error as error:
        raise Problem(f"DATABASE_URL: {_one_line(error, url)}") from None
    if version < OLDEST_POSTGRES * 10_000:
        found = f"{version // 10_000}.{version % 10_000}"
        raise Problem(f"DATABASE_URL: PostgreSQL {found} is too old, {OLDEST_POSTGRES} or newer is needed")


def check_redis(url: str) -> None:
    """:raises Problem: in one line and without the password, see Given.check."""
    try:
        with redis.Redis.from_url(
            url,
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=CONNECT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        ) as client:
            version = str(client.info("server").get("redis_version", "0"))
    except ValueError as error:
        raise Problem(f"REDIS_URL is malformed: {_one_line(error, url)}") from None
    except redis.RedisError as error:
        raise Problem(f"REDIS_URL: {_one_line(error, url)}") from None
    if int(version.partition(".")[0]) < OLDEST_REDIS:
        raise Problem(f"REDIS_URL: Redis {version} is too old, {OLDEST_REDIS} or newer is needed")


def _one_line(error: Exception, url: str) -> str:
    """The first line of what a driver says, less the password if it is in there."""
    message = (str(error).strip().splitlines() or ["no connection"])[0]
    password = re.search(r"://[^:/@]*:([^@]+)@", url)
    return (
        message.replace(url, "its value").replace(password[1], "***")
        if password
        else message.replace(url, "its value")
    )

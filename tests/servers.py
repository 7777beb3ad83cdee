"""pytest plugin (`-p tests.servers`): PostgreSQL and Redis for a plain `pytest`, before the settings are
read.

With DATABASE_URL and REDIS_URL set those servers are used; what is not set is started under `var/test/` and
stopped at the end. Every xdist worker has its own Redis database (and, from pytest-django, its own PostgreSQL
database).
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from config.run import servers
from config.run.console import Problem, tail
from config.run.home import VAR
from config.run.processes import Supervisor

# Test runs of one clone at the same time; each has its own folder.
MOST_RUNS = 8
SECRETS = {
    "CARRIER_SIM_SECRET": "only-for-tests-simulator",
    "REALNAME_TOKEN": "only-for-tests-real-name",
    "REALNAME_SECOND_SECRET": "only-for-tests-second-real-name",
}
NO_SERVERS = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:9/nothing", "REDIS_URL": "redis://127.0.0.1:9/0"}


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, object, object]:
    """A wrapper, because pytest-django's own hook, which loads the settings, is also a first one."""
    # Not a default: a shell that has the demo's environment must not run tests with the demo's settings.
    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings.test"
    for name, value in SECRETS.items():
        os.environ.setdefault(name, value)
    options = early_config.known_args_namespace
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is not None:
        os.environ["REDIS_URL"] = redis_of_worker(
            os.environ["REDIS_URL"], number=int(worker.removeprefix("gw"))
        )
    elif options.collectonly or options.help or options.version:
        for name, value in NO_SERVERS.items():
            os.environ.setdefault(name, value)
    else:
        stack = ExitStack()
        early_config.add_cleanup(stack.close)
        try:
            start(stack)
        except Problem as problem:
            raise pytest.UsageError("\n".join([*tail(problem.log), str(problem)])) from None
    return (yield)


def start(stack: ExitStack) -> None:
    """Sets DATABASE_URL and REDIS_URL; the stack stops what was started."""
    given = servers.Given.from_environment(os.environ, home=VAR / "test")
    given.check(database="postgres")
    running = given.complete()
    if running is None:
        home, supervisor = claim(stack)
        running = servers.start(given=given, home=home, supervisor=supervisor, durable=False)
    os.environ.update(DATABASE_URL=running.database_url, REDIS_URL=running.redis_url)


def claim(stack: ExitStack) -> tuple[Path, Supervisor]:
    """The first folder that no other test run uses."""
    for number in range(1, MOST_RUNS + 1):
        home = VAR / ("test" if number == 1 else f"test-{number}")
        try:
            return home, stack.enter_context(servers.claimed(home=home, doing="test"))
        except servers.Busy:
            continue
    raise Problem(f"{MOST_RUNS} test runs of this clone are going on already")


def redis_of_worker(url: str, *, number: int) -> str:
    """The URL with the database number raised by the worker's."""
    parts = urlsplit(url)
    first = parts.path.strip("/") or "0"
    if parts.scheme == "unix" or not first.isdecimal():
        return url
    return parts._replace(path=f"/{int(first) + number}").geturl()

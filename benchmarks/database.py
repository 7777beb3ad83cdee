"""A PostgreSQL of its own for one benchmark: real settings, real durability, thrown away at the end."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from config.run import embedded, servers
from config.run.home import VAR

# About what the manual advises for a machine that the database shares with others. Autovacuum is off: what vacuum does
# and does not do is part of what is measured.
SETTINGS = {
    "shared_buffers": "4GB",
    "effective_cache_size": "12GB",
    "maintenance_work_mem": "1GB",
    "max_wal_size": "16GB",
    "checkpoint_timeout": "30min",
    "wal_compression": "off",
    "autovacuum": "off",
}
SHOWN = (*SETTINGS, "server_version", "fsync", "synchronous_commit", "full_page_writes")


@dataclass(frozen=True)
class Database:
    url: str
    pgbench: Path
    settings: Mapping[str, str]


@contextmanager
def fresh_database(name: str) -> Iterator[Database]:
    """Starts it empty, migrated, and with Django set up for it; stops it and removes its data."""
    home = VAR / "bench" / name
    shutil.rmtree(home, ignore_errors=True)
    with servers.claimed(home=home, doing="benchmark") as supervisor:
        own = embedded.Embedded(home=home, supervisor=supervisor, postgres_settings=SETTINGS)
        url, redis_url = own.start_postgres(), own.start_redis()
        os.environ.update(
            DATABASE_URL=url, REDIS_URL=redis_url, DJANGO_SETTINGS_MODULE="config.settings.test"
        )
        import django

        django.setup()
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        with psycopg.connect(url) as connection:
            settings = {key: _shown(connection, key) for key in SHOWN}
        try:
            yield Database(url=url, pgbench=own.binary("pgbench"), settings=settings)
        finally:
            from django.db import connections

            connections.close_all()
    embedded.remove_data(home=home)
    shutil.rmtree(home, ignore_errors=True)


def _shown(connection: psycopg.Connection, key: str) -> str:
    row = connection.execute("SELECT current_setting(%s)", [key]).fetchone()
    return str(row[0]) if row else ""

"""Reading the environment: what is missing or malformed ends the process with one clear line."""

from __future__ import annotations

import os
from pathlib import Path

import environ

BASE_DIR = Path(__file__).resolve().parent.parent


def load_files(*paths: Path) -> None:
    """Reads KEY=value files that exist; what the environment already has is kept."""
    for path in paths:
        if path.is_file():
            environ.Env.read_env(str(path), overwrite=False)


def stop(message: str) -> SystemExit:
    return SystemExit(f"kaihu: {message}")


def text(name: str, default: str | None = None) -> str:
    """:raises SystemExit: in one line, when it is not set and has no default."""
    value = os.environ.get(name, default)
    if value is None or value == "":
        raise stop(
            f"environment variable {name} is not set. Start everything with `make run`, or see README, 'Real servers'."
        )
    return value


def number(name: str, default: int) -> int:
    value = os.environ.get(name, "")
    if not value:
        return default
    if not value.isdigit():
        raise stop(f"environment variable {name} must be a whole number.")
    return int(value)


def flag(name: str, default: bool) -> bool:
    value = os.environ.get(name, "").lower()
    if value in ("", "1", "true", "yes", "0", "false", "no"):
        return default if not value else value in ("1", "true", "yes")
    raise stop(f"environment variable {name} must be true or false.")


def database(name: str) -> dict[str, object]:
    """A Django database entry from a postgres:// URL."""
    url = text(name)
    if not url.startswith(("postgres://", "postgresql://")):
        raise stop(f"{name} must start with postgresql:// (only PostgreSQL is supported).")
    try:
        config = environ.Env.db_url_config(url)
    except Exception:
        raise stop(f"{name} is not a valid database URL.") from None
    if not config.get("NAME"):
        raise stop(f"{name} names no database (postgresql://user:password@host:port/name).")
    return dict(config)


def redis(name: str) -> str:
    url = text(name)
    if not url.startswith(("redis://", "rediss://", "unix://")):
        raise stop(f"{name} must start with redis://, rediss:// or unix://.")
    return url

"""`var/local.env`: the secrets of a demo on this machine, made once."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable
from pathlib import Path

from config.run.home import write_private


def _key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


# Data sealed with a key that is lost stays sealed for ever: values are added here, never replaced.
MAKERS: dict[str, Callable[[], str]] = {
    "KAIHU_SECRET_KEY": lambda: secrets.token_urlsafe(48),
    "KAIHU_DATA_KEYS": lambda: f"k1:{_key()}",
    "KAIHU_INDEX_KEY": _key,
    "CARRIER_SIM_SECRET": lambda: secrets.token_hex(32),
    "REALNAME_TOKEN": lambda: secrets.token_hex(32),
    "REALNAME_SECOND_SECRET": lambda: secrets.token_hex(32),
}


def secrets_of(home: Path) -> dict[str, str]:
    """The secrets of the file, which is made or completed first; mode 0600."""
    path = home / "local.env"
    values: dict[str, str] = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            name, separator, value = line.partition("=")
            if separator and not name.startswith("#"):
                values[name.strip()] = value.strip()
    missing = {name: make() for name, make in MAKERS.items() if name not in values}
    if missing:
        values |= missing
        lines = [
            "# Secrets of this machine's demo, made by `make run`. Without them its data cannot be read."
        ]
        write_private(path, "\n".join(lines + [f"{name}={value}" for name, value in values.items()]) + "\n")
    return values

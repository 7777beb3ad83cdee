"""`make test LONG=1`: suites that prove more the longer they run, at their full length."""

from __future__ import annotations

import os

IS_LONG = os.environ.get("KAIHU_LONG_TESTS") == "1"


def at_length(short: int, long: int) -> int:
    return long if IS_LONG else short

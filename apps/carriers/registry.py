"""Which dialects there are: the only importer of `adapters`."""

from __future__ import annotations

from apps.carriers.adapters.mobile import MobileAdapter
from apps.carriers.adapters.telecom import TelecomAdapter
from apps.carriers.adapters.unicom import UnicomAdapter
from apps.carriers.base import Adapter

ADAPTERS: dict[str, type[Adapter]] = {
    adapter.dialect: adapter for adapter in (UnicomAdapter, MobileAdapter, TelecomAdapter)
}

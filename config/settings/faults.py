"""The fault suite's: as `make run`, and the only settings under which fault points do anything."""

import os

from config.settings.local import *  # noqa: F403

# See apps/core/faults.py.
KAIHU_FAULTS = os.environ.get("KAIHU_FAULTS", "")
KAIHU_SABOTAGE = os.environ.get("KAIHU_SABOTAGE", "")

"""`manage.py rotate_keys`: new keys for personal data, while everything runs. What happens: services/rotation.py.

The first run moves everything from the keys of the environment to keys in the table. Every later run makes new keys, or
finishes the run before when that was killed. To change the master key, put the new one in front of KAIHU_DATA_KEYS,
restart every process, run this, and take the old one off.
"""

from __future__ import annotations

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.core.actor import Actor
from apps.core.db import database_now
from apps.provisioning.services import rotation


class Command(BaseCommand):
    help = "Re-seals every sealed column and blind index under new keys. Killed, it goes on when run again."

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--batch", type=int, default=rotation.BATCH, help="rows per transaction")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            names = rotation.rotate_keys(
                actor=Actor.system("rotate_keys"),
                clock=database_now,
                pause=time.sleep,
                tell=lambda text: self.stdout.write(text),
                batch=options["batch"],
            )
        except rotation.RotationStuck as error:
            raise CommandError(f"old keys stay in use, rows cannot be moved: {error}; see the log") from None
        self.stdout.write(f"everything is under {' and '.join(names)}")

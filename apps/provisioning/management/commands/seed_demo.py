"""`manage.py seed_demo --env FILE`: demonstration tenants with stock, carrier connections, partner apps and logins."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from apps.core import clock
from apps.core.actor import Actor
from apps.numbering.management import seeding as numbering
from apps.operators.management import seeding
from apps.provisioning.management import demo


class Command(BaseCommand):
    help = (
        "Makes the demonstration tenants ready and writes their addresses and secrets to a file (mode 0600)."
    )

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--env", type=Path, required=True, help="where addresses and secrets are written")

    def handle(self, *args: Any, **options: Any) -> None:
        # Demonstration licences in a real operator's database would be a false record.
        if os.environ.get("DJANGO_SETTINGS_MODULE", "").endswith("production"):
            raise CommandError("demonstration tenants do not belong into production")
        missing = [name for name in ("CARRIER_SIM_URL", "CARRIER_SIM_SECRET") if not os.environ.get(name)]
        if missing:
            raise CommandError(f"environment variable {missing[0]} is not set")
        actor, now = Actor.system("seed"), clock.now()
        folder = settings.BASE_DIR / "seeds" / "demo"
        try:
            seeding.load(folder=folder, actor=actor, now=now)
            numbering.load(folder=folder, actor=actor, now=now)
            demo.stock(folder=folder, actor=actor, now=now)
        except seeding.SeedInvalid as error:
            raise CommandError(str(error)) from error
        demo.connect(
            actor=actor,
            now=now,
            url=os.environ["CARRIER_SIM_URL"],
            master_secret=os.environ["CARRIER_SIM_SECRET"],
        )
        values = demo.access(actor=actor, now=now, known=demo.read_env(options["env"]))
        demo.write_env(
            options["env"],
            {
                "KAIHU_URL": settings.KAIHU_PUBLIC_URL,
                **values,
                "DATABASE_URL": os.environ["DATABASE_URL"],
                "REDIS_URL": os.environ["REDIS_URL"],
                "CARRIER_SIM_URL": os.environ["CARRIER_SIM_URL"],
            },
        )
        self.stdout.write(f"demo access written to {options['env']}")

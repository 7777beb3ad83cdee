"""`manage.py seed`: reference data and default policies. Safe to run again; what staff have set since stays."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from apps.core import clock
from apps.core.actor import Actor
from apps.numbering.management import seeding as numbering
from apps.operators.management import seeding
from apps.subscribers.management import seeding as subscribers


class Command(BaseCommand):
    help = (
        "Loads host carriers, access codes, document types, the licensees of July 2018, the default policies, the"
        " catalogue of pretty numbers and the words of re-verifications."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        folder, actor, now = settings.BASE_DIR / "seeds", Actor.system("seed"), clock.now()
        try:
            added = seeding.load(folder=folder, actor=actor, now=now)
            added |= numbering.load(folder=folder, actor=actor, now=now)
            added |= subscribers.load(folder=folder, actor=actor, now=now)
        except seeding.SeedInvalid as error:
            raise CommandError(str(error)) from error
        for name, count in added.items():
            self.stdout.write(f"{name}: {count} added")

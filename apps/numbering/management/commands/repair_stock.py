"""`manage.py repair_stock [--operator CODE] [--check]`: counts all numbers again and sets right what was wrong."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.core import clock
from apps.core.actor import Actor
from apps.core.errors import NotFound
from apps.numbering import selectors, services
from apps.operators import selectors as operators

ACTOR = Actor.system("repair_stock")


class Command(BaseCommand):
    help = "Counts all numbers and corrects the stock counts; with --check only says what is wrong (exit status 1)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--operator", metavar="CODE", help="Only this operator's numbers.")
        parser.add_argument("--check", action="store_true", help="Change nothing.")

    def handle(self, *args: Any, operator: str | None, check: bool, **options: Any) -> None:
        operator_id = None
        if operator is not None:
            try:
                operator_id = operators.get_operator_by_code(actor=ACTOR, code=operator).pk
            except NotFound:
                raise CommandError(f"There is no operator '{operator}'.") from None
        if not check:
            wrong = services.repair_stock(actor=ACTOR, operator_id=operator_id, now=clock.now())
            self.stdout.write(f"{wrong} counts corrected")
            return
        found = selectors.list_stock_differences(operator_id=operator_id)
        for each in found:
            more = ", ".join(f"{name} {value:+d}" for name, value in each.more.as_dict().items() if value)
            self.stdout.write(f"range {each.range_id}, {each.grade.label}: {more}")
        if found:
            raise CommandError(f"{len(found)} counts are wrong; repair_stock corrects them.", returncode=1)
        self.stdout.write("All counts are right")

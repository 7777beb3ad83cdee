"""`manage.py verify_audit`: recomputes the hash chains of the audit trail.

It stands here because `audit` is below this app and knows operators by their ids only. What a chain is, and why its
hashes have no key: apps/audit/chain.py.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.audit import verification
from apps.core.actor import Actor
from apps.operators import selectors

_PLATFORM = "platform"
_HEAD = re.compile(r"(?P<code>[-\w]+):(?P<sequence>[1-9]\d{0,17}):(?P<hash>[0-9a-f]{64})")


class Command(BaseCommand):
    help = (
        "Recomputes the hash chains of the audit trail and prints the head of each; names the first broken row of "
        "each broken chain and then ends with 1. Note the heads outside of this system: given back with "
        "--expect-head, they show whether somebody cut rows off the end or recomputed a whole chain."
    )

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--operator", metavar="CODE", help=f"only this operator's chain, or {_PLATFORM}")
        parser.add_argument(
            "--expect-head",
            metavar="CODE:SEQUENCE:HASH",
            action="append",
            default=[],
            help="a head that was printed earlier; any number of them",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        operators = selectors.list_operators(actor=Actor.system("verify_audit"))
        ids: dict[str, int | None] = {operator.code: operator.pk for operator in operators}
        ids[_PLATFORM] = None
        codes = {operator_id: code for code, operator_id in ids.items()}
        expected: dict[int | None, dict[int, bytes]] = defaultdict(dict)
        for text in options["expect_head"]:
            noted = _HEAD.fullmatch(text)
            if noted is None:
                raise CommandError(f"{text} is not a head as this command prints them")
            heads = expected[_known(ids, noted["code"])]
            if heads.setdefault(int(noted["sequence"]), bytes.fromhex(noted["hash"])).hex() != noted["hash"]:
                raise CommandError(f"{text} contradicts another head that is expected")
        only = options["operator"]
        chains = verification.list_chains() if only is None else [_known(ids, only)]
        broken = []
        for operator_id in dict.fromkeys([*chains, *expected]):
            code = codes.get(operator_id, str(operator_id))
            found = verification.verify(operator_id=operator_id, expected=expected[operator_id])
            if found.fault is not None:
                broken.append(
                    f"{code} is BROKEN at audit row {found.fault.audit_event_id}: {found.fault.what}"
                )
                continue
            self.stdout.write(f"{code}:{found.sequence}:{found.head.hex()}")
            if found.waiting:
                self.stdout.write(f"  and {found.waiting} newer rows that have no seal yet")
        if broken:
            raise CommandError("\n".join(broken))


def _known(ids: dict[str, int | None], code: str) -> int | None:
    if code not in ids:
        raise CommandError(f"there is no operator {code}")
    return ids[code]

"""The main job: the people of seeds/demo/subscribers.csv become subscribers with active lines, through the REST API.

It knows of Kaihu only what a partner knows, and ends with a table and with what does not stand as it should. A second
run finds the orders of the first by their external ids and looks at them again.
"""

from __future__ import annotations

import asyncio
import csv
import shlex
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from config.run.console import Problem
from config.run.home import ROOT
from config.run.partner import Partner, Refused
from config.run.run_settings import RunSettings

SAMPLE = ROOT / "seeds" / "demo" / "subscribers.csv"
# Which letter an operator has in var/demo.env.
LETTERS = {"alibaba": "A", "xiaomi": "B", "jd": "C"}
AT_ONCE = 12
PATIENCE_SECONDS = 180.0
FINAL = {"COMPLETED", "FAILED", "CANCELLED"}


@dataclass
class Person:
    """One row of the sample and what became of it."""

    row: Mapping[str, str]
    order: str = ""
    line: str = ""
    outcome: str = ""
    code: str = ""
    known: bool = False
    trouble: str = ""

    @property
    def operator(self) -> str:
        return self.row["operator"]

    @property
    def external_id(self) -> str:
        return self.row["external_id"]

    @property
    def is_right(self) -> bool:
        expected = {self.row["expect"]}
        if self.row["expect_code"] == "identity_not_verified" and self.row["expect"] == "FAILED":
            # Whichever is first: the order, which then fails, or the check, and then the order is refused.
            expected.add("REFUSED")
        return not self.trouble and self.outcome in expected and self.code == self.row["expect_code"]

    def end(self, outcome: str, code: str = "") -> None:
        self.outcome, self.code = outcome, code


@dataclass
class Job:
    """The whole sample at work."""

    partners: dict[str, Partner]
    people: list[Person]
    progress: Progress
    task: Any

    async def run(self) -> None:
        for partner in self.partners.values():
            await partner.login()
        await self._find_earlier_orders()
        await self._choose_sims_and_numbers()
        # Cards of one person one after the other, people side by side; whoever has ordered no longer counts.
        groups: dict[tuple[str, str], list[Person]] = defaultdict(list)
        for person in self.people:
            groups[person.operator, person.row["document_number"]].append(person)
        gate = asyncio.Semaphore(AT_ONCE)

        async def onboard(group: list[Person]) -> None:
            async with gate:
                for person in group:
                    await self._onboard(person)
            await asyncio.gather(*(self._follow(person) for person in group if person.order))

        await asyncio.gather(*(onboard(group) for group in groups.values()))
        await self._look_at_lines()

    async def _find_earlier_orders(self) -> None:
        known = {(person.operator, person.external_id): person for person in self.people}
        for name, partner in self.partners.items():
            async for order in partner.items("/orders", type="activate"):
                person = known.get((name, order["external_id"] or ""))
                # The list begins with the newest; one that was given up is placed anew.
                if person and not person.order and order["status"] != "CANCELLED":
                    person.order, person.line, person.known = order["id"], order["line"], True

    async def _choose_sims_and_numbers(self) -> None:
        for name, partner in self.partners.items():
            wanted = [p for p in self.people if p.operator == name and not p.order]
            endings = Counter(p.row["iccid_ending"] for p in wanted if p.row["iccid_ending"])
            sims: dict[str, list[str]] = defaultdict(list)
            if any(ending != "@mobile" for ending in endings):
                async for sim in partner.items("/sims", carrier="unicom", status="IN_STOCK"):
                    sims[sim["iccid"][-4:]].append(sim["iccid"])
            if "@mobile" in endings:
                async for sim in partner.items("/sims", carrier="mobile", status="IN_STOCK"):
                    sims["@mobile"].append(sim["iccid"])
                    break
            for person in wanted:
                choice = dict(person.row)
                if ending := choice["iccid_ending"]:
                    if not sims[ending]:
                        raise Problem(f"no SIM ending in {ending} left in the stock of {name}", exit_code=1)
                    choice["iccid"] = sims[ending].pop(0)
                if choice["number"].startswith("@"):
                    other = self.partners[choice["number"][1:]]
                    choice["number"] = (await other.get("/numbers", limit="1"))["items"][0]["number"]
                person.row = choice

    async def _onboard(self, person: Person) -> None:
        if person.order:
            return
        partner, row = self.partners[person.operator], person.row
        document = {"type": row["document_type"], "number": row["document_number"]}
        if row["valid_until"]:
            document["valid_until"] = row["valid_until"]
        order = {"type": "activate", "plan": row["plan"], "external_id": person.external_id}
        order |= {name: row[name] for name in ("number", "iccid") if row.get(name)}
        try:
            subscriber = await partner.post(
                "/subscribers", {"kind": "individual", "name": row["name"], "document": document}
            )
            await self._ask_for_check(partner, subscriber["id"])
            placed = await partner.post("/orders", {**order, "subscriber": subscriber["id"]})
        except Refused as refusal:
            self._ended(person, "REFUSED", refusal.code)
            return
        person.order, person.line = placed["id"], placed["line"]

    async def _ask_for_check(self, partner: Partner, subscriber: str) -> None:
        try:
            await partner.post(f"/subscribers/{subscriber}/verifications", {"channel": "online_video"})
        except Refused as refusal:
            # The check that the person's card before this one asked for.
            if refusal.code != "verification_in_progress":
                raise

    async def _follow(self, person: Person) -> None:
        """Asks for the order, less and less often, until it has ended or waits for a reviewer as it should."""
        deadline, pause = time.monotonic() + PATIENCE_SECONDS, 0.0 if person.known else 1.0
        while True:
            await asyncio.sleep(pause)
            order = await self.partners[person.operator].get(f"/orders/{person.order}")
            for_review = order["status"] == "HELD" and person.row["expect"] == "HELD"
            if order["status"] in FINAL or for_review or time.monotonic() > deadline:
                break
            pause = min(max(pause, 0.5) * 1.3, 3.0)
        if order["status"] not in FINAL and not for_review:
            person.trouble = f"still {order['status']} after {PATIENCE_SECONDS:.0f} s"
        self._ended(
            person, "ACTIVE" if order["status"] == "COMPLETED" else order["status"], order["reason"] or ""
        )

    def _ended(self, person: Person, outcome: str, code: str) -> None:
        person.end(outcome, code)
        self.progress.advance(self.task)

    async def _look_at_lines(self) -> None:
        """An order's word is not enough: every line must itself be in the state it should be in."""
        should = {"ACTIVE": "ACTIVE", "FAILED": "TERMINATED", "HELD": "PENDING"}
        for name, partner in self.partners.items():
            mine = {p.line: p for p in self.people if p.line and p.operator == name}
            async for line in partner.items("/lines"):
                person = mine.get(line["id"])
                if person and person.outcome in should and line["status"] != should[person.outcome]:
                    person.trouble = f"line is {line['status']}"


def run(settings: RunSettings) -> int:
    """Answers the exit code of `make run`: 0 when every line of the sample stands as it should."""
    console = Console()
    access = _demo_access(settings)
    with SAMPLE.open(encoding="utf-8", newline="") as file:
        people = [Person(row) for row in csv.DictReader(file)]
    progress = Progress(
        TextColumn("  Onboarding {task.fields[what]}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )
    started = time.monotonic()
    with progress:
        task = progress.add_task("", total=len(people), what="sample subscribers through the REST API")
        asyncio.run(_work(settings, access, people, progress, task))
    seconds = time.monotonic() - started
    _show_table(console, people, seconds)
    doubled = _show_ledger(console, settings, people)
    wrong = [person for person in people if not person.is_right]
    for person in wrong:
        console.print(
            f"  [red]{person.external_id}[/]: {person.outcome} {person.code}"
            f" instead of {person.row['expect']} {person.row['expect_code']} {person.trouble}"
        )
    _show_access(console, settings, access)
    if wrong or doubled:
        console.print(f"\n  [bold red]{len(wrong)} of {len(people)} are not as they should be.[/]")
        return 1
    console.print(f"\n  [bold green]All {len(people)} are as they should be.[/]")
    return 0


async def _work(
    settings: RunSettings, access: Mapping[str, str], people: list[Person], progress: Progress, task: Any
) -> None:
    limits = httpx2.Limits(max_connections=AT_ONCE + 4)
    async with httpx2.AsyncClient(
        base_url=settings.web_url, timeout=30, limits=limits, trust_env=False
    ) as http:
        partners = {
            name: Partner(
                http,
                client_id=access[f"KAIHU_{letter}_CLIENT_ID"],
                client_secret=access[f"KAIHU_{letter}_CLIENT_SECRET"],
            )
            for name, letter in LETTERS.items()
        }
        await Job(partners, people, progress, task).run()


def _demo_access(settings: RunSettings) -> Mapping[str, str]:
    """Tenants, stock and logins of the demo, made or refreshed; written to var/demo.env."""
    command = [sys.executable, "manage.py", "seed_demo", "--env", str(settings.demo_env)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Problem(f"manage.py seed_demo failed:\n{(done.stderr or done.stdout)[-2000:]}", exit_code=1)
    words = shlex.split(settings.demo_env.read_text(encoding="utf-8"), comments=True)
    return dict(word.split("=", 1) for word in words if "=" in word)


def _show_table(console: Console, people: list[Person], seconds: float) -> None:
    table = Table(title="The main job", title_justify="left", title_style="bold")
    table.add_column("Result")
    table.add_column("Why")
    for name in LETTERS:
        table.add_column(name, justify="right")
    table.add_column("All", justify="right")
    counts = Counter((person.outcome, person.code, person.operator) for person in people)
    order = {"ACTIVE": 0, "HELD": 1, "FAILED": 2, "REFUSED": 3}
    for outcome, code in sorted({key[:2] for key in counts}, key=lambda key: (order.get(key[0], 9), key[1])):
        numbers = [counts[outcome, code, name] for name in LETTERS]
        table.add_row(
            outcome.lower() or "-",
            code or ("real-name check passed, on the carrier's network" if outcome == "ACTIVE" else "-"),
            *(str(number or "") for number in numbers),
            str(sum(numbers)),
        )
    console.print()
    console.print(table)
    fresh = sum(person.outcome == "ACTIVE" and not person.known for person in people)
    known = sum(person.known for person in people)
    console.print(f"  {fresh} lines activated in {seconds:.1f} s: {fresh / seconds:.1f} lines/s.")
    if known:
        console.print(f"  {known} orders of an earlier run were looked at again.")


def _show_ledger(console: Console, settings: RunSettings, people: list[Person]) -> bool:
    """What the carrier itself has on record; True when it carried out an activation twice."""
    accepted: Counter[str] = Counter()
    after: int | None = 0
    while after is not None:
        page = httpx2.get(
            f"{settings.carrier_sim_url}/_sim/ledger",
            params={"after": after, "limit": 1000},
            trust_env=False,
            timeout=30,
        ).json()
        for entry in page["items"]:
            if entry["operation"] == "activate" and not entry["duplicate"]:
                accepted[entry["reference"]] += 1
        after = page["next"]
    doubled = [reference for reference, count in accepted.items() if count > 1]
    console.print(
        f"  The carrier's own ledger: {len(accepted)} activations accepted, {len(doubled)} of them twice."
    )
    return bool(doubled)


def _show_access(console: Console, settings: RunSettings, access: Mapping[str, str]) -> None:
    table = Table(show_header=False, box=None, padding=(0, 2))
    table.add_row("Admin", f"{settings.web_url}/admin/")
    for role in ("", "A_COMPLIANCE_", "A_SUPPORT_", "A_ENGINEER_"):
        user, password = access.get(f"KAIHU_ADMIN_{role}USER"), access.get(f"KAIHU_ADMIN_{role}PASSWORD")
        if user:
            table.add_row("", f"{user} / {password}")
    table.add_row("REST API", f"{settings.web_url}/docs")
    table.add_row(
        "Credentials",
        str(
            settings.demo_env.relative_to(ROOT)
            if settings.demo_env.is_relative_to(ROOT)
            else settings.demo_env
        ),
    )
    table.add_row("Carrier", f"{settings.carrier_sim_url}/_sim/")
    console.print()
    console.print(table)

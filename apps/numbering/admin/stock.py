"""The stock of numbers: how much is left of what, where it runs out, which leases end."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html

from apps.accounts.admin_base import TenantAdmin, add_panel
from apps.accounts.admin_display import Panel, link, whole_id
from apps.core import clock
from apps.core.actor import Actor
from apps.numbering import selectors
from apps.numbering.models import NumberRange, RangeStock
from apps.numbering.selectors import Counts, Stock, StockTotal
from apps.numbering.states import NumberGrade
from apps.operators.calendar import china_date

# Rows of each table of the overview.
MOST = 15
# Days within which it is worth a colour that a stock runs out or a lease ends.
SOON = 30

_STATES = ("available", "reserved", "in_use", "quarantined", "withheld")
_COUNTS = ("Total", "Available", "Reserved", "In use", "Quarantined", "Withheld")


@admin.register(RangeStock)
class StockAdmin(TenantAdmin):
    """An overview above the counts of each range and grade."""

    list_display = ("range_link", "grade", "carrier", "home", *_STATES, "operator")
    list_filter = ("grade", "range__host_carrier", "operator")
    list_select_related = ("operator", "range__host_carrier")
    search_fields = ("range__prefix",)
    search_help_text = "The prefix of a range"
    empty_sentence = "Counts come with a leased range."
    ordering = ("-id",)
    fields = (
        ("range_link", "grade"),
        ("carrier", "home"),
        ("available", "reserved"),
        ("in_use", "quarantined"),
        ("withheld", "returned"),
        "operator",
    )
    list_before_template = "numbering/admin/stock.html"

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        filtered = set(request.GET) - {"e"}
        tables = [] if filtered else overview(self.actor_of(request))
        return super().changelist_view(request, {"title": "Stock", "tables": tables, **(extra_context or {})})

    @admin.display(description="Range")
    def range_link(self, row: RangeStock) -> str:
        return link(model="numbering_numberrange", key=row.range_id, text=row.range.prefix)

    @admin.display(description="Carrier")
    def carrier(self, row: RangeStock) -> str:
        return row.range.host_carrier.code

    @admin.display(description="Home area")
    def home(self, row: RangeStock) -> str:
        return f"{row.range.home_province} {row.range.home_city}"


def overview(actor: Actor) -> list[dict[str, Any]]:
    """The tables above the list, each with what it means."""
    now = clock.now()
    fullest = selectors.list_range_ids_by_fill(actor=actor, limit=MOST)
    wanting = selectors.list_range_ids_below_minimum(actor=actor, limit=MOST)
    ending = list(selectors.list_ending(actor=actor, now=now).order_by("leased_until", "first")[:MOST])
    keys = {*fullest, *wanting, *(leased.pk for leased in ending)}
    ranges = {leased.pk: leased for leased in selectors.list_ranges(actor=actor).filter(pk__in=keys)}
    stock = selectors.get_stock(range_ids=keys, now=now)
    today = china_date(now)

    # Who has one operator needs not be told which.
    of_whom = actor.operator_id is None

    def rows(keys: Iterable[int]) -> list[tuple[object, ...]]:
        return [_range_row(ranges[key], stock[key], today, of_whom) for key in keys if key in ranges]

    headers: tuple[str, ...] = ("Range", "Home area", "In use", "", "Wanted")
    headers += (_number("Available"), "Runs out", "Leased until", *(("Operator",) if of_whom else ()))
    return [
        {
            "title": "By carrier and grade",
            "note": "All leased ranges. Runs out: at the mean pace of the last 28 days.",
            "headers": ("Carrier", "Grade", *map(_number, _COUNTS), "Share in use", "Runs out"),
            "rows": [_total_row(total, today) for total in selectors.list_stock_totals(actor=actor, now=now)],
            "empty": "No range is leased.",
        },
        {
            "title": "Leases that end",
            "note": "Not renewed yet. What still lives in a range must be gone before it can be returned.",
            "headers": headers,
            "rows": rows(leased.pk for leased in ending),
            "empty": "No lease ends soon.",
        },
        {
            "title": "Below what the contract wants in use",
            "note": "The host carrier may take such ranges back.",
            "headers": headers,
            "rows": rows(wanting),
            "empty": "Every range is used as its contract wants.",
        },
        {
            "title": "Fullest ranges",
            "note": "",
            "headers": headers,
            "rows": rows(fullest),
            "empty": "No range is leased.",
        },
    ]


def bar(share: float, *, wanted: float = 0) -> str:
    """A share of a whole, with a mark where the contract wants it."""
    tone = "low" if share < wanted else "ok"
    mark = (
        format_html('<span class="kaihu-wanted" style="left:{}%"></span>', round(wanted * 100))
        if wanted
        else ""
    )
    return format_html(
        '<span class="kaihu-bar" data-tone="{}"><span style="width:{}%"></span>{}</span>',
        tone,
        round(share * 100, 1),
        mark,
    )


def percent(share: float) -> str:
    return f"{share:.1%}"


def soon(day: date | None, today: date) -> str:
    """A day, marked when it is near."""
    if day is None:
        return "-"
    left = (day - today).days
    return whole_id(f"{day}") if left > SOON else format_html('<span class="kaihu-soon">{}</span>', day)


def _total_row(total: StockTotal, today: date) -> tuple[object, ...]:
    counts = total.counts
    return (
        *(
            ("", total.grade.label)
            if total.grade is not None
            else (format_html("<strong>{}</strong>", word) for word in (total.carrier, "all"))
        ),
        *_numbers(counts),
        percent(counts.fill),
        soon(total.exhausted_on, today),
    )


def _numbers(counts: Counts) -> tuple[str, ...]:
    return tuple(
        _number(f"{value:,}") for value in (counts.total, *(getattr(counts, name) for name in _STATES))
    )


def _number(text: str) -> str:
    """Numbers of a column stand under each other, and its title above them."""
    return format_html('<span class="kaihu-number">{}</span>', text)


def _range_row(leased: NumberRange, stock: Stock, today: date, of_whom: bool) -> tuple[object, ...]:
    counts, wanted = stock.all, leased.minimum_use / 100
    return (
        link(model="numbering_numberrange", key=leased.pk, text=leased.prefix),
        f"{leased.home_province} {leased.home_city}",
        percent(counts.fill),
        bar(counts.fill, wanted=wanted),
        f"{leased.minimum_use} %" if leased.minimum_use else "-",
        _number(f"{counts.available:,} of {counts.total:,}"),
        soon(stock.exhausted_on, today),
        soon(leased.leased_until, today),
        *((leased.operator.code,) if of_whom else ()),
    )


def stock_of_range(*, actor: Actor, row: NumberRange) -> Iterable[tuple[object, ...]]:
    """Rows of the panel on a range's own page."""
    stock = selectors.get_stock(range_ids=[row.pk], now=clock.now())[row.pk]
    for grade, counts in sorted(stock.grades.items(), key=lambda pair: NumberGrade(pair[0]), reverse=True):
        yield (grade.label, *_numbers(counts), percent(counts.fill), "")
    if stock.grades:
        today = china_date(clock.now())
        yield ("all", *_numbers(stock.all), percent(stock.all.fill), soon(stock.exhausted_on, today))


add_panel(
    NumberRange,
    Panel("Stock", ("Grade", *_COUNTS, "In use", "Runs out"), stock_of_range, "It has no numbers yet."),
)

"""Rules of pretty numbers, what their grades cost, and grading again; the last from an operator's own page."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from apps.accounts.admin_base import Button, Create, TenantAdmin, add_buttons, add_panel
from apps.accounts.admin_display import Panel, badge, link, list_link, moment, whole_id
from apps.accounts.admin_forms import ServiceForm
from apps.core import clock
from apps.core.actor import Actor
from apps.numbering import selectors, services
from apps.numbering.grading import expand
from apps.numbering.models import GradePolicy, GradeRule
from apps.numbering.services.single import MANAGE_NUMBERS
from apps.numbering.states import NumberGrade
from apps.operators import selectors as operators
from apps.operators.models import VirtualOperator

# Endings that a rule's page shows, and runs that an operator's page shows.
ENDINGS_SHOWN = 100
RUNS_SHOWN = 3

_CATALOGUE = "catalogue"


class RuleForm(ServiceForm):
    operator = forms.ModelChoiceField(
        queryset=operators.no_operators(),
        required=False,
        empty_label="catalogue, for all without own rules",
        help_text="An operator's first own rule ends the catalogue for it: adopt the catalogue on its page first.",
    )
    name = forms.CharField(max_length=64)
    pattern = forms.CharField(
        max_length=16,
        help_text=(
            "The last digits, at most 8. Letters from A on: AAA, AABB, ABAB. Runs: +4 rising, -5 falling."
            " These very digits: 168. Days: MMDD, YYYYMMDD."
        ),
    )
    without = forms.CharField(
        max_length=9, required=False, help_text="Digits that these last digits must not have, such as 4."
    )
    priority = forms.IntegerField(
        min_value=1, max_value=10_000, help_text="Of all rules that match, the highest counts."
    )
    grade = forms.TypedChoiceField(choices=NumberGrade.choices, coerce=int, initial=NumberGrade.BRONZE)
    source_note = forms.CharField(max_length=300, help_text="Where the rule comes from.")


def add_rule(*, actor: Actor, now: datetime, **fields: Any) -> tuple[GradeRule, str]:
    fields["grade"] = NumberGrade(fields["grade"])
    rule = services.add_grade_rule(actor=actor, now=now, **fields)
    return rule, "The rule counts for ranges leased from now on; free numbers are being graded again."


def retire_rule(*, actor: Actor, row: GradeRule, reason: str, now: datetime) -> str:
    services.retire_grade_rule(actor=actor, rule_uid=row.uid, reason=reason, now=now)
    return "The rule is retired; free numbers are being graded again."


def endings_of(*, actor: Actor, row: GradeRule) -> Iterator[tuple[object, ...]]:
    endings = expand(row.pattern, row.without)
    shown = " ".join(endings[:ENDINGS_SHOWN])
    more = f" and {len(endings) - ENDINGS_SHOWN:,} more" if len(endings) > ENDINGS_SHOWN else ""
    yield f"{len(endings):,}", f"{shown}{more}"


@admin.register(GradeRule)
class GradeRuleAdmin(TenantAdmin):
    list_display = ("priority", "name", "looks", "worth", "state", "holds_for", "source_note")
    list_filter = ("grade", "operator", ("retired_at", admin.EmptyFieldListFilter))
    list_select_related = ("operator",)
    search_fields = ("pattern", "name")
    search_help_text = "A whole pattern or name"
    shortcuts = (
        ("All", ""),
        ("In force", "retired_at__isempty=1"),
        ("Retired", "retired_at__isempty=0"),
    )
    empty_sentence = "Without rules all numbers are ordinary; the catalogue comes with the seeds."
    ordering = ("-priority", "id")
    fields = (
        ("name", "looks"),
        ("worth", "priority"),
        ("state", "holds_for"),
        ("created", "retired"),
        "source_note",
        "public_id",
    )
    panels = (Panel("Endings that it means", ("How many", "Which"), endings_of, "None."),)
    trail = "grade_rule"
    create = Create(right=MANAGE_NUMBERS, form=RuleForm, call=add_rule)
    buttons: ClassVar = (
        Button(
            "retire",
            "Retire",
            right=MANAGE_NUMBERS,
            call=retire_rule,
            shown=lambda rule: rule.retired_at is None,
            asks_reason=True,
            dangerous=True,
            hint="It no longer counts; free numbers are graded again, sold ones keep their grade.",
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[GradeRule]:
        """One's own rules, and the catalogue that holds where there are none."""
        return selectors.list_grade_rules(actor=self.actor_of(request))

    @admin.display(description="Pattern")
    def looks(self, row: GradeRule) -> str:
        without = f" without {', '.join(row.without)}" if row.without else ""
        return whole_id(f"{row.pattern}{without}")

    @admin.display(description="Grade")
    def worth(self, row: GradeRule) -> str:
        return NumberGrade(row.grade).label

    @admin.display(description="Status")
    def state(self, row: GradeRule) -> str:
        return badge("RETIRED" if row.retired_at else "ACTIVE")

    @admin.display(description="Holds for")
    def holds_for(self, row: GradeRule) -> str:
        return str(row.operator) if row.operator else _CATALOGUE

    @admin.display(description="Retired")
    def retired(self, row: GradeRule) -> str:
        return moment(row.retired_at)


class PolicyForm(ServiceForm):
    operator = forms.ModelChoiceField(queryset=operators.no_operators())
    grade = forms.TypedChoiceField(
        choices=[choice for choice in NumberGrade.choices if choice[0] != NumberGrade.ORDINARY], coerce=int
    )
    deposit = forms.DecimalField(min_value=Decimal(0), decimal_places=2, help_text="CNY, once.")
    min_monthly_spend = forms.DecimalField(min_value=Decimal(0), decimal_places=2, help_text="CNY a month.")
    months = forms.IntegerField(
        min_value=0, max_value=240, help_text="For how long the holder is bound to that spend."
    )


def set_terms(*, actor: Actor, now: datetime, **fields: Any) -> tuple[GradePolicy, str]:
    fields["grade"] = NumberGrade(fields["grade"])
    return services.set_grade_policy(actor=actor, now=now, **fields), (
        "These terms hold from now on; numbers reserved before keep theirs."
    )


@admin.register(GradePolicy)
class GradePolicyAdmin(TenantAdmin):
    list_display = ("worth", "deposit_shown", "spend_shown", "months", "since", "operator")
    list_filter = ("grade", "operator")
    list_select_related = ("operator",)
    search_fields = ("operator__code",)
    search_help_text = "An operator's whole code, or code/grade"
    empty_sentence = "Without terms pretty numbers cost nothing extra."
    ordering = ("operator_id", "-grade", "-valid_from")
    fields = (("worth", "since"), ("deposit_shown", "spend_shown"), ("months", "created"), "operator")
    trail = "grade_policy"
    create = Create(right=MANAGE_NUMBERS, form=PolicyForm, call=set_terms)

    def search(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        code, _, label = term.partition("/")
        grades = [grade for grade in NumberGrade if label in ("", grade.label)]
        return queryset.filter(operator__code=code, grade__in=grades)

    def trail_id(self, row: GradePolicy) -> str:
        return services.policy_name(policy=row)

    @admin.display(description="Grade")
    def worth(self, row: GradePolicy) -> str:
        return NumberGrade(row.grade).label

    @admin.display(description="Deposit")
    def deposit_shown(self, row: GradePolicy) -> str:
        return f"¥{row.deposit:,}"

    @admin.display(description="Minimum monthly spend")
    def spend_shown(self, row: GradePolicy) -> str:
        return f"¥{row.min_monthly_spend:,}"

    @admin.display(description="From")
    def since(self, row: GradePolicy) -> str:
        return moment(row.valid_from)


# --- On an operator's page ------------------------------------------------------------------------------------------
def adopt(*, actor: Actor, row: VirtualOperator, reason: str, now: datetime) -> str:
    rules = services.adopt_catalogue(actor=actor, operator=row, now=now)
    return f"{len(rules)} rules of its own, as in the catalogue; they can be retired and added to now."


def regrade(*, actor: Actor, row: VirtualOperator, reason: str, now: datetime) -> str:
    run = services.start_regrade(actor=actor, operator=row, now=now)
    return f"Free numbers in {run.total} ranges are being graded again."


def _uses_catalogue(row: VirtualOperator) -> bool:
    return not selectors.has_own_grade_rules(operator_id=row.pk)


def terms_of(*, actor: Actor, row: VirtualOperator) -> Iterator[tuple[object, ...]]:
    terms = selectors.get_terms(operator_id=row.pk, now=clock.now())
    for grade, policy in sorted(terms.items(), reverse=True):
        page = link(model="numbering_gradepolicy", key=policy.pk, text=grade.label)
        yield page, f"¥{policy.deposit:,}", f"¥{policy.min_monthly_spend:,}", policy.months


def regrades_of(*, actor: Actor, row: VirtualOperator) -> Iterator[tuple[object, ...]]:
    rules = (
        "catalogue"
        if _uses_catalogue(row)
        else list_link(model="numbering_graderule", text="its own", operator__id__exact=str(row.pk))
    )
    for run in selectors.list_regrades(actor=actor, operator_id=row.pk).order_by("-id")[:RUNS_SHOWN]:
        page = link(model="numbering_bulkrun", key=run.pk, text=f"{run.done} of {run.total} ranges")
        yield page, badge(run.status), rules, moment(run.started_at), moment(run.ended_at), run.asked_by_label


add_panel(
    VirtualOperator,
    Panel(
        "Grading again",
        ("Progress", "Status", "Rules now", "Started", "Ended", "By"),
        regrades_of,
        "Its numbers have the grades that they were given when they were leased.",
    ),
)
add_panel(
    VirtualOperator,
    Panel(
        "What pretty numbers cost",
        ("Grade", "Deposit", "Minimum monthly spend", "Months"),
        terms_of,
        "Nothing extra.",
    ),
)
add_buttons(
    VirtualOperator,
    Button(
        "adopt-catalogue",
        "Adopt the grade catalogue",
        right=MANAGE_NUMBERS,
        call=adopt,
        shown=_uses_catalogue,
        hint="Copies the rules of pretty numbers that hold for all into its own; no grade changes by that.",
    ),
    Button(
        "regrade",
        "Re-grade now",
        right=MANAGE_NUMBERS,
        call=regrade,
        hint="Free numbers get the grades of the rules in force; reserved and used ones keep theirs.",
    ),
)

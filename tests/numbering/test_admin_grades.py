"""Staff add and retire rules, set terms, adopt the catalogue and grade again: through services, their own only."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from apps.accounts.states import Role
from apps.numbering import services as numbering
from apps.numbering.models import BulkRun, GradePolicy, GradeRule
from apps.numbering.states import NumberGrade
from apps.operators.models import VirtualOperator
from tests.factories.accounts import PASSWORD, given_user
from tests.factories.numbering import SYSTEM, given_range, given_terms


def page(name: str, model: Any, *args: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{name}", args=args)


def given_rule(*, now: datetime, operator: VirtualOperator | None = None, **fields: Any) -> GradeRule:
    values: dict[str, Any] = {"name": "r", "pattern": "888", "priority": 9, "grade": NumberGrade.GOLD}
    return numbering.add_grade_rule(actor=SYSTEM, operator=operator, now=now, **{**values, **fields})


def login(client: Client, role: Role, operator: VirtualOperator | None, now: datetime) -> None:
    staff = given_user(role=role, operator=operator, now=now)
    assert client.login(username=staff.username, password=PASSWORD)


@pytest.fixture
def admin(client: Client, operator: VirtualOperator, now: datetime) -> Client:
    login(client, Role.OPERATOR_ADMIN, operator, now)
    return client


def test_rules_of_ones_own_and_the_catalogue_are_listed(
    admin: Client, operator: VirtualOperator, other_operator: VirtualOperator, now: datetime
) -> None:
    shown = {given_rule(now=now), given_rule(now=now, operator=operator)}
    theirs = given_rule(now=now, operator=other_operator)
    listed = admin.get(page("changelist", GradeRule))
    assert set(listed.context["cl"].result_list) == shown
    assert admin.get(page("change", GradeRule, theirs.pk)).status_code == 302
    for rule in shown:
        assert b"888" in admin.get(page("change", GradeRule, rule.pk)).content


@pytest.mark.django_db(transaction=True)
def test_add_and_retire_a_rule(admin: Client, operator: VirtualOperator, now: datetime) -> None:
    form = {
        "operator": operator.pk,
        "name": "Three of a kind",
        "pattern": "AAA",
        "without": "4",
        "priority": 10,
        "grade": 2,
        "source_note": "ours",
    }
    refused = admin.post(page("add", GradeRule), {**form, "pattern": "aaa"})
    assert b"Letters from A on" in refused.content
    assert GradeRule.objects.count() == 0
    assert admin.post(page("add", GradeRule), form).status_code == 302
    rule = GradeRule.objects.get()
    assert (rule.operator, rule.pattern, rule.without, rule.grade) == (operator, "AAA", "4", 2)
    press = reverse("admin:numbering_graderule_press", args=(rule.pk, "retire"))
    assert admin.post(press, {"reason": "dull"}).status_code == 302
    rule.refresh_from_db()
    assert rule.retired_at is not None


@pytest.mark.django_db(transaction=True)
def test_the_catalogue_is_the_platform_s(admin: Client, operator: VirtualOperator, now: datetime) -> None:
    rule = given_rule(now=now)
    press = reverse("admin:numbering_graderule_press", args=(rule.pk, "retire"))
    answer = admin.post(press, {"reason": "mine now"}, follow=True)
    assert b"There is no such resource." in answer.content
    rule.refresh_from_db()
    assert rule.retired_at is None
    client = Client()
    login(client, Role.PLATFORM, None, now)
    client.post(press, {"reason": "dull"})
    rule.refresh_from_db()
    assert rule.retired_at is not None


def test_set_terms(
    admin: Client, operator: VirtualOperator, other_operator: VirtualOperator, now: datetime
) -> None:
    form = {"operator": operator.pk, "grade": 3, "deposit": "400", "min_monthly_spend": "89.5", "months": 24}
    assert admin.post(page("add", GradePolicy), {**form, "deposit": "-1"}).status_code == 200
    assert admin.post(page("add", GradePolicy), {**form, "operator": other_operator.pk}).status_code == 200
    assert GradePolicy.objects.count() == 0
    assert admin.post(page("add", GradePolicy), form).status_code == 302
    policy = GradePolicy.objects.get()
    assert (policy.operator, policy.grade, policy.deposit, policy.months) == (operator, 3, 400, 24)
    given_terms(operator=other_operator, now=now)
    listed = admin.get(page("changelist", GradePolicy), {"q": f"{operator.code}/gold"})
    assert list(listed.context["cl"].result_list) == [policy]
    assert b"89.50" in admin.get(page("change", VirtualOperator, operator.pk)).content


def test_adopt_and_grade_again_from_the_operator_s_page(
    admin: Client, operator: VirtualOperator, now: datetime
) -> None:
    given_rule(now=now)
    given_range(operator=operator, now=now)
    own = page("change", VirtualOperator, operator.pk)
    assert b"Adopt the grade catalogue" in admin.get(own).content
    admin.post(reverse("admin:operators_virtualoperator_press", args=(operator.pk, "adopt-catalogue")))
    assert GradeRule.objects.filter(operator=operator).count() == 1
    assert b"Adopt the grade catalogue" not in admin.get(own).content
    admin.post(reverse("admin:operators_virtualoperator_press", args=(operator.pk, "regrade")))
    assert BulkRun.objects.get().total == 1
    assert b"0 of 1 ranges" in admin.get(own).content


@pytest.mark.parametrize("role", [Role.SUPPORT, Role.ENGINEER, Role.COMPLIANCE])
def test_others_look_only(client: Client, operator: VirtualOperator, now: datetime, role: Role) -> None:
    rule = given_rule(now=now, operator=operator)
    login(client, role, operator, now)
    assert client.get(page("changelist", GradeRule)).status_code == 200
    assert client.get(page("add", GradeRule)).status_code == 403
    assert (
        client.post(reverse("admin:numbering_graderule_press", args=(rule.pk, "retire"))).status_code == 403
    )
    assert client.get(page("add", GradePolicy)).status_code == 403

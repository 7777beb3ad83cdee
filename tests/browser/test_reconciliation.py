"""Reconciliation in a real browser: from what a run found to the order that repairs it."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from django.urls import reverse

from apps.accounts.models import User
from apps.accounts.states import Role
from apps.carriers.base import CarrierLine, LineState
from apps.provisioning.models import Discrepancy, ServiceOrder
from tests.browser.conftest import Watched
from tests.factories.provisioning import Seller
from tests.reconciliation.conftest import View, at_rest

pytestmark = pytest.mark.django_db(transaction=True)


def test_staff_decide(window: Callable[..., Watched], staff: Callable[[Role], User], seller: Seller) -> None:
    lines = [seller.active_line() for _ in range(4)]
    at_rest(seller)
    seen = View.of(seller).change(lines[0], state=LineState.SUSPENDED_TWO_WAY)
    seen.change(lines[1], iccid="89860119999999999999").change(lines[2], plan_code="OTHER")
    seen.change(lines[3], state=LineState.TERMINATED)
    for n in range(3):
        seen.add(CarrierLine(f"+861709888888{n}", f"8986011999999999900{n}", LineState.ACTIVE, "X"))
    run = seen.reconcile()
    shown = window(staff(Role.OPERATOR_ADMIN))

    shown.open(reverse("admin:provisioning_reconciliationrun_changelist"))
    shot(shown, "runs")
    shown.open(reverse("admin:provisioning_reconciliationrun_change", args=[run.pk]))
    assert "Have the carrier put our card back" in shown.text()
    shot(shown, "run")
    shown.open(
        reverse("admin:provisioning_reconciliationrun_change", args=[run.pk]).replace("change/", "do/accept/")
    )
    shot(shown, "bulk")
    shown.open(f"{reverse('admin:provisioning_discrepancy_changelist')}?status__exact=OPEN")
    shot(shown, "discrepancies")
    shown.open(
        reverse("admin:provisioning_discrepancy_change", args=[Discrepancy.objects.get(kind="SUSPENSION").pk])
    )
    shot(shown, "discrepancy")
    shown.page.fill("form[action*='/do/accept/'] input[name=reason]", "agreed with the carrier")
    shown.press("Accept the proposed repair")
    order = ServiceOrder.objects.exclude(type="ACTIVATE").get()
    assert order.uid in shown.text()
    assert order.type == "RESUME"
    shown.open("/admin/")
    assert "Discrepancies" in shown.text()
    shot(shown, "dashboard")


def shot(shown: Watched, name: str) -> None:
    """For whoever wants to see it: KAIHU_SHOTS names a folder."""
    if folder := os.environ.get("KAIHU_SHOTS"):
        shown.page.screenshot(path=f"{folder}/{name}.png", full_page=True)

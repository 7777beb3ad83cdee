"""What can be ordered."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from apps.audit import services as audit
from apps.core.actor import Actor
from apps.core.db import operation
from apps.lines.models import Plan
from apps.operators.models import HostCarrier, VirtualOperator


@operation
def offer_plan(
    *,
    actor: Actor,
    operator: VirtualOperator,
    host_carrier: HostCarrier,
    code: str,
    name: str,
    monthly_fee: Decimal,
    now: datetime,
) -> Plan:
    """Creates the operator's plan with that code, or changes its name and fee; the same call again changes nothing."""
    values = {"host_carrier": host_carrier, "name": name, "monthly_fee": monthly_fee, "is_orderable": True}
    plan = Plan.objects.select_for_update().filter(operator=operator, code=code).first()
    if plan is None:
        plan = Plan.objects.create(operator=operator, code=code, **values)
        before = None
    else:
        before = {"name": plan.name, "monthly_fee": str(plan.monthly_fee)}
        if before == {"name": name, "monthly_fee": str(monthly_fee)}:
            return plan
        for field, value in values.items():
            setattr(plan, field, value)
        plan.save(update_fields=list(values))
    audit.record(
        actor=actor,
        action="plan.offer",
        target_type="plan",
        target_id=plan.uid,
        operator_id=operator.pk,
        before=before,
        after={"name": name, "monthly_fee": str(monthly_fee)},
        now=now,
    )
    return plan

"""What staff order for a line: buttons on its page, and a form for what brings it something else."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from django import forms

from apps.accounts.admin_base import Button
from apps.accounts.admin_forms import ServiceForm
from apps.core.actor import Actor
from apps.lines.models import Line
from apps.lines.states import GRAVE, LIVE_LINE, LineStatus, SuspensionCause, SuspensionKind, SuspensionOwner
from apps.numbering.numbers import MalformedNumber, parse_e164
from apps.provisioning import services
from apps.provisioning.models import ServiceOrder
from apps.provisioning.states import OrderStatus


def _suspend(
    name: str, label: str, kind: SuspensionKind, cause: SuspensionCause, right: str = "orders.place"
) -> Button:
    def call(*, actor: Actor, row: Line, reason: str, now: datetime) -> str:
        order = services.place_suspension_order(
            actor=actor, line=row.uid, kind=kind, reason=cause, note=reason[:200], now=now
        )
        return _placed(order)

    return Button(
        name, label, right=right, call=call, shown=_is_live, asks_reason=True, dangerous=cause in GRAVE
    )


def _lift(cause: SuspensionCause) -> Button:
    def call(*, actor: Actor, row: Line, reason: str, now: datetime) -> str:
        order = services.place_resumption_order(
            actor=actor, line=row.uid, reason=cause, note=reason[:200], now=now
        )
        return _placed(order)

    def shown(line: Any) -> bool:
        return line.status == LineStatus.SUSPENDED and any(
            reason.cause == cause
            and reason.lifted_at is None
            # What a demand stands behind goes with the demand.
            and (cause is not SuspensionCause.REVERIFICATION or reason.owner != SuspensionOwner.SYSTEM)
            for reason in line.suspensions.all()
        )

    return Button(
        f"lift-{cause.lower()}",
        f"Lift: {cause.label}",
        right="lines.suspend" if cause in GRAVE else "orders.place",
        call=call,
        shown=shown,
        asks_reason=True,
        hint="The line runs again when no other reason is left.",
    )


def terminate(*, actor: Actor, row: Line, reason: str, now: datetime) -> str:
    order = services.place_termination_order(
        actor=actor, line=row.uid, reason="user_request", note=reason[:200], now=now
    )
    return _placed(order)


def _placed(order: ServiceOrder) -> str:
    if order.status == OrderStatus.COMPLETED:
        return "Done; the host carrier needs not be told."
    if order.is_scheduled:
        return "The order waits for its day."
    return f"The order is placed: {order.uid}."


def _is_live(line: Any) -> bool:
    return line.status in LIVE_LINE


ONE_WAY, TWO_WAY = SuspensionKind.ONE_WAY, SuspensionKind.TWO_WAY
LINE_BUTTONS = (
    _suspend("suspend-one-way", "Suspend one-way", ONE_WAY, SuspensionCause.USER_REQUEST),
    _suspend("suspend-two-way", "Suspend two-way", TWO_WAY, SuspensionCause.USER_REQUEST),
    _suspend("suspend-lost", "Suspend: lost", TWO_WAY, SuspensionCause.LOST),
    _suspend("suspend-arrears", "Suspend one-way: bills not paid", ONE_WAY, SuspensionCause.ARREARS),
    _suspend("suspend-fraud", "Suspend: suspected fraud", TWO_WAY, SuspensionCause.FRAUD, "lines.suspend"),
    _suspend(
        "suspend-regulator",
        "Suspend: order of police or regulator",
        TWO_WAY,
        SuspensionCause.REGULATOR,
        "lines.suspend",
    ),
    _suspend(
        "suspend-reverification",
        "Suspend one-way until verified again",
        ONE_WAY,
        SuspensionCause.REVERIFICATION,
        "lines.suspend",
    ),
    *(_lift(cause) for cause in SuspensionCause),
    Button(
        "terminate",
        "Terminate",
        right="lines.terminate",
        call=terminate,
        shown=_is_live,
        asks_reason=True,
        dangerous=True,
        hint="The line ends for good; its number goes into quarantine and its SIM card is retired.",
    ),
)


class ChangeForm(ServiceForm):
    """An order that brings a line something else: which of the fields are needed, its type says."""

    NEEDS: ClassVar[dict[str, tuple[str, ...]]] = {
        "change_sim": ("iccid", "verification"),
        "change_number": ("number",),
        "change_plan": ("plan", "effective"),
        "transfer": ("subscriber", "actual_user"),
    }

    OPTIONAL: ClassVar[frozenset[str]] = frozenset({"actual_user"})

    type = forms.ChoiceField(
        choices=[
            ("change_sim", "Another SIM card"),
            ("change_number", "Another number"),
            ("change_plan", "Another plan"),
            ("transfer", "Another holder"),
        ]
    )
    line = forms.CharField(max_length=64, help_text="The line's whole id")
    iccid = forms.CharField(max_length=20, required=False, label="New SIM card (ICCID)")
    verification = forms.CharField(
        max_length=64, required=False, label="Real-name check", help_text="Of the holder, for a new SIM card"
    )
    number = forms.CharField(max_length=20, required=False, label="New number")
    plan = forms.CharField(max_length=64, required=False, label="New plan", help_text="Its code or id")
    effective = forms.ChoiceField(
        choices=[("now", "Now"), ("next_month", "First of next month")], required=False, label="From"
    )
    subscriber = forms.CharField(
        max_length=64, required=False, label="New holder", help_text="Their whole id"
    )
    actual_user = forms.CharField(
        max_length=64,
        required=False,
        label="Actual user",
        help_text="When the new holder is an organization: the whole id of a verified person",
    )

    def clean_number(self) -> int | None:
        text = self.cleaned_data["number"]
        try:
            return parse_e164(text) if text else None
        except MalformedNumber:
            raise forms.ValidationError("Not a mainland mobile number.") from None

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        needed = self.NEEDS.get(data.get("type", ""), ())
        for name in needed:
            if name in data and not data[name] and name not in self.OPTIONAL:
                self.add_error(name, "Needed for this order.")
        return {name: value for name, value in data.items() if name in ("type", "line", *needed)}


def change(*, actor: Actor, now: datetime, type: str, line: str, **brings: Any) -> tuple[ServiceOrder, str]:
    match type:
        case "change_sim":
            order = services.place_sim_change_order(actor=actor, line=line, now=now, **brings)
        case "change_number":
            wish = services.NumberWish(number=brings["number"])
            order = services.place_number_change_order(actor=actor, line=line, wish=wish, now=now)
        case "change_plan":
            order = services.place_plan_change_order(
                actor=actor,
                line=line,
                plan=brings["plan"],
                effective=services.Effective(brings["effective"]),
                now=now,
            )
        case _:
            order = services.place_transfer_order(actor=actor, line=line, now=now, **brings)
    return order, _placed(order)

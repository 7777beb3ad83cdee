"""Forms whose values go to a service; they check shapes, the service checks rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from django import forms
from django.forms.boundfield import BoundField
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminEmailInputWidget,
    UnfoldAdminFileFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminPasswordWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanWidget,
)

from apps.core.actor import Actor
from apps.core.errors import DomainError
from apps.operators import selectors as operators

_LOOKS: dict[type[forms.Widget], type[forms.Widget]] = {
    forms.TextInput: UnfoldAdminTextInputWidget,
    forms.Textarea: UnfoldAdminTextareaWidget,
    forms.EmailInput: UnfoldAdminEmailInputWidget,
    forms.PasswordInput: UnfoldAdminPasswordWidget,
    forms.NumberInput: UnfoldAdminIntegerFieldWidget,
    forms.Select: UnfoldAdminSelectWidget,
    forms.CheckboxSelectMultiple: UnfoldAdminCheckboxSelectMultipleWidget,
    forms.CheckboxInput: UnfoldBooleanWidget,
    forms.ClearableFileInput: UnfoldAdminFileFieldWidget,
}


class ServiceForm(forms.Form):
    """A form of one actor: a field `operator` offers only operators the actor may see.

    `row` is what it is about, when it is asked for by a row's button.
    """

    # Headings over groups of fields; those under no heading come first.
    SECTIONS: ClassVar[tuple[tuple[str, tuple[str, ...]], ...]] = ()
    # Which field a pointer of the service's errors speaks of.
    POINTERS: ClassVar[Mapping[str, str]] = {}

    def __init__(self, *args: Any, actor: Actor, row: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.actor, self.row = actor, row
        self.prepare()
        operator = self.fields.get("operator")
        if isinstance(operator, forms.ModelChoiceField):
            operator.queryset = operators.list_operators(actor=actor)
            if actor.operator_id is not None:
                operator.empty_label = None
                operator.required = True
                operator.initial = actor.operator_id
        for field in self.fields.values():
            _dress(field)

    def sections(self) -> Iterator[tuple[str, list[BoundField]]]:
        named = {name for _, names in self.SECTIONS for name in names}
        if first := [self[name] for name in self.fields if name not in named]:
            yield "", first
        for title, names in self.SECTIONS:
            yield title, [self[name] for name in names]

    def refuse(self, error: DomainError) -> None:
        """Shows what the service has against it: beside the fields it speaks of, as far as they are in the form."""
        for each in error.errors:
            if each.pointer in self.POINTERS:
                self.add_error(self.POINTERS[each.pointer], each.detail)
        known = bool(error.errors) and all(each.pointer in self.POINTERS for each in error.errors)
        self.add_error(None, error.detail if known else sentence(error))

    def prepare(self) -> None:
        """Where a form sets choices and initial values that depend on `self.actor` and `self.row`."""


def sentence(error: DomainError) -> str:
    """A refusal in one line."""
    details = "; ".join(f"{each.pointer.strip('/')}: {each.detail}" for each in error.errors)
    return f"{error.detail} ({details})" if details else error.detail


class DayField(forms.DateField):
    """A day, with the browser's own calendar."""

    widget = forms.TextInput(attrs={"type": "date"})


def _dress(field: forms.Field) -> None:
    look = _LOOKS.get(type(field.widget))
    if look is None:
        return
    plain = field.widget
    field.widget = look(attrs=plain.attrs)
    if isinstance(plain, forms.TextInput):
        # The browser's own calendar and the like: a widget keeps its type apart from its attributes.
        field.widget.input_type = plain.input_type
    field.widget.is_required = field.required
    if isinstance(field, forms.ChoiceField | forms.ModelChoiceField):
        field.widget.choices = field.choices

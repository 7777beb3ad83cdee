"""What every table of ours has in common."""

from __future__ import annotations

import ast
import inspect
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps as django_apps
from django.db import models

from apps.core.db import LOCK_ORDER
from apps.core.public_ids import PublicIdField
from apps.core.tenancy import TenantQuerySet
from tests.architecture.source import LEVEL, none

# What django-oauth-toolkit and Django's user bring along; their columns are not ours to name.
BORROWED = {"accounts.AccessToken", "accounts.Grant", "accounts.IDToken", "accounts.RefreshToken"}
MODELS = [model for model in django_apps.get_models() if model._meta.app_label in LEVEL]
OURS = [model for model in MODELS if model._meta.label not in BORROWED]
LABELS = [model._meta.label for model in OURS]


def own_fields(model: type[models.Model]) -> Iterator[models.Field[Any, Any]]:
    """Fields that our own class declares, none that it inherits."""
    for field in model._meta.local_fields:
        if field.name in vars(model) or field.attname in vars(model):
            declared = inspect.getsource(model)
            if f"\n    {field.name} = " in declared:
                yield field


def test_the_models_are_found() -> None:
    assert len(OURS) > 20


@pytest.mark.parametrize("model", OURS, ids=LABELS)
def test_a_tenants_rows_are_read_through_visible_to(model: type[models.Model]) -> None:
    if "operator_id" not in {field.attname for field in model._meta.concrete_fields}:
        return
    queryset = model._default_manager.get_queryset()
    assert isinstance(queryset, TenantQuerySet), (
        f"{model._meta.label}: objects = TenantQuerySet[...].as_manager()"
    )
    assert callable(getattr(model._default_manager, "visible_to", None))


# Tables without an operator column, and how it is known whose their rows are.
SHARED = {
    "accounts.IdempotencyKey": "reached by its partner app only",
    "audit.SealHorizon": "how far the sealer is",
    "core.SealingKey": "keys of the platform",
    "lines.Handover": "reached by its line",
    "lines.NumberAssignment": "reached by its line",
    "lines.SimAssignment": "reached by its line",
    "lines.UserAssignment": "reached by its line",
    "numbering.BulkRow": "reached by its run",
    "numbering.GradedTail": "reached by its rule",
    "operators.AccessCode": "facts of the country",
    "operators.DocumentType": "facts of the country",
    "operators.HostCarrier": "facts of the country",
    "operators.VirtualOperator": "the tenants themselves",
    "provisioning.Gate": "reached by its connection",
    "provisioning.JobAttempt": "reached by its job",
    "subscribers.DemandStep": "reached by its demand",
    "subscribers.VerificationCheck": "reached by its verification",
}


def test_every_other_table_says_why_it_has_no_operator() -> None:
    without = {
        model._meta.label
        for model in OURS
        if "operator_id" not in {field.attname for field in model._meta.concrete_fields}
    }
    none(without - set(SHARED), instead="give it `operator`, or say here whose its rows are")
    none(set(SHARED) - without, instead="take it off the list SHARED")


@pytest.mark.parametrize("model", OURS, ids=LABELS)
def test_a_row_shows_itself_without_asking_the_database(model: type[models.Model]) -> None:
    """`str()` is called for every row of every admin list; a query there is a query per row.

    No `db` fixture here: any query fails the test.
    """
    assert model.__str__ is not models.Model.__str__, f"{model._meta.label} has no __str__"
    row = model(**{field.attname: _something(field) for field in model._meta.concrete_fields})
    assert str(row)


def _something(field: models.Field[Any, Any]) -> Any:
    if isinstance(field, PublicIdField):
        return field.get_default()
    if isinstance(field, models.ForeignKey):
        return 1
    if isinstance(field, models.CharField | models.TextField):
        return "x"
    if isinstance(field, models.SmallIntegerField):
        return 1
    if isinstance(field, models.IntegerField):
        return 17000000000
    return field.get_default()


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)
def test_no_model_orders_itself(model: type[models.Model]) -> None:
    assert not model._meta.ordering, (
        "a hidden ORDER BY costs every query: order where it matters, by a unique key"
    )


def test_times_are_named_for_what_they_are() -> None:
    wrong = [
        f"{model._meta.label}.{field.name}"
        for model in OURS
        for field in own_fields(model)
        if isinstance(field, models.DateField)
        if field.name != "at" and not field.name.endswith(("_at", "_until", "_on", "_from"))
        if (model._meta.label, field.name) != ("accounts.User", "date_joined")  # Django's name
    ]
    none(wrong, instead="moments end with _at, ends with _until, days with _on, beginnings with _from")


def test_models_do_not_read_the_clock() -> None:
    reading = [
        f"{model._meta.label}.{field.name}"
        for model in OURS
        for field in own_fields(model)
        if getattr(field, "auto_now", False) or getattr(field, "auto_now_add", False)
    ]
    none(reading, instead="take `now` from the service")


def test_a_public_id_says_what_it_is_the_id_of() -> None:
    prefixes = defaultdict(list)
    for model in MODELS:
        for field in model._meta.concrete_fields:
            if isinstance(field, PublicIdField):
                assert field.name == "uid", f"{model._meta.label}: a public id is called uid"
                prefixes[field.prefix].append(model._meta.label)
    none(
        [f"{prefix}: {labels}" for prefix, labels in prefixes.items() if len(labels) > 1],
        instead="one prefix, one model",
    )
    none(
        [prefix for prefix in prefixes if not (prefix.isalpha() and len(prefix) == 3)],
        instead="three letters",
    )


def test_what_is_locked_has_its_place_in_the_lock_order() -> None:
    """Several tables locked by one service without an order between them is a deadlock waiting to be found."""
    assert len(set(LOCK_ORDER)) == len(LOCK_ORDER)
    assert set(LOCK_ORDER) <= {model._meta.label for model in MODELS}


def test_model_methods_keep_to_their_row() -> None:
    """A model may declare, filter and change its own columns; transactions and the network are the services'."""
    reaching = [
        f"{model._meta.label}: {ast.unparse(node.func)}"
        for model in OURS
        for node in ast.walk(ast.parse(inspect.getsource(inspect.getmodule(model))))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).startswith(
            ("transaction.", "audit.", "events.", "dispatch.", "connection.")
        )
    ]
    none(reaching, instead="let the service do it")

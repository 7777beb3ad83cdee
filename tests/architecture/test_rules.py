"""The ten rules, as far as a tool can check them."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest
from celery import current_app
from django.apps import apps as django_apps
from django.conf import settings

from apps.events import consumers
from tests.architecture.source import APPS, LEVEL, ROOT, modules, public_functions, where

WRITES = {"create", "bulk_create", "update", "bulk_update", "delete", "get_or_create", "update_or_create"}


def test_every_app_has_its_place_in_the_order() -> None:
    found = {path.name for path in APPS.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    assert found == set(LEVEL) | {"carrier_sim"}


def test_foreign_keys_follow_the_app_order() -> None:
    upward = [
        f"{model._meta.label}.{field.name} -> {field.related_model._meta.label}"
        for model in django_apps.get_models()
        for field in model._meta.get_fields()
        if field.is_relation and field.concrete and field.related_model
        if model._meta.app_label in LEVEL and field.related_model._meta.app_label in LEVEL
        if LEVEL[field.related_model._meta.app_label] > LEVEL[model._meta.app_label]
    ]
    assert upward == []


def test_siblings_hold_no_foreign_keys_to_each_other() -> None:
    between = [
        f"{model._meta.label}.{field.name}"
        for model in django_apps.get_models()
        for field in model._meta.get_fields()
        if field.is_relation and field.concrete and field.related_model
        if (source := model._meta.app_label) in LEVEL
        and (target := field.related_model._meta.app_label) in LEVEL
        if source != target and LEVEL[source] == LEVEL[target]
    ]
    assert between == []


def test_interfaces_never_touch_objects() -> None:
    touching = [
        where(path, node)
        for _, path, tree in modules("api", "admin", "tasks")
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in ("objects", "_default_manager")
    ]
    assert touching == []


def test_an_app_writes_only_its_own_tables() -> None:
    foreign = []
    for app, path, tree in modules():
        imported = {
            alias.asname or alias.name: node.module.split(".")[1]
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module and node.module.endswith(".models")
            if node.module.startswith("apps.")
            for alias in node.names
        }
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in WRITES
            ):
                owner = _root_name(node.func.value)
                if owner in imported and imported[owner] != app:
                    foreign.append(where(path, node))
    assert foreign == []


def _root_name(node: ast.AST) -> str | None:
    while isinstance(node, (ast.Attribute, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def test_only_interfaces_read_the_clock() -> None:
    reading = [
        where(path, node)
        for _, path, tree in modules("services", "selectors", "models", "realname", "policies")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("clock.now", "timezone.now", "datetime.now")
    ]
    assert reading == []


def test_services_and_selectors_take_keywords_and_say_what_they_guarantee() -> None:
    careless = []
    for _, path, tree in modules("services", "selectors"):
        for function in public_functions(tree):
            positional = [*function.args.posonlyargs, *function.args.args]
            if (
                path.parts[-2] != "realname"
                and "services" in str(path)
                and positional
                and _is_service(function)
            ):
                careless.append(f"{where(path, function)} {function.name} takes positional arguments")
            if _is_service(function) and not ast.get_docstring(function):
                careless.append(f"{where(path, function)} {function.name} has no docstring")
    assert careless == []


def _is_service(function: ast.FunctionDef) -> bool:
    return any(ast.unparse(decorator) in ("operation", "use_case") for decorator in function.decorator_list)


def test_services_that_write_name_their_actor() -> None:
    # Bookkeeping of the machinery itself: nobody asked for it, nobody is named.
    nameless = {
        "publish",
        "relay",
        "expire_leases",
        "claim_due_jobs",
        "take_holder_slot",
        "receive_callback",
        "apply_next_callback",
        "forget_idempotency_keys",
        "forget_expired_tokens",
        "run_once",
        "store_token",
        "claim_due_verifications",
    }
    missing = [
        f"{where(path, function)} {function.name}"
        for _, path, tree in modules("services")
        for function in public_functions(tree)
        if _is_service(function) and function.name not in nameless
        if "actor" not in {argument.arg for argument in function.args.kwonlyargs}
    ]
    assert missing == []


def test_services_do_not_import_tasks() -> None:
    importing = [
        where(path, node)
        for _, path, tree in modules("services", "selectors", "models")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.endswith(".tasks")
    ]
    assert importing == []


def _dispatched_names() -> Iterator[tuple[str, str]]:
    for _, path, tree in modules():
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and ast.unparse(node.func) in ("dispatch.after_commit", "dispatch.now")
                and node.args
                and isinstance(node.args[0], ast.Constant)
            ):
                yield where(path, node), str(node.args[0].value)


def test_every_dispatched_name_is_a_task() -> None:
    current_app.loader.import_default_modules()
    names = {name for _, name in _dispatched_names()} | consumers.registered()
    names |= {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()}
    assert names
    assert names - set(current_app.tasks) == set()


def test_tasks_are_thin_and_tolerant() -> None:
    careless = []
    for app, path, tree in modules("tasks"):
        for node in tree.body:
            if not isinstance(node, ast.FunctionDef) or not node.decorator_list:
                continue
            name = f"{where(path, node)} {node.name}"
            lines = (node.end_lineno or 0) - node.lineno
            if lines > 14:
                careless.append(f"{name} is long")
            if node.args.args or node.args.kwarg is None:
                careless.append(f"{name} needs keywords only and **_future")
            if f'name="{app}.' not in ast.unparse(node.decorator_list[0]).replace("'", '"'):
                careless.append(f"{name} is not named after its app")
    assert careless == []


def test_tasks_carry_ids_only() -> None:
    allowed = {"event_id", "subject", "connection_id", "verification_id", "_future"}
    other = {
        f"{where(path, node)} {argument.arg}"
        for _, path, tree in modules("tasks")
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.decorator_list
        for argument in node.args.kwonlyargs
        if argument.arg not in allowed
    }
    assert other == set()


@pytest.mark.parametrize("folder", ["apps", "config", "tests"])
def test_no_module_over_500_lines(folder: str) -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for path in (ROOT / folder).rglob("*.py")
        if "migrations" not in path.parts
        if (count := len(path.read_text().splitlines())) > 500
    }
    assert long == {}


def test_no_catch_all_modules() -> None:
    banned = {"utils.py", "helpers.py", "managers.py", "signals.py", "common.py", "misc.py"}
    assert [str(p) for p in APPS.rglob("*.py") if p.name in banned] == []


def test_types_are_not_imported_behind_a_guard() -> None:
    guarded = [where(path, node) for _, path, tree in modules() for node in ast.walk(tree) if _is_guard(node)]
    assert guarded == []


def _is_guard(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def test_no_model_orders_itself() -> None:
    ours = [model for model in django_apps.get_models() if model._meta.app_label in LEVEL]
    assert [
        model._meta.label
        for model in ours
        if model._meta.ordering and not model._meta.label.startswith("accounts.")
    ] == []

"""Who may know whom: what import-linter cannot see of the order of the apps and of the rooms in them."""

from __future__ import annotations

import ast

import pytest
from django.apps import apps as django_apps

from tests.architecture.source import APPS, LEVEL, ROOT, inside, modules, none


def test_every_app_has_its_place_in_the_order() -> None:
    found = {path.name for path in APPS.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    assert found == set(LEVEL) | {"carrier_sim"}, (
        "a new app belongs into source.ORDER, .importlinter and the README"
    )


def test_import_linter_knows_the_same_order() -> None:
    text = (ROOT / ".importlinter").read_text()
    contract = text.partition("[importlinter:contract:app-order]")[2].partition("[importlinter:")[0]
    layers = [line.strip() for line in contract.partition("layers =\n")[2].splitlines() if line.strip()]
    listed = [{name.strip().removeprefix("apps.") for name in line.split("|")} for line in layers]
    levels = [
        {app for app, level in LEVEL.items() if level == wanted} for wanted in sorted(set(LEVEL.values()))
    ]
    assert listed == levels[::-1]


def _links() -> list[tuple[str, str, str]]:
    """(field, its app, the app it points to) of every relation between our apps."""
    return [
        (f"{model._meta.label}.{field.name}", model._meta.app_label, field.related_model._meta.app_label)
        for model in django_apps.get_models()
        for field in model._meta.get_fields()
        if field.is_relation and field.concrete and field.related_model
        if model._meta.app_label in LEVEL and field.related_model._meta.app_label in LEVEL
    ]


def test_foreign_keys_follow_the_app_order() -> None:
    upward = [name for name, app, target in _links() if LEVEL[target] > LEVEL[app]]
    none(upward, instead="a lower app must not point to a higher one: turn the key round, or keep an id")


def test_siblings_hold_no_foreign_keys_to_each_other() -> None:
    between = [name for name, app, target in _links() if app != target and LEVEL[app] == LEVEL[target]]
    none(between, instead="siblings do not know each other: keep an id")


def test_audit_and_events_keep_ids_and_no_foreign_keys() -> None:
    """They outlive what they speak of, and their tables grow without anybody's locks."""
    none([name for name, app, _ in _links() if app in ("audit", "events")], instead="keep an id")


def test_cycles_are_not_hidden_in_functions_or_behind_guards() -> None:
    hidden = [
        f"{module.at(node)} imports inside {type(parent).__name__}"
        for module in modules()
        for parent in ast.walk(module.tree)
        if isinstance(parent, ast.FunctionDef | ast.AsyncFunctionDef | ast.If | ast.Try)
        for node in ast.walk(parent)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    none(hidden, instead="imports stand at the top; a cycle means that something is in the wrong app")


# What only interfaces may know. import-linter forbids part of it by package; this sees single modules and every room.
SPOKEN_OUTSIDE = (
    "rest_framework",
    "drf_spectacular",
    "celery",
    "unfold",
    "oauthlib",
    "django.http",
    "django.shortcuts",
    "django.views",
    "django.urls",
    "django.contrib.admin",
    "django.contrib.messages",
    "django.forms",
    "apps.core.api",
)


def test_rules_know_no_http_celery_or_admin() -> None:
    knowing = [
        f"{module.at(node)} {name}"
        for module in inside()
        for name, node in module.imports()
        if name.startswith(tuple(f"{package}." for package in SPOKEN_OUTSIDE)) or name in SPOKEN_OUTSIDE
    ]
    none(knowing, instead="take plain values, raise an error of the app, and translate in the interface")


def test_inside_an_app_nobody_imports_its_interfaces() -> None:
    """Also for the rooms that import-linter's list of layers does not name."""
    upward = [
        f"{module.at(node)} {name}"
        for module in inside()
        for name, node in module.imports()
        if name.startswith("apps.")
        and name.split(".")[2:3]
        and name.split(".")[2] in ("api", "admin", "tasks")
    ]
    none(upward, instead="what both need belongs into a lower room")


def test_what_services_are_made_of_does_not_call_services() -> None:
    """The order inside an app for rooms of its own, such as subscribers/realname or operators/policies."""
    upward = [
        f"{module.at(node)} {name}"
        for module in inside()
        if module.room not in ("services", "apps", "__init__")
        for name, node in module.imports()
        if name == f"apps.{module.app}.services" or name.startswith(f"apps.{module.app}.services.")
    ]
    none(upward, instead="let the service call it")


def test_core_knows_no_other_app() -> None:
    knowing = [
        f"{module.at(node)} {name}"
        for module in modules()
        if module.app == "core"
        for name, node in module.imports()
        if name.startswith("apps.") and not name.startswith("apps.core.")
    ]
    none(knowing, instead="core knows no noun of the field")


def test_business_flows_through_services_and_not_through_signals() -> None:
    connecting = [
        f"{module.at(node)} {name}"
        for module in modules()
        for name, node in module.imports()
        if name.startswith(("django.dispatch", "django.db.models.signals", "django.core.signals"))
    ]
    none(connecting, instead="call the service, or publish an event")


@pytest.mark.parametrize("folder", ["apps", "config", "seeds", "tests"])
def test_no_module_over_500_lines(folder: str) -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for path in (ROOT / folder).rglob("*.py")
        if "migrations" not in path.parts
        if (count := len(path.read_text().splitlines())) > 500
    }
    none([f"{path}: {count} lines" for path, count in long.items()], instead="split it by topic")


def test_no_catch_all_modules() -> None:
    banned = {"utils", "util", "helpers", "managers", "signals", "common", "misc", "constants"}
    found = [str(path.relative_to(ROOT)) for path in APPS.rglob("*.py") if path.stem in banned]
    none(found, instead="name a module after what it knows")


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        str(module.path.relative_to(ROOT))
        for module in modules()
        if module.tree.body
        and not ast.get_docstring(module.tree)
        and not module.path.name.endswith(("apps.py", "urls.py"))
    ]
    none(silent, instead="begin with a docstring")

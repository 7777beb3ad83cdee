"""How rules are written: in one place, by keyword, with an actor and a moment, never behind an interface's back."""

from __future__ import annotations

import ast
import re

from tests.architecture.source import LEVEL, Module, decorators, exported, inside, interfaces, modules, none
from tests.core.test_errors import ERRORS

WRITES = {
    "create",
    "bulk_create",
    "update",
    "bulk_update",
    "delete",
    "get_or_create",
    "update_or_create",
    "save",
    "acreate",
    "aupdate",
    "adelete",
    "asave",
}
CLOCKS = {
    "clock.now",
    "timezone.now",
    "datetime.now",
    "datetime.utcnow",
    "datetime.today",
    "date.today",
    "timezone.localdate",
    "timezone.localtime",
    "time.time",
    "time.time_ns",
}

# Bookkeeping of the machinery itself: nobody asked for it and nobody is named. Why is said at each of them.
NAMELESS = {
    "apps.accounts.services.forget_expired_tokens": "housekeeping",
    "apps.accounts.services.forget_idempotency_keys": "housekeeping",
    "apps.accounts.services.run_once": "the action inside names its actor",
    "apps.accounts.services.store_token": "the app itself, by the thousand",
    "apps.audit.services.sealing.seal": "every row sealed names its actor",
    "apps.carriers.services.reseal_secrets": "the rotation, which audits its steps",
    "apps.core.services.make_next_key": "the rotation, which audits its steps",
    "apps.core.services.promote_next_key": "the rotation, which audits its steps",
    "apps.core.services.retire_old_keys": "the rotation, which audits its steps",
    "apps.core.services.rewrap_keys": "the rotation, which audits its steps",
    "apps.events.services.publish": "news; the audit row beside it names the actor",
    "apps.events.services.relay": "hands news on",
    "apps.lines.services.rotation.reindex_holders": "the rotation, which audits its steps",
    "apps.lines.services.slots.take_place_of_user": "part of opening or changing a line, which names its actor",
    "apps.lines.services.slots.take_places": "part of opening a line, which names its actor",
    "apps.lines.services.slots.take_holder_slot": "part of opening a line, which names its actor",
    "apps.numbering.services.stock.fold_ranges": "adds up what triggers counted",
    "apps.numbering.services.stock.fold_stock": "adds up what triggers counted",
    "apps.numbering.services.stock.note_stock_day": "keeps a day's counts",
    "apps.provisioning.services.callbacks.apply_next_callback": "acts as the carrier that called",
    "apps.provisioning.services.callbacks.receive_callback": "stores what came; nobody is logged in",
    "apps.provisioning.services.jobs.claim_due_jobs": "a worker's lease",
    "apps.provisioning.services.jobs.renew_leases": "a worker's lease",
    "apps.provisioning.services.jobs.expire_leases": "a dead worker's lease",
    "apps.provisioning.services.recording.put_off_unwritten": "a job on its way; its end names the actor",
    "apps.provisioning.services.recording.record_steps": "a job on its way; its end names the actor",
    "apps.provisioning.services.reverification.apply_demand": "acts as the demand, which named its actor",
    "apps.provisioning.services.reverification.put_off_demand": "waits",
    "apps.subscribers.services.images.store_image_file": "a file that belongs to nobody yet",
    "apps.subscribers.services.retention.lock_for_erasure": "a lock",
    "apps.subscribers.services.retention.note_handed_on": "part of a transfer, which names its actor",
    "apps.subscribers.services.reverification.lock_to_apply": "a lock",
    "apps.subscribers.services.reverification.note_applied": "what provisioning has looked at",
    "apps.subscribers.services.rotation.reindex_documents": "the rotation, which audits its steps",
    "apps.subscribers.services.rotation.reindex_representatives": "the rotation, which audits its steps",
    "apps.subscribers.services.rotation.reseal_people": "the rotation, which audits its steps",
    "apps.subscribers.services.watch_list.reindex_watch_list": "the rotation, which audits its steps",
    "apps.subscribers.services.verify.claim_due_verifications": "a worker's lease",
}


def dotted(module: Module, name: str) -> str:
    parts = (
        "apps",
        module.app,
        *module.path.with_suffix("").parts[module.path.parts.index(module.app) + 1 :],
    )
    return ".".join([*parts, name])


def is_service(function: ast.FunctionDef) -> bool:
    return not decorators(function).isdisjoint({"operation", "use_case", "outside_transaction"})


def changes_rows(function: ast.FunctionDef) -> bool:
    return not decorators(function).isdisjoint({"operation", "use_case"})


def is_public(module: Module, function: ast.FunctionDef) -> bool:
    """What the files of one room share among themselves may be called as it reads best."""
    names = exported(module.app, module.room)
    return is_service(function) or (module.room == "selectors" if names is None else function.name in names)


# --- Interfaces only translate --------------------------------------------------------------------------------------
def test_interfaces_never_touch_objects() -> None:
    touching = [
        module.at(node)
        for module in interfaces()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute)
        and node.attr in ("objects", "_default_manager", "_base_manager", "select_for_update")
    ]
    none(touching, instead="ask a selector or a service of the app; an admin may use super().get_queryset()")


def test_interfaces_open_no_transactions_and_speak_no_sql() -> None:
    opening = [
        f"{module.at(node)} {name}"
        for module in interfaces()
        if module.app != "core"  # its health check asks the database for a sign of life
        for name, node in module.imports()
        if name in ("django.db.transaction", "django.db.connection", "apps.core.db.operation")
    ]
    none(opening, instead="call one service, which opens its own transaction")


def test_admin_pages_write_nothing_by_themselves() -> None:
    """Django's own forms and actions save rows behind the services' back; pages are for looking and for buttons."""
    saving = [
        f"{module.at(node)} {node.name}"
        for module in interfaces()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef)
        and node.name in ("save_model", "delete_model", "save_related", "delete_queryset", "save_formset")
    ]
    none(saving, instead="let a button call a service")


# --- Rules ----------------------------------------------------------------------------------------------------------
def test_services_and_selectors_take_keywords_and_say_what_they_guarantee() -> None:
    careless = []
    for module in modules("services", "selectors"):
        for function in module.functions():
            args = function.args
            public = is_public(module, function)
            if public and (args.posonlyargs or args.args or args.vararg):
                careless.append(f"{module.at(function)} {function.name} takes positional arguments")
            if public and not ast.get_docstring(function):
                careless.append(f"{module.at(function)} {function.name} has no docstring")
            if function.returns is None:
                careless.append(f"{module.at(function)} {function.name} does not say what it returns")
    none(careless, instead="keywords only, typed, with a docstring that says what is guaranteed")


def test_errors_that_a_service_raises_are_told_in_its_docstring() -> None:
    silent = []
    for module in modules("services", "selectors"):
        for function in module.functions():
            raised = {
                ast.unparse(node.exc.func if isinstance(node.exc, ast.Call) else node.exc).rpartition(".")[2]
                for node in ast.walk(function)
                if isinstance(node, ast.Raise) and node.exc is not None
            }
            told = set(re.findall(r"\w+", (ast.get_docstring(function) or "").partition(":raises")[2]))
            missing = (raised - told) & {error.__name__ for error in ERRORS}
            silent += [f"{module.at(function)} {function.name}: {name}" for name in sorted(missing)]
    none(silent, instead="add `:raises Name:` to the docstring")


def test_services_that_write_name_their_actor() -> None:
    missing = [
        f"{module.at(function)} {name}"
        for module in modules("services")
        for function in module.functions()
        if changes_rows(function) and (name := dotted(module, function.name)) not in NAMELESS
        if "actor" not in {argument.arg for argument in function.args.kwonlyargs}
    ]
    none(missing, instead="take `actor` and give it to the audit, or say in NAMELESS why there is none")


def test_the_nameless_still_exist() -> None:
    known = {
        dotted(module, function.name) for module in modules("services") for function in module.functions()
    }
    none(set(NAMELESS) - known, instead="take it off the list NAMELESS")


def test_selectors_name_who_looks_at_tenants_data() -> None:
    """Rule 7, as far as names show it: a read that starts from an operator's public ids demands the actor."""
    missing = [
        f"{module.at(function)} {function.name}"
        for module in modules("selectors")
        for function in module.functions()
        if {"uid", "uids"} & (names := {argument.arg for argument in function.args.kwonlyargs})
        if not {"actor", "operator_id", "operator"} & names
        and dotted(module, function.name)
        != "apps.carriers.selectors.get_connection_by_uid"  # the carrier calls back
    ]
    none(missing, instead="demand `actor` and start from visible_to(actor)")


def test_only_interfaces_read_the_clock() -> None:
    reading = [
        f"{module.at(call)} {name}"
        for module in inside()
        # An adapter signs with the moment of sending, not with that of the claim.
        if module.room not in ("adapters", "transport")
        for name, call in module.calls()
        if name in CLOCKS
    ]
    none(reading, instead="take `now`; leases and back-off are measured with core.db.database_now()")


def test_selectors_never_write_or_lock_a_transaction() -> None:
    writing = [
        f"{module.at(call)} {name}"
        for module in modules("selectors")
        for name, call in module.calls()
        if name.rpartition(".")[2] in WRITES and "." in name
    ]
    none(writing, instead="writes belong into services")


def test_work_is_handed_over_through_dispatch_only() -> None:
    handing = [
        f"{module.at(call)} {name}"
        for module in modules()
        if (module.app, module.room) != ("core", "dispatch")
        for name, call in module.calls()
        if name.rpartition(".")[2] in ("send_task", "apply_async", "delay", "on_commit", "signature")
    ]
    none(handing, instead="use dispatch.after_commit()")


# --- Tables ---------------------------------------------------------------------------------------------------------
def test_an_app_writes_only_its_own_tables() -> None:
    foreign = []
    for module in modules():
        owners = _owners(module)
        for name, call in module.calls():
            names = _chain(call.func)
            owner = owners.get(names[0])
            if names[-1] in WRITES and owner is not None and owner != module.app:
                foreign.append(f"{module.at(call)} {name} writes a table of {owner}")
    none(foreign, instead="ask the services of the app that owns the table")


def _chain(node: ast.AST) -> list[str]:
    """Line.objects.filter(pk=1).update -> Line, objects, filter, update."""
    names: list[str] = []
    while isinstance(node, ast.Attribute | ast.Call):
        if isinstance(node, ast.Attribute):
            names.append(node.attr)
        node = node.func if isinstance(node, ast.Call) else node.value
    names.append(node.id if isinstance(node, ast.Name) else "")
    return names[::-1]


def _owners(module: Module) -> dict[str, str]:
    """Names in this module that stand for a model, or for a module of models, and the app each belongs to."""
    owners: dict[str, str] = {}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("apps."):
            parts = node.module.split(".")
            for alias in node.names:
                if "models" in parts[2:] or (len(parts) == 2 and alias.name == "models"):
                    owners[alias.asname or alias.name] = parts[1]
    return owners


def test_sql_by_hand_changes_only_tables_of_its_own_app() -> None:
    foreign = []
    for module in modules():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for app in _written_in(node.value):
                    if app != module.app:
                        foreign.append(f"{module.at(node)} writes a table of {app}")
    none(foreign, instead="ask the services of the app that owns the table")


def _written_in(sql: str) -> set[str]:
    tables = re.findall(
        r"(?i)\b(?:INSERT\s+INTO|UPDATE|DELETE\s+FROM|TRUNCATE)\s+(?:ONLY\s+)?\"?([a-z]+)_[a-z]", sql
    )
    return {table for table in tables if table in LEVEL}


def test_status_is_written_by_the_models_own_verbs() -> None:
    """Rule 8: `line.status = ...` outside of the model goes round the table of steps."""
    outside = [
        f"{module.at(node)} {ast.unparse(target)}"
        for module in modules()
        if module.room != "models"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Attribute)
        and target.attr == "status"
        and ast.unparse(target) != "self.status"
    ]
    none(outside, instead="give the model a verb that asks its table of steps")

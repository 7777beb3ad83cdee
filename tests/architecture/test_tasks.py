"""Celery is one more interface: thin tasks that carry ids, and a queue that somebody works off."""

from __future__ import annotations

import ast
import inspect
import shlex
from collections.abc import Iterator

import pytest
from celery import current_app
from celery.app.task import Task
from django.conf import settings

from apps.events import consumers
from apps.provisioning.states import drain_queue
from config.run.programs import TABLE
from tests.architecture.source import Module, modules, none

CARRIERS = ("unicom", "mobile", "telecom")


@pytest.fixture(scope="module")
def tasks() -> dict[str, Task]:
    """Our own, by name."""
    current_app.loader.import_default_modules()
    return {
        name: task for name, task in current_app.tasks.items() if not name.startswith(("celery.", "tests."))
    }


def _declared() -> Iterator[tuple[Module, ast.FunctionDef]]:
    for module in modules("tasks"):
        for node in module.tree.body:
            if isinstance(node, ast.FunctionDef) and node.decorator_list:
                yield module, node


def _dispatched() -> Iterator[tuple[str, str, set[str]]]:
    """(where, task name, names of the arguments) of every hand-over whose name is written out."""
    for module in modules():
        for name, call in module.calls():
            if name in ("dispatch.after_commit", "dispatch.now") and isinstance(call.args[0], ast.Constant):
                arguments = {keyword.arg for keyword in call.keywords if keyword.arg} - {"queue"}
                yield module.at(call), str(call.args[0].value), arguments


def test_every_name_that_is_handed_over_is_a_task(tasks: dict[str, Task]) -> None:
    named = {name: where for where, name, _ in _dispatched()}
    named |= dict.fromkeys(consumers.registered(), "a consumer of events")
    named |= {entry["task"]: "CELERY_BEAT_SCHEDULE" for entry in settings.CELERY_BEAT_SCHEDULE.values()}
    assert len(named) > 5
    none([f"{name} ({where})" for name, where in named.items() if name not in tasks], instead="no such task")


def test_every_task_is_called_by_somebody(tasks: dict[str, Task]) -> None:
    used = {name for _, name, _ in _dispatched()} | consumers.registered()
    used |= {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()}
    none(set(tasks) - used, instead="nobody sends it")


def test_a_task_knows_what_it_is_handed(tasks: dict[str, Task]) -> None:
    """It takes anything, for older workers' sake, so a misspelt argument would be lost without a word."""
    lost = [
        f"{where} {name}: {argument}"
        for where, name, arguments in _dispatched()
        if name in tasks
        for argument in arguments - set(inspect.signature(tasks[name].run).parameters)
    ]
    none(lost, instead="the task has no such argument")


def test_every_queue_has_a_worker(tasks: dict[str, Task]) -> None:
    worked_off = set()
    for command in TABLE.values():
        words = shlex.split(command)
        if "-Q" in words:
            worked_off |= set(words[words.index("-Q") + 1].split(","))
    router = current_app.amqp.router
    queues = {name: router.route({}, name)["queue"].name for name in tasks}
    none(
        [f"{name}: {queue}" for name, queue in queues.items() if queue not in worked_off],
        instead="a queue that no process of config/run/programs.py works off",
    )
    none(
        {drain_queue(code) for code in CARRIERS} - worked_off,
        instead="a carrier's queue that nobody works off",
    )


def test_what_beat_sends_does_not_pile_up() -> None:
    """Workers that were away an hour must not find an hour of the same message."""
    piling = [
        name for name, entry in settings.CELERY_BEAT_SCHEDULE.items() if not entry["options"].get("expires")
    ]
    none(piling, instead="give it `expires`")


def test_tasks_are_thin_and_tolerant() -> None:
    careless = []
    for module, node in _declared():
        name = f"{module.at(node)} {node.name}"
        if (node.end_lineno or 0) - node.lineno > 14:
            careless.append(f"{name} is long")
        if node.args.args or node.args.posonlyargs or node.args.vararg or node.args.kwarg is None:
            careless.append(f"{name} needs keywords only and **_future")
        options = {
            keyword.arg: keyword.value
            for decorator in node.decorator_list
            if isinstance(decorator, ast.Call)
            for keyword in decorator.keywords
        }
        task_name = options.get("name")
        if not (isinstance(task_name, ast.Constant) and str(task_name.value).startswith(f"{module.app}.")):
            careless.append(f"{name} is not named after its app")
        if "queue" in options:
            careless.append(f"{name} says its queue: that is what CELERY_TASK_ROUTES is for")
        if not ast.get_docstring(node):
            careless.append(f"{name} has no docstring")
    none(careless, instead="load, call one service, nothing else")


def test_tasks_carry_ids_only() -> None:
    allowed = {"event_id", "subject", "connection_id", "run_id", "verification_id"}
    other = [
        f"{module.at(node)} {argument.arg}"
        for module, node in _declared()
        for argument in node.args.kwonlyargs
        if argument.arg not in allowed
    ]
    none(other, instead="a message may lie in Redis for long and be read by many: ids, nothing of people")

"""Celery tasks of the real-name checks. Each may run twice at once; what is due stands in the table, by its clock."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from apps.core.actor import Actor
from apps.core.db import database_now
from apps.subscribers import services


@shared_task(name="subscribers.run_verifications")
def run_verifications(**_future: Any) -> None:
    """Runs the checks of what is due."""
    services.run_due_verifications(clock=database_now)


@shared_task(name="subscribers.sweep")
def sweep(**_future: Any) -> None:
    """Finds what a lost nudge or a dead worker left behind."""
    services.sweep(now=database_now())


@shared_task(name="subscribers.apply_listings")
def apply_listings(**_future: Any) -> None:
    """Ends what has passed of people who were listed since, until nobody is left."""
    actor = Actor.system("subscribers.apply_listings")
    while services.apply_listings(actor=actor, now=database_now()):
        pass


@shared_task(name="subscribers.erase_ended_listings")
def erase_ended_listings(**_future: Any) -> None:
    """Forgets who was on the watch-list, until nobody is left."""
    actor = Actor.system("subscribers.erase_ended_listings")
    while services.erase_ended_listings(actor=actor, now=database_now()):
        pass


@shared_task(name="subscribers.expire_verifications")
def expire_verifications(**_future: Any) -> None:
    """Ends the freshness of old passes until none is left."""
    actor = Actor.system("subscribers.expire_verifications")
    while services.expire_verifications(actor=actor, now=database_now()):
        pass


@shared_task(name="subscribers.take_reverification_steps")
def take_reverification_steps(**_future: Any) -> None:
    """Takes the next step of demands to be verified again whose time has come, until none is left."""
    actor = Actor.system("subscribers.take_reverification_steps")
    while services.take_due_steps(actor=actor, now=database_now()):
        pass


@shared_task(name="subscribers.remove_erased_files")
def remove_erased_files(**_future: Any) -> None:
    """Deletes the files of erased images until none is left."""
    actor = Actor.system("subscribers.remove_erased_files")
    while services.remove_erased_files(actor=actor, now=database_now()):
        pass

"""Celery tasks of provisioning: thin, ids only, safe to run twice at once."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from apps.accounts.actors import actor_of_staff
from apps.core import clock, dispatch
from apps.core.actor import Actor
from apps.core.db import database_now
from apps.core.faults import faultpoint, sabotage
from apps.provisioning import selectors, services
from apps.provisioning.states import drain_queue
from apps.subscribers import selectors as subscribers

WORKER = Actor.system("provisioning-worker")
RECONCILER = Actor.system("provisioning-reconciler")


@shared_task(name="provisioning.drain")
def drain(*, connection_id: int, **_future: Any) -> None:
    """Works off the due jobs of the host carrier that the connection leads to; sent to the queue of that carrier."""
    services.drain(actor=WORKER, connection_id=connection_id, clock=clock.now, linger=services.LINGER)


@shared_task(name="provisioning.apply_callbacks")
def apply_callbacks(**_future: Any) -> None:
    """Applies stored carrier callbacks until none is left."""
    while services.apply_next_callback(now=clock.now()):
        pass


@shared_task(name="provisioning.continue_held_orders")
def continue_held_orders(*, subject: str, **_future: Any) -> None:
    """Consumer of verification.completed: the orders that waited for it go on."""
    subscriber_id = subscribers.get_subscriber_id_of_verification(verification_uid=subject)
    if subscriber_id is not None:
        services.continue_held_orders(actor=WORKER, subscriber_ids=[subscriber_id], now=clock.now())


@shared_task(name="provisioning.end_held_orders")
def end_held_orders(**_future: Any) -> None:
    """Cancels orders that were held too long."""
    services.end_held_orders(actor=WORKER, now=clock.now())


@shared_task(name="provisioning.start_scheduled_orders")
def start_scheduled_orders(**_future: Any) -> None:
    """Starts orders whose day has come, on the first of a month by the hundred thousand."""
    while services.start_scheduled_orders(actor=WORKER, now=clock.now()):
        pass


@shared_task(name="provisioning.apply_reverification")
def apply_reverification(*, subject: str, **_future: Any) -> None:
    """Consumer of a demand's steps and its end: its lines follow at once."""
    demand_id = subscribers.get_demand_id(demand_uid=subject)
    if demand_id is not None:
        services.apply_demand(demand_id=demand_id, now=database_now())


@shared_task(name="provisioning.apply_reverifications")
def apply_reverifications(**_future: Any) -> None:
    """Finds the lines that a demand to be verified again still has to reach or to leave."""
    while services.apply_demands(now=database_now()):
        pass


@shared_task(name="provisioning.warn_of_ending_documents")
def warn_of_ending_documents(**_future: Any) -> None:
    """Warns holders of lines whose document ends."""
    services.warn_of_ending_documents(
        actor=Actor.system("provisioning.warn_of_ending_documents"), now=clock.now()
    )


@shared_task(name="provisioning.reconcile")
def reconcile(*, run_id: int, **_future: Any) -> None:
    """Takes one reconciliation run further, for a while."""
    if services.continue_reconciliation(actor=RECONCILER, run_id=run_id, clock=clock.now):
        # On to the end of the queue, behind the other runs.
        dispatch.now("provisioning.reconcile", run_id=run_id)


@shared_task(name="provisioning.start_reconciliations")
def start_reconciliations(**_future: Any) -> None:
    """Each night: a run over every connection."""
    services.start_reconciliations(actor=RECONCILER, now=clock.now())


@shared_task(name="provisioning.continue_reconciliations")
def continue_reconciliations(**_future: Any) -> None:
    """Finds runs and accepted repairs that a lost message or a dead worker left behind, and nudges again."""
    for run_id in selectors.list_reconciliations_due(at=database_now()):
        dispatch.now("provisioning.reconcile", run_id=run_id)
    if selectors.has_accepted_discrepancies():
        dispatch.now("provisioning.repair_discrepancies")


@shared_task(name="provisioning.repair_discrepancies")
def repair_discrepancies(**_future: Any) -> None:
    """Carries out repairs that staff accepted in bulk."""
    while services.repair_accepted(actor=RECONCILER, actor_of=actor_of_staff, clock=clock.now):
        pass


@shared_task(name="provisioning.warn_of_ending_papers")
def warn_of_ending_papers(**_future: Any) -> None:
    """Tells staff which licences and agreements end soon, each step once."""
    services.warn_of_ending_papers(actor=Actor.system("provisioning.warn_of_ending_papers"), now=clock.now())


@shared_task(name="provisioning.sweep")
def sweep(**_future: Any) -> None:
    """Finds whatever a lost message or a dead worker left behind, and nudges again."""
    if sabotage("no_sweeper"):
        return
    while services.expire_leases():
        faultpoint("sweep.after_expiry")
    due = selectors.list_connections_with_due_jobs(at=database_now())
    # One nudge per host carrier: a drain works for all connections to it.
    for carrier_code, connection_id in {code: connection_id for connection_id, code in due}.items():
        dispatch.now("provisioning.drain", queue=drain_queue(carrier_code), connection_id=connection_id)
    if selectors.has_waiting_callbacks():
        dispatch.now("provisioning.apply_callbacks")
    services.continue_held_orders(
        actor=WORKER, subscriber_ids=selectors.list_subscribers_with_news(), now=clock.now()
    )

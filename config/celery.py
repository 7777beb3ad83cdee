"""The Celery application; imported by every entry point so that tasks find their broker."""

import os

from celery import Celery
from celery.signals import setup_logging, worker_shutting_down

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.local")

app = Celery("kaihu")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def keep_django_logging(**_: object) -> None:
    """Django's LOGGING is the only one; Celery adds none of its own."""


@worker_shutting_down.connect
def finish_carrier_calls(**_: object) -> None:
    """A worker that ends waits for the carrier calls that are out and begins no more."""
    from apps.provisioning import services  # the apps are not loaded before the worker is

    services.stopping.set()

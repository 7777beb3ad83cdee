"""The use cases of provisioning, by name."""

from apps.provisioning.errors import CallbackRefused
from apps.provisioning.services.callbacks import apply_next_callback, receive_callback
from apps.provisioning.services.drain import drain
from apps.provisioning.services.holds import continue_held_orders, end_held_orders
from apps.provisioning.services.jobs import claim_due_jobs, expire_leases, record_outcome
from apps.provisioning.services.orders import (
    NumberWish,
    cancel_order,
    place_activation_order,
    place_termination_order,
)
from apps.provisioning.services.staff import retry_job

__all__ = [
    "CallbackRefused",
    "NumberWish",
    "apply_next_callback",
    "cancel_order",
    "claim_due_jobs",
    "continue_held_orders",
    "drain",
    "end_held_orders",
    "expire_leases",
    "place_activation_order",
    "place_termination_order",
    "receive_callback",
    "record_outcome",
    "retry_job",
]

"""The use cases of provisioning, by name."""

from apps.provisioning.errors import CallbackRefused
from apps.provisioning.services.callbacks import apply_next_callback, receive_callback
from apps.provisioning.services.cancelling import cancel_order
from apps.provisioning.services.disputes import (
    demand_proof,
    detach_disputed_line,
    dispute_told_number,
    open_dispute,
    settle_verified,
    suspend_disputed_line,
    terminate_disputed_line,
    withdraw_dispute,
)
from apps.provisioning.services.drain import LINGER, drain, stopping
from apps.provisioning.services.jobs import claim_due_jobs, expire_leases
from apps.provisioning.services.order_types.activate import NumberWish, place_activation_order
from apps.provisioning.services.order_types.change_number import place_number_change_order
from apps.provisioning.services.order_types.change_plan import Effective, place_plan_change_order
from apps.provisioning.services.order_types.change_sim import place_sim_change_order
from apps.provisioning.services.order_types.suspension import place_resumption_order
from apps.provisioning.services.order_types.terminate import place_termination_order
from apps.provisioning.services.order_types.transfer import place_transfer_order
from apps.provisioning.services.papers_ending import warn_of_ending_papers
from apps.provisioning.services.reconciliation.repairs import (
    accept_discrepancies,
    accept_discrepancy,
    ignore_discrepancy,
    reopen_discrepancy,
    repair_accepted,
)
from apps.provisioning.services.reconciliation.runs import (
    cancel_reconciliation,
    continue_reconciliation,
    start_reconciliation,
    start_reconciliations,
)
from apps.provisioning.services.recording import record_outcome
from apps.provisioning.services.reverification import (
    ListOutcome,
    apply_demand,
    apply_demands,
    demand_reverification,
    demand_reverification_of_line,
    demand_reverification_of_list,
    warn_of_ending_documents,
)
from apps.provisioning.services.staff import resolve_job, retry_job
from apps.provisioning.services.standstill import place_suspension_order
from apps.provisioning.services.waiting import (
    continue_held_orders,
    end_held_orders,
    start_scheduled_orders,
)

__all__ = [
    "LINGER",
    "CallbackRefused",
    "Effective",
    "ListOutcome",
    "NumberWish",
    "accept_discrepancies",
    "accept_discrepancy",
    "apply_demand",
    "apply_demands",
    "apply_next_callback",
    "cancel_order",
    "cancel_reconciliation",
    "claim_due_jobs",
    "continue_held_orders",
    "continue_reconciliation",
    "demand_proof",
    "demand_reverification",
    "demand_reverification_of_line",
    "demand_reverification_of_list",
    "detach_disputed_line",
    "dispute_told_number",
    "drain",
    "end_held_orders",
    "expire_leases",
    "ignore_discrepancy",
    "open_dispute",
    "place_activation_order",
    "place_number_change_order",
    "place_plan_change_order",
    "place_resumption_order",
    "place_sim_change_order",
    "place_suspension_order",
    "place_termination_order",
    "place_transfer_order",
    "receive_callback",
    "record_outcome",
    "reopen_discrepancy",
    "repair_accepted",
    "resolve_job",
    "retry_job",
    "settle_verified",
    "start_reconciliation",
    "start_reconciliations",
    "start_scheduled_orders",
    "stopping",
    "suspend_disputed_line",
    "terminate_disputed_line",
    "warn_of_ending_documents",
    "warn_of_ending_papers",
    "withdraw_dispute",
]

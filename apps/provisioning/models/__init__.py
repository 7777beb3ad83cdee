"""Tables of provisioning: orders with their jobs and callbacks, gates of calls, what reconciliation found,
and disputes about whose a line is.
"""

from apps.provisioning.models.disputes import HolderDispute
from apps.provisioning.models.gates import Gate
from apps.provisioning.models.orders import ActivationJob, CarrierCallback, JobAttempt, ServiceOrder
from apps.provisioning.models.reconciliation import Discrepancy, PaperWarning, ReconciliationRun

__all__ = [
    "ActivationJob",
    "CarrierCallback",
    "Discrepancy",
    "Gate",
    "HolderDispute",
    "JobAttempt",
    "PaperWarning",
    "ReconciliationRun",
    "ServiceOrder",
]

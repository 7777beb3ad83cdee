"""Tables of orders, jobs, attempts and callbacks, and of disputes about whose a line is."""

from apps.provisioning.models.disputes import HolderDispute
from apps.provisioning.models.orders import ActivationJob, CarrierCallback, JobAttempt, ServiceOrder

__all__ = ["ActivationJob", "CarrierCallback", "HolderDispute", "JobAttempt", "ServiceOrder"]

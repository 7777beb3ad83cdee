"""Orders, jobs, callbacks, reconciliation in the admin, what staff order for a line, disputes about whose it is."""

from apps.provisioning.admin import disputes, pages, reconciliation, reverification

__all__ = ["disputes", "pages", "reconciliation", "reverification"]

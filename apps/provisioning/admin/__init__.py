"""Orders, jobs and callbacks in the admin, what staff order for a line, and disputes about whose it is."""

from apps.provisioning.admin import disputes, pages, reverification

__all__ = ["disputes", "pages", "reverification"]

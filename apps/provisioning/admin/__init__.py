"""Orders, jobs and callbacks in the admin, and what staff order for a line."""

from apps.provisioning.admin import pages

__all__ = ["pages"]

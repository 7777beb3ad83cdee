"""Tenant scope: every read of an operator's data goes through `visible_to(actor)`."""

from __future__ import annotations

from typing import Self, TypeVar

from django.db import models

from apps.core.actor import Actor

M = TypeVar("M", bound=models.Model)


class TenantQuerySet(models.QuerySet[M]):
    """A queryset of rows that carry `operator_id`."""

    def visible_to(self, actor: Actor) -> Self:
        """Only what the actor's operator owns; everything for platform staff and the system."""
        if actor.operator_id is None:
            return self
        return self.filter(operator_id=actor.operator_id)

"""Tenants and what they are allowed: reference rows, operators, licences, agreements, dealers, policies."""

from __future__ import annotations

from datetime import date, datetime
from typing import Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from apps.core.actor import Actor
from apps.core.public_ids import PublicIdField
from apps.core.tenancy import TenantQuerySet
from apps.operators import territory
from apps.operators.calendar import china_date
from apps.operators.states import HolderKind, LicenceKind, OperatorMode, Validity


class HostCarrier(models.Model):
    """A basic operator with a network of its own, on which virtual operators run."""

    code = models.CharField(max_length=16, unique=True)
    name = models.CharField(max_length=64)
    name_zh = models.CharField(verbose_name="Chinese name", max_length=64)

    def __str__(self) -> str:
        return self.code


class AccessCode(models.Model):
    """Leading digits of numbers and the host they belong to; the longest match decides (MIIT table, March 2023)."""

    prefix = models.CharField(max_length=7, unique=True)
    # Of each number: 11 for persons, 13 for machines (IoT).
    digits = models.SmallIntegerField(default=11)
    host_carrier = models.ForeignKey(HostCarrier, on_delete=models.PROTECT)
    resale_only = models.BooleanField()
    source_note = models.CharField(max_length=200)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(prefix__regex=r"^1[0-9]{2,6}$"), name="access_code_prefix_is_digits"
            ),
            models.CheckConstraint(condition=Q(digits__in=(11, 13)), name="access_code_digits"),
        ]

    def __str__(self) -> str:
        return self.prefix


class DocumentType(models.Model):
    """A kind of identity document and how its number is written; which ones are accepted is policy."""

    code = models.CharField(max_length=32, unique=True)
    name = models.CharField(max_length=96)
    name_zh = models.CharField(verbose_name="Chinese name", max_length=64)
    holder_kind = models.CharField(max_length=12, choices=HolderKind)
    number_format = models.CharField(max_length=200)
    check_rule = models.CharField(max_length=32, blank=True)
    source_note = models.CharField(max_length=300)

    def __str__(self) -> str:
        return self.code


class OperatorQuerySet(models.QuerySet["VirtualOperator"]):
    def visible_to(self, actor: Actor) -> Self:
        """The actor's own operator; all of them for platform staff and the system."""
        if actor.operator_id is None:
            return self
        return self.filter(pk=actor.operator_id)


class VirtualOperator(models.Model):
    """A tenant: a company that resells mobile service, or the sandbox of one."""

    uid = PublicIdField(prefix="opr")
    code = models.SlugField(max_length=40, unique=True)
    name = models.CharField(max_length=120)
    name_zh = models.CharField(verbose_name="Chinese name", max_length=120)
    mode = models.CharField(max_length=4, choices=OperatorMode)
    sandbox_of = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT)
    # The host a licensee signed with first, as the licence announcement names it.
    first_host = models.ForeignKey(HostCarrier, null=True, blank=True, on_delete=models.PROTECT)
    source_note = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField()

    objects = OperatorQuerySet.as_manager()

    class Meta:
        verbose_name = "operator"
        constraints = [
            models.UniqueConstraint(fields=["sandbox_of"], name="operator_one_sandbox"),
            models.CheckConstraint(
                condition=Q(mode=OperatorMode.TEST, sandbox_of__isnull=False)
                | Q(mode=OperatorMode.LIVE, sandbox_of__isnull=True),
                name="operator_test_is_sandbox",
            ),
        ]

    def __str__(self) -> str:
        return self.code


class _Term(models.Model):
    """Days from `valid_from` up to, not including, `valid_until`, within `areas`."""

    valid_from = models.DateField()
    valid_until = models.DateField()
    areas = ArrayField(models.CharField(max_length=64))
    source_note = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        abstract = True

    @property
    def ended_at(self) -> datetime | None:
        raise NotImplementedError

    def validity(self, *, now: datetime, place: str | None = None) -> Validity:
        """What it is worth at that moment, at that place ("省" or "省/市"; None asks no place)."""
        return _validity(self.valid_from, self.valid_until, self.ended_at, self.areas, now, place)


def _validity(
    valid_from: date,
    valid_until: date | None,
    ended_at: datetime | None,
    areas: list[str],
    now: datetime,
    place: str | None,
) -> Validity:
    today = china_date(now)
    if ended_at is not None and ended_at <= now:
        return Validity.REVOKED
    if today < valid_from:
        return Validity.NOT_YET_VALID
    if valid_until is not None and today >= valid_until:
        return Validity.EXPIRED
    if place is not None and not territory.covers(areas, place):
        return Validity.NOT_COVERED
    return Validity.VALID


class Licence(_Term):
    """Permission to run resale business, from MIIT (Telecom Regulations, annex item 9; terms of five years)."""

    uid = PublicIdField(prefix="lic")
    operator = models.ForeignKey(VirtualOperator, on_delete=models.PROTECT)
    number = models.CharField(max_length=64)
    kind = models.CharField(max_length=10, choices=LicenceKind)
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects = TenantQuerySet["Licence"].as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["operator", "number", "valid_from"], name="licence_once"),
            models.CheckConstraint(condition=Q(valid_until__gt=F("valid_from")), name="licence_term"),
            models.CheckConstraint(condition=Q(areas__len__gt=0), name="licence_has_areas"),
        ]

    def __str__(self) -> str:
        return self.number

    @property
    def ended_at(self) -> datetime | None:
        return self.revoked_at

    def revoke(self, *, now: datetime) -> None:
        self.revoked_at = now
        self.save(update_fields=["revoked_at"])


class WholesaleAgreement(_Term):
    """The commercial contract with one host carrier; without it nothing can be leased or activated there."""

    uid = PublicIdField(prefix="agr")
    operator = models.ForeignKey(VirtualOperator, on_delete=models.PROTECT)
    host_carrier = models.ForeignKey(HostCarrier, on_delete=models.PROTECT)
    contract_no = models.CharField(max_length=64)
    terminated_at = models.DateTimeField(null=True, blank=True)

    objects = TenantQuerySet["WholesaleAgreement"].as_manager()

    class Meta:
        verbose_name = "agreement"
        constraints = [
            models.UniqueConstraint(fields=["operator", "contract_no"], name="agreement_once"),
            models.CheckConstraint(condition=Q(valid_until__gt=F("valid_from")), name="agreement_term"),
            models.CheckConstraint(condition=Q(areas__len__gt=0), name="agreement_has_areas"),
        ]

    def __str__(self) -> str:
        return self.contract_no

    @property
    def ended_at(self) -> datetime | None:
        return self.terminated_at

    def terminate(self, *, now: datetime) -> None:
        self.terminated_at = now
        self.save(update_fields=["terminated_at"])


class Dealer(models.Model):
    """An agent that opens lines for the operator; no sub-agents (MIIT 2016), the operator answers for it."""

    uid = PublicIdField(prefix="dlr")
    operator = models.ForeignKey(VirtualOperator, on_delete=models.PROTECT)
    code = models.CharField(max_length=32)
    name = models.CharField(max_length=120)
    valid_from = models.DateField()
    valid_until = models.DateField(null=True, blank=True)
    suspended_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()

    objects = TenantQuerySet["Dealer"].as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["operator", "code"], name="dealer_code"),
            models.CheckConstraint(
                condition=Q(valid_until__isnull=True) | Q(valid_until__gt=F("valid_from")), name="dealer_term"
            ),
        ]

    def __str__(self) -> str:
        return self.code

    def validity(self, *, now: datetime) -> Validity:
        return _validity(self.valid_from, self.valid_until, self.suspended_at, [], now, None)

    def suspend(self, *, now: datetime) -> None:
        self.suspended_at = now
        self.save(update_fields=["suspended_at"])


class Policy(models.Model):
    """One version of one threshold that law, contract or the operator sets. Rows are added, never changed."""

    operator = models.ForeignKey(VirtualOperator, null=True, blank=True, on_delete=models.PROTECT)
    key = models.CharField(max_length=64)
    value = models.JSONField()
    valid_from = models.DateTimeField()
    source_note = models.CharField(max_length=300)
    created_at = models.DateTimeField()

    objects = TenantQuerySet["Policy"].as_manager()

    class Meta:
        verbose_name_plural = "policies"
        constraints = [
            models.UniqueConstraint(
                fields=["key", "operator", "valid_from"], nulls_distinct=False, name="policy_version"
            )
        ]

    def __str__(self) -> str:
        return f"{self.key} = {self.value}"

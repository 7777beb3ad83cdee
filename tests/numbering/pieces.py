"""Ranges of any size, with sold and with golden numbers, and how many numbers somebody has read of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import connection

from apps.numbering.models import NumberRange
from apps.numbering.states import RangeStatus
from apps.operators.calendar import china_date
from apps.operators.models import VirtualOperator, WholesaleAgreement


def given_piece(
    operator: VirtualOperator,
    now: datetime,
    first: int,
    count: int,
    *,
    carrier: str = "unicom",
    every: int = 1,
    **fields: Any,
) -> NumberRange:
    """A range of any size within a ten-thousand block, as splitting makes them; `every` so many-th number is free, the
    others are in use; every 4,000th is gold."""
    agreement = WholesaleAgreement.objects.get(operator=operator, host_carrier__code=carrier)
    piece = NumberRange.objects.create(
        operator=operator,
        agreement=agreement,
        host_carrier=agreement.host_carrier,
        digits=len(str(first)),
        prefix=str(first)[:-4],
        first=first,
        last=first + count - 1,
        leased_from=china_date(now),
        leased_until=china_date(now).replace(year=china_date(now).year + 1),
        created_at=now,
        **{
            "home_province": "广东",
            "home_city": "深圳",
            "status": RangeStatus.ACTIVE,
            "activated_at": now,
            **fields,
        },
    )
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO numbering_phonenumber (number, range_id, operator_id, status, grade)"
            " SELECT each, %s, %s, CASE WHEN each %% %s::int = 0 THEN 0 ELSE 2 END,"
            " CASE WHEN each %% 4000 = 0 THEN 3 ELSE 0 END FROM generate_series(%s::bigint, %s::bigint) AS each",
            [piece.pk, operator.pk, every, piece.first, piece.last],
        )
    return piece


def rows_read() -> int:
    """Numbers that this transaction has read, wanted or not."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables"
            " WHERE relname = 'numbering_phonenumber'"
        )
        return int(cursor.fetchone()[0])

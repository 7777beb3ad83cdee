"""Legal dates are days in China: a licence until 2023-07-12 ends at midnight in Beijing, not in UTC."""

from __future__ import annotations

from datetime import date, datetime
from zoneinfo import ZoneInfo

CHINA = ZoneInfo("Asia/Shanghai")


def china_date(now: datetime) -> date:
    return now.astimezone(CHINA).date()

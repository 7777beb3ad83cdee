from __future__ import annotations

from datetime import datetime

import pytest

from apps.lines.models import Line
from apps.operators.models import VirtualOperator
from tests.factories.provisioning import Seller, given_seller


@pytest.fixture
def seller(operator: VirtualOperator, now: datetime) -> Seller:
    """`operator` selling on unicom."""
    return given_seller(operator=operator, now=now)


@pytest.fixture
def line(seller: Seller) -> Line:
    """One that the carrier has."""
    return seller.active_line()

"""The rate limit of a partner app: one bucket for everything it asks, tokens included."""

from __future__ import annotations

import math

from django.http import HttpResponseBase

from apps.accounts.models import PartnerApp
from apps.core import ratelimit
from apps.core.api.problems import ApiError


def take(app: PartnerApp) -> ratelimit.Decision:
    return ratelimit.take(f"app:{app.uid}", rate_per_second=app.rate_per_second, burst=app.rate_burst)


def rate_limited(decision: ratelimit.Decision) -> ApiError:
    """429 with Retry-After."""
    error = ApiError(429, "rate_limited", "Too many requests.", retryable=True)
    error.wait = max(decision.retry_after, 1)
    return error


def set_headers(response: HttpResponseBase, app: PartnerApp, decision: ratelimit.Decision) -> None:
    """RateLimit-Policy and RateLimit as structured fields (draft-ietf-httpapi-ratelimit-headers): quota, seconds."""
    window = math.ceil(app.rate_burst / app.rate_per_second)
    response["RateLimit-Policy"] = f'"app";q={app.rate_burst};w={window}'
    response["RateLimit"] = f'"app";r={decision.remaining};t={decision.reset_seconds}'

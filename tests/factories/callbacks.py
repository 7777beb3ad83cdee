"""Callbacks as the unicom simulator signs them."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from django.test import Client

from apps.carriers.adapters.unicom import SIGNATURE_HEADER, TIMESTAMP_HEADER, sign
from apps.carriers.models import CarrierConnection
from apps.provisioning.models import ActivationJob
from tests.simulator import callback_secret_for


def callback_body(
    job: ActivationJob, *, now: datetime, result: str = "DONE", **changes: Any
) -> dict[str, Any]:
    """What the carrier says about a job: the members of the dialect, with changes."""
    number = job.line.number_assignments.get().number_id
    body = {
        "event_id": f"EV-{job.pk}-{result}",
        "app_key": job.connection.app_key,
        "serial": job.reference,
        "order_no": "UC-77",
        "number": str(number),
        "result": result,
        "finished_at": now.isoformat(),
    }
    if result == "REFUSED":
        body["reason_code"] = "UC-2001"
    return body | changes


def send_callback(
    connection: CarrierConnection,
    body: dict[str, Any] | bytes,
    *,
    now: datetime,
    secret: str | None = None,
    signed_at: datetime | None = None,
    to: str | None = None,
) -> Any:
    """POSTs it to our endpoint, signed with the connection's secret unless another is given."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    timestamp = str(int((signed_at or now).timestamp()))
    signature = sign(
        secret=secret if secret is not None else callback_secret_for(connection.app_key),
        timestamp=timestamp,
        body=raw,
    )
    return Client().post(
        f"/carrier/callbacks/{to or connection.uid}",
        raw,
        content_type="application/json",
        headers={TIMESTAMP_HEADER: timestamp, SIGNATURE_HEADER: signature},
    )

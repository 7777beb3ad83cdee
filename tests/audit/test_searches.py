"""What staff look for in a long trail is read off an index."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.db import connection

from apps.accounts.admin.audit import AuditEventAdmin
from apps.audit.models import AuditEvent

pytestmark = pytest.mark.django_db

ROWS = """
INSERT INTO audit_auditevent (at, operator_id, actor_kind, actor_id, actor_label, request_id, trace_id, action,
    target_type, target_id, reason)
SELECT now(), 1, 'STAFF', 'usr_' || n % 2000, 'x', '', '', 'line.do_' || chr(97 + n % 26) || repeat('x', n % 40),
    'line', 'lin_' || n, ''
FROM generate_series(1, 20000) AS n
"""


@pytest.mark.parametrize(
    ("term", "index"),
    [("usr_7", "audit_actor"), ("line.do_g", "audit_action"), ("lin_77", "audit_target")],
)
def test_a_search_reads_an_index_and_not_the_table(term: str, index: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(ROWS)
        cursor.execute("ANALYZE audit_auditevent")
    page = AuditEventAdmin(AuditEvent, admin.site)
    found = page.search(AuditEvent.objects.all(), term).order_by("-id")[:50]
    assert index in found.explain()
    assert found

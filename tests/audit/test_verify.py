"""`manage.py verify_audit` finds whatever somebody did to rows or seals behind the triggers' back."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from apps.audit.models import AuditEvent, AuditSeal
from apps.operators.models import VirtualOperator
from tests.audit.conftest import Record, seal_all

pytestmark = pytest.mark.django_db

Chain = list[int]


@pytest.fixture
def chain(operator: VirtualOperator, other_operator: VirtualOperator, record: Record) -> Chain:
    """Ids of ten sealed rows, between them rows of others and ids that nobody used; the triggers are off."""
    for number in range(10):
        record(f"lin_{number}", operator_id=operator.pk)
        record(f"other_{number}", operator_id=other_operator.pk)
        record(f"none_{number}", operator_id=None)
        tamper("SELECT nextval('audit_auditevent_id_seq')")
    seal_all()
    tamper(
        "ALTER TABLE audit_auditevent DISABLE TRIGGER USER",
        "ALTER TABLE audit_auditseal DISABLE TRIGGER USER",
    )
    mine = AuditEvent.objects.filter(operator_id=operator.pk).order_by("-id")
    return sorted(mine.values_list("id", flat=True)[:10])


def tamper(*statements: str, chain: Chain = [], **names: object) -> None:  # noqa: B006 - only read
    """Runs them with the ids of the chain for {0}, {1} and so on."""
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement.format(*chain, **names))
            assert cursor.rowcount != 0


def verify(*heads: str, operator: str | None = None) -> list[str]:
    """The lines it prints."""
    out = StringIO()
    call_command("verify_audit", expect_head=list(heads), operator=operator, stdout=out)
    return out.getvalue().splitlines()


def broken(*heads: str, operator: str | None = None) -> list[str]:
    """What it says is broken; it ends with 1 then."""
    with pytest.raises(CommandError) as error:
        verify(*heads, operator=operator)
    assert error.value.returncode == 1
    return str(error.value).splitlines()


def test_whole_chains_are_shown_with_their_heads(
    chain: Chain, operator: VirtualOperator, other_operator: VirtualOperator, record: Record
) -> None:
    lines = verify()
    last = AuditSeal.objects.get(audit_event_id=chain[-1])
    assert f"{operator.code}:{last.sequence}:{bytes(last.hash).hex()}" in lines
    assert [line.partition(":")[0] for line in lines] == ["platform", operator.code, other_operator.code]
    assert verify(operator=operator.code) == [lines[1]]
    assert verify(operator="platform") == [lines[0]]
    record("lin_10", operator_id=operator.pk)
    assert verify(operator=operator.code) == [lines[1], "  and 1 newer rows that have no seal yet"]
    seal_all()
    assert verify(*lines, operator=operator.code)[0].startswith(f"{operator.code}:{last.sequence + 1}:")


def test_an_empty_trail_holds() -> None:
    assert verify() == []


# One for every column of the model; none of them is the value that is there.
CHANGED = {
    "id": "id + 1000000",
    "at": "at + interval '1 microsecond'",
    "operator_id": "NULL",
    "actor_kind": "'STAFF'",
    "actor_id": "'somebody'",
    "actor_label": "'Tests'",
    "request_id": "'req-1'",
    "trace_id": "'0'",
    "ip": "'192.0.2.1'",
    "action": "'line.terminate'",
    "target_type": "'sim'",
    "target_id": "'lin_0'",
    "before": "'null'",
    "after": """'{"status": "ACTIVE", "more": null}'""",
    "reason": "' '",
}


@pytest.mark.parametrize("column", [field.attname for field in AuditEvent._meta.concrete_fields])
def test_a_change_of_any_column_is_found(chain: Chain, operator: VirtualOperator, column: str) -> None:
    tamper(
        "UPDATE audit_auditevent SET {column} = {value} WHERE id = {4}",
        chain=chain,
        column=column,
        value=CHANGED[column],
    )
    what = "the row was removed" if column == "id" else "the row, or its seal, was changed"
    assert broken(operator=operator.code) == [f"{operator.code} is BROKEN at audit row {chain[4]}: {what}"]


BREAKS: dict[str, tuple[list[str], int | None, str]] = {
    "row removed": (["DELETE FROM audit_auditevent WHERE id = {4}"], 4, "removed"),
    "seal removed": (["DELETE FROM audit_auditseal WHERE audit_event_id = {4}"], 4, "no seal"),
    "both removed": (
        [
            "DELETE FROM audit_auditevent WHERE id = {4}",
            "DELETE FROM audit_auditseal WHERE audit_event_id = {4}",
        ],
        5,
        "was removed",
    ),
    "first removed": (
        [
            "DELETE FROM audit_auditevent WHERE id < {1} AND operator_id = {operator}",
            "DELETE FROM audit_auditseal WHERE audit_event_id < {1} AND operator_id = {operator}",
        ],
        1,
        "at place 1, was removed",
    ),
    "two rows swapped": (
        [
            "UPDATE audit_auditevent SET id = -1 WHERE id = {4}",
            "UPDATE audit_auditevent SET id = {4} WHERE id = {6}",
            "UPDATE audit_auditevent SET id = {6} WHERE id = -1",
        ],
        4,
        "changed",
    ),
    "two seals swapped": (
        [
            "UPDATE audit_auditseal SET audit_event_id = -1 WHERE audit_event_id = {4}",
            "UPDATE audit_auditseal SET audit_event_id = {4} WHERE audit_event_id = {6}",
            "UPDATE audit_auditseal SET audit_event_id = {6} WHERE audit_event_id = -1",
        ],
        6,
        "does not follow|changed",
    ),
    "reordered": (
        [
            "CREATE TEMP TABLE s ON COMMIT DROP AS"
            " SELECT audit_event_id, sequence FROM audit_auditseal WHERE audit_event_id IN ({4}, {6})",
            "UPDATE audit_auditseal SET sequence = sequence + 1000 WHERE audit_event_id IN ({4}, {6})",
            "UPDATE audit_auditseal a SET sequence = s.sequence FROM s"
            " WHERE a.audit_event_id IN ({4}, {6}) AND s.audit_event_id <> a.audit_event_id"
            " AND s.audit_event_id IN ({4}, {6})",
        ],
        6,
        "does not follow",
    ),
    "hash changed": (
        ["UPDATE audit_auditseal SET hash = sha256('x') WHERE audit_event_id = {4}"],
        4,
        "its seal, was changed",
    ),
    "previous hash changed": (
        ["UPDATE audit_auditseal SET previous_hash = sha256('x') WHERE audit_event_id = {4}"],
        4,
        "does not follow",
    ),
    "seal of another chain": (
        [
            "UPDATE audit_auditseal SET operator_id = NULL, sequence = 1000 WHERE audit_event_id = {4}",
        ],
        5,
        "was removed",
    ),
    "seal of nothing": (
        [
            "INSERT INTO audit_auditseal SELECT 2000000000, {operator}, 1 + max(sequence), sha256('x'), sha256('x')"
            " FROM audit_auditseal WHERE operator_id = {operator}",
        ],
        2000000000,
        "the row was removed",
    ),
    # The id after the platform's row is free.
    "row put in": (["{insert} {4} + 3"], None, "no seal"),
    "row put in before all": (["{insert} -5"], -5, "no seal"),
    "row of the future": (["{insert} 2000000000"], 2000000000, "never gave out"),
    "end cut off the seals": (["DELETE FROM audit_auditseal WHERE audit_event_id = {9}"], 9, "no seal"),
}
INSERT = """
INSERT INTO audit_auditevent (at, operator_id, actor_kind, actor_id, actor_label, request_id, trace_id, action,
    target_type, target_id, reason, id)
SELECT now(), {operator}, 'SYSTEM', 'x', 'x', '', '', 'a.b', 'line', 'lin_x', '',
"""


@pytest.mark.parametrize("name", BREAKS)
def test_what_somebody_does_to_rows_or_seals_is_found(
    chain: Chain, operator: VirtualOperator, name: str
) -> None:
    statements, place, what = BREAKS[name]
    tamper(*statements, chain=chain, operator=operator.pk, insert=INSERT.format(operator=operator.pk))
    row = chain[4] + 3 if place is None else chain[place] if 0 <= place < len(chain) else place
    [line] = broken(operator=operator.code)
    assert line.startswith(f"{operator.code} is BROKEN at audit row {row}: ")
    assert any(part in line for part in what.split("|"))


def test_the_first_broken_row_of_every_broken_chain_is_named(chain: Chain, operator: VirtualOperator) -> None:
    tamper(
        "UPDATE audit_auditevent SET reason = 'x' WHERE id IN ({3}, {5})",
        "UPDATE audit_auditevent SET reason = 'x' WHERE operator_id IS NULL",
        chain=chain,
    )
    first = AuditEvent.objects.filter(operator_id=None).earliest("id").pk
    assert [line.partition(":")[0] for line in broken()] == [
        f"platform is BROKEN at audit row {first}",
        f"{operator.code} is BROKEN at audit row {chain[3]}",
    ]


# --- Heads that were noted elsewhere --------------------------------------------------------------------------------
def test_an_end_that_was_cut_off_is_missed_only_by_who_noted_the_head(
    chain: Chain, operator: VirtualOperator, record: Record
) -> None:
    [head] = verify(operator=operator.code)
    code, sequence, _ = head.split(":")
    tamper(
        "DELETE FROM audit_auditevent WHERE id IN ({8}, {9})",
        "DELETE FROM audit_auditseal WHERE audit_event_id IN ({8}, {9})",
        chain=chain,
    )
    assert verify(operator=code)
    assert broken(head, operator=code) == [
        f"{code} is BROKEN at audit row {chain[7]}: the chain ends with it, before place {sequence} that was noted"
    ]
    for number in range(5):
        record(f"lin_1{number}", operator_id=operator.pk)
    seal_all()
    assert verify(operator=code)
    [line] = broken(head, operator=code)
    assert line.endswith("its seal is not the head that was noted")


def test_a_chain_that_was_recomputed_is_not_the_one_that_was_noted(
    chain: Chain, operator: VirtualOperator
) -> None:
    heads = verify()
    tamper(
        "DELETE FROM audit_auditseal",
        "UPDATE audit_auditevent SET reason = 'always so' WHERE id = {4}",
        chain=chain,
    )
    seal_all()
    assert [line.rpartition(":")[0] for line in verify()] == [line.rpartition(":")[0] for line in heads]
    assert broken(*heads) == [
        f"{operator.code} is BROKEN at audit row {chain[9]}: its seal is not the head that was noted"
    ]


def test_a_chain_that_is_gone_altogether_is_missed(chain: Chain, operator: VirtualOperator) -> None:
    heads = verify()
    tamper(
        "DELETE FROM audit_auditseal WHERE operator_id = {operator}",
        "DELETE FROM audit_auditevent WHERE operator_id = {operator}",
        operator=operator.pk,
    )
    assert len(verify()) == 2
    [line] = broken(*heads)
    assert line.startswith(f"{operator.code} is BROKEN at audit row 0: ")


@pytest.mark.parametrize(
    ("heads", "operator_code", "what"),
    [
        (["nobody:1:" + "0" * 64], None, "there is no operator nobody"),
        (["platform:1:zz"], None, "not a head"),
        (["platform:0:" + "0" * 64], None, "not a head"),
        (["platform"], None, "not a head"),
        (["platform:1:" + "0" * 64, "platform:1:" + "1" * 64], None, "contradicts"),
        ([], "nobody", "there is no operator nobody"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    heads: list[str], operator_code: str | None, what: str
) -> None:
    assert what in broken(*heads, operator=operator_code)[0]

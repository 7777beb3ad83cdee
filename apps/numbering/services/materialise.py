"""The rows of the numbers of one or many ranges, made in one statement, and their grades.

Grading never looks at numbers one by one: it goes from the endings that rules mean to the numbers that have them. Of
endings longer than what varies within the range it reads only those between the range's first and last number.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from django.db import connection

from apps.numbering.grading import length_of
from apps.numbering.models import GradeRule, NumberRange
from apps.numbering.services.stock import fold_ranges
from apps.numbering.states import NumberGrade, NumberStatus

# Who had the block before gave it back: its rows stay for their history, and belong to the new lease now.
_TAKE_OVER = f"""
UPDATE numbering_phonenumber
SET range_id = %(range)s, operator_id = %(operator)s, status = {NumberStatus.AVAILABLE.value},
    grade = {NumberGrade.ORDINARY.value}
WHERE number BETWEEN %(first)s::bigint AND %(last)s::bigint AND status = {NumberStatus.RETURNED.value}
"""  # noqa: S608 - only our own constants are formatted in

# Numbers of some ranges that rules give a grade. Parameter rules: [[key, digits it speaks of, priority, grade], ...].
_PRETTY = """
    SELECT DISTINCT ON (hit.number) hit.number, rule.grade
    FROM numbering_numberrange AS span
    CROSS JOIN (
        SELECT (r ->> 0)::bigint AS id, (r ->> 1)::smallint AS length, (r ->> 2)::int AS priority,
            (r ->> 3)::smallint AS grade, (10 ^ (r ->> 1)::int)::bigint AS modulus
        FROM jsonb_array_elements(%(rules)s::jsonb) AS r
    ) AS rule
    CROSS JOIN LATERAL (
        -- What is before the ending is the same in the whole range: an ending is one number, or lies outside.
        SELECT span.first / rule.modulus * rule.modulus + t.tail AS number
        FROM numbering_gradedtail AS t
        WHERE span.first / rule.modulus = span.last / rule.modulus
            AND t.rule_id = rule.id AND t.length = rule.length
            AND t.tail BETWEEN mod(span.first, rule.modulus) AND mod(span.last, rule.modulus)
        UNION ALL
        SELECT each.number
        FROM numbering_gradedtail AS t
        CROSS JOIN LATERAL generate_series(
            span.first + mod(t.tail - mod(span.first, rule.modulus) + rule.modulus, rule.modulus),
            span.last,
            rule.modulus
        ) AS each(number)
        WHERE span.first / rule.modulus <> span.last / rule.modulus
            AND t.rule_id = rule.id AND t.length = rule.length
    ) AS hit
    WHERE span.id = ANY(%(ranges)s::bigint[])
    ORDER BY hit.number, rule.priority DESC"""

_CREATE = f"""
INSERT INTO numbering_phonenumber (number, range_id, operator_id, status, grade)
SELECT wanted.number, r.id, r.operator_id, {NumberStatus.AVAILABLE.value},
    coalesce(pretty.grade, {NumberGrade.ORDINARY.value})
FROM (SELECT id, operator_id, first, last FROM numbering_numberrange
    WHERE id = ANY(%(ranges)s::bigint[]) ORDER BY first) AS r
CROSS JOIN LATERAL generate_series(r.first, r.last) AS wanted(number)
LEFT JOIN ({_PRETTY}
) AS pretty ON pretty.number = wanted.number
{{only}}
ORDER BY wanted.number
"""  # noqa: S608 - ascending, so that what lies side by side in the key lies side by side in the table

# Only where rows were taken over: the look-up would slow all others down.
_MISSING = """
WHERE NOT EXISTS (SELECT FROM numbering_phonenumber AS p WHERE p.number = wanted.number)
"""

# Locked in the order of the number, as everywhere; who takes one of them first keeps the grade that he has seen.
_REGRADE = f"""
WITH wrong AS MATERIALIZED (
    SELECT p.number, coalesce(pretty.grade, {NumberGrade.ORDINARY.value}) AS grade
    FROM numbering_phonenumber AS p
    LEFT JOIN ({_PRETTY}
    ) AS pretty ON pretty.number = p.number
    WHERE p.number BETWEEN %(first)s::bigint AND %(last)s::bigint
        AND p.status = {NumberStatus.AVAILABLE.value} AND p.operator_id = %(operator)s::bigint
        AND p.grade <> coalesce(pretty.grade, {NumberGrade.ORDINARY.value})
    ORDER BY p.number
    FOR UPDATE OF p
)
UPDATE numbering_phonenumber AS n SET grade = wrong.grade
FROM wrong WHERE n.number = wrong.number AND n.number BETWEEN %(first)s::bigint AND %(last)s::bigint
"""  # noqa: S608


def create_numbers(*leased: NumberRange) -> None:
    """All numbers of the ranges of one operator, free, with their grades; counted at once, so that claims find them."""
    span = _span(leased)
    with connection.cursor() as cursor:
        taken_over = []
        for each in leased:
            cursor.execute(_TAKE_OVER, {"range": each.pk, "operator": each.operator_id, **_ends(each)})
            taken_over += [each] if cursor.rowcount else []
        # They are put in order in memory; the server's own limit would send some ranges to disk for it.
        cursor.execute("SELECT set_config('work_mem', '64MB', true)")
        cursor.execute(_CREATE.format(only=_MISSING if taken_over else ""), span)
    for each in taken_over:
        grade_numbers(each)
    fold_ranges(range_ids=span["ranges"])


def grade_numbers(leased: NumberRange) -> int:
    """Gives the range's free numbers the grades of the rules in force; returns how many had another one.

    Reserved and used numbers keep the grade at which they were sold.
    """
    with connection.cursor() as cursor:
        cursor.execute(_REGRADE, {"operator": leased.operator_id, **_ends(leased), **_span([leased])})
        return int(cursor.rowcount)


def _ends(leased: NumberRange) -> dict[str, int]:
    return {"first": leased.first, "last": leased.last}


def _span(leased: Sequence[NumberRange]) -> dict[str, Any]:
    """Parameters of the statements above.

    :raises ValueError: ranges of several operators, whose rules differ.
    """
    (operator_id,) = {each.operator_id for each in leased}
    rules = GradeRule.objects.in_force(operator_id=operator_id)
    listed = [
        (key, length_of(pattern), priority, grade)
        for key, pattern, priority, grade in rules.values_list("pk", "pattern", "priority", "grade")
    ]
    return {"ranges": [each.pk for each in leased], "rules": json.dumps(listed)}

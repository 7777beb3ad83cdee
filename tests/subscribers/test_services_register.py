"""Registering a person: once per operator, in seal, and with every fault named at once."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from apps.audit.models import AuditEvent
from apps.core.actor import Actor, ActorKind
from apps.core.errors import DomainError, Forbidden, NotFound
from apps.operators.models import VirtualOperator
from apps.operators.policies import PolicyKey
from apps.subscribers import errors, services
from apps.subscribers.models import IdentityDocument, Subscriber
from apps.subscribers.realname.documents import DocumentInput, DocumentType
from tests.factories.operators import given_policy
from tests.factories.subscribers import SYSTEM, document, fifteen_digits, given_subscriber, resident_number
from tests.refusals import refused

pytestmark = pytest.mark.django_db


def _register(operator: VirtualOperator, now: datetime, **fields: Any) -> tuple[Subscriber, bool]:
    given: dict[str, Any] = {"name": "张三丰", "document": document()} | fields
    return services.register_individual(
        actor=given.pop("actor", SYSTEM), operator_id=operator.pk, now=given.pop("now", now), **given
    )


def _nothing_written() -> bool:
    return not (
        Subscriber.objects.exists()
        or IdentityDocument.objects.exists()
        or AuditEvent.objects.filter(action="subscriber.register").exists()
    )


def test_a_person_is_stored_in_seal_and_masked_beside_it(operator: VirtualOperator, now: datetime) -> None:
    number = resident_number()

    subscriber, created = _register(
        operator,
        now,
        document=document(number, valid_from=date(2020, 1, 2), valid_until=date(2040, 1, 1)),
        address="北京市某街1号",
        contact_phone="170 9000 0001",
        external_id="c-1",
    )

    assert created
    stored = Subscriber.objects.get()
    assert stored.pk == subscriber.pk
    assert (stored.kind, stored.external_id, stored.name_masked) == ("INDIVIDUAL", "c-1", "张**")
    assert stored.open_name() == "张三丰"
    assert stored.entered_by == "SYSTEM:tests"
    row = IdentityDocument.objects.get()
    assert (row.type, row.number_masked, row.issuing_country) == (
        "resident_id",
        f"{number[:3]}{'*' * 13}{number[-2:]}",
        "CHN",
    )
    assert (row.valid_from, row.valid_until) == (date(2020, 1, 2), date(2040, 1, 1))
    assert row.open_number() == number
    for sealed in (stored.name_sealed, stored.address_sealed, stored.contact_phone_sealed, row.number_sealed):
        assert sealed is not None
        assert bytes(sealed)[:2] == b"t1", "sealed under the key of the tests"


def test_one_audit_row_without_personal_data(operator: VirtualOperator, now: datetime) -> None:
    subscriber, _ = _register(operator, now)

    row = AuditEvent.objects.get(action="subscriber.register")
    assert (row.target_type, row.target_id, row.operator_id) == ("subscriber", subscriber.uid, operator.pk)
    assert row.after == {
        "kind": "INDIVIDUAL",
        "document": IdentityDocument.objects.get().uid,
        "document_type": "resident_id",
    }


def test_the_name_is_kept_as_given(operator: VirtualOperator, now: datetime) -> None:
    subscriber, _ = _register(operator, now, name="阿卜杜拉•买买提")

    assert Subscriber.objects.get().open_name() == "阿卜杜拉•买买提"
    assert subscriber.name_masked == "阿****"


def test_the_same_person_again_is_found_and_left_alone(operator: VirtualOperator, now: datetime) -> None:
    number = resident_number()
    first, _ = _register(operator, now, name="阿卜杜拉·买买提", document=document(number), external_id="c-1")
    before = Subscriber.objects.values().get()

    again, created = _register(
        operator,
        now + timedelta(days=1),
        name="阿卜杜拉•买买提",
        document=document(f" {number.lower()} ", valid_until=date(2040, 1, 1)),
        address="elsewhere",
        external_id="c-2",
    )

    assert not created
    assert again.pk == first.pk
    assert Subscriber.objects.values().get() == before
    assert IdentityDocument.objects.get().valid_until is None
    assert AuditEvent.objects.filter(action="subscriber.register").count() == 1


def test_another_name_for_a_known_document_is_refused_and_changes_nothing(
    operator: VirtualOperator, now: datetime
) -> None:
    number = resident_number()
    _register(operator, now, document=document(number))
    before = Subscriber.objects.values().get()

    with refused(errors.DocumentNameConflict) as info:
        _register(operator, now, name="李四", document=document(number))

    assert [fault.pointer for fault in info.value.errors] == ["/name"]
    assert Subscriber.objects.values().get() == before


def test_another_operators_subscriber_changes_no_answer(
    operator: VirtualOperator, other_operator: VirtualOperator, now: datetime
) -> None:
    number = resident_number()
    theirs, _ = _register(other_operator, now, document=document(number), external_id="c-1")

    ours, created = _register(operator, now, name="李四", document=document(number), external_id="c-1")

    assert created
    assert ours.pk != theirs.pk
    assert Subscriber.objects.get(pk=theirs.pk).open_name() == "张三丰"


def test_an_external_id_belongs_to_one_person(operator: VirtualOperator, now: datetime) -> None:
    _register(operator, now, external_id="c-1")

    with refused(errors.ExternalIdTaken):
        _register(operator, now, external_id="c-1")

    assert Subscriber.objects.count() == IdentityDocument.objects.count() == 1


def test_no_external_id_may_be_many(operator: VirtualOperator, now: datetime) -> None:
    _register(operator, now)
    _register(operator, now)

    assert Subscriber.objects.filter(external_id="").count() == 2


class TestFirstGenerationNumbers:
    NUMBER = resident_number("110102", born=date(1949, 12, 31))

    def test_are_refused_unless_policy_takes_them(self, operator: VirtualOperator, now: datetime) -> None:
        with refused(errors.DocumentInvalid) as info:
            _register(operator, now, document=document(fifteen_digits(self.NUMBER)))

        assert [fault.code for fault in info.value.errors] == ["number_fifteen_digits"]
        assert _nothing_written()

    @pytest.mark.parametrize("order", [(15, 18), (18, 15)])
    def test_are_the_same_person_as_the_eighteen(
        self, operator: VirtualOperator, now: datetime, order: tuple[int, int]
    ) -> None:
        given_policy(
            key=PolicyKey.ACCEPTED_DOCUMENT_TYPES,
            value=["resident_id", "resident_id_15"],
            now=now,
            operator=operator,
        )
        written = {15: fifteen_digits(self.NUMBER), 18: self.NUMBER}

        first, created = _register(operator, now, document=document(written[order[0]]))
        again, created_again = _register(operator, now, document=document(written[order[1]]))

        assert (created, created_again) == (True, False)
        assert first.pk == again.pk
        assert IdentityDocument.objects.get().open_number() == self.NUMBER


REFUSED: list[tuple[dict[str, Any], type[DomainError], list[tuple[str, str]]]] = [
    (
        {"document": DocumentInput(type=DocumentType.PASSPORT, number="E12345678")},
        errors.DocumentTypeNotAccepted,
        [("/document/type", "document_type_not_accepted")],
    ),
    (
        {"document": DocumentInput(type=DocumentType.USCC, number="91350100M000100Y43")},
        errors.DocumentTypeNotAccepted,
        [("/document/type", "document_type_not_accepted")],
    ),
    (
        {"document": document("110105194912310021")},
        errors.DocumentInvalid,
        [("/document/number", "number_check_digit")],
    ),
    (
        {"document": document("110101190002300000")},
        errors.DocumentInvalid,
        [("/document/number", "number_birth_date")],
    ),
    (
        {"document": document(resident_number(born=date(2099, 1, 1)))},
        errors.DocumentInvalid,
        [("/document/number", "number_birth_date")],
    ),
    (
        {"document": document(issuing_country="USA")},
        errors.DocumentInvalid,
        [("/document/issuing_country", "country_invalid")],
    ),
    (
        {"document": document(valid_from=date(2030, 1, 2), valid_until=date(2030, 1, 1))},
        errors.DocumentInvalid,
        [("/document/valid_until", "term_invalid")],
    ),
    (
        {"document": document(valid_from=date(2099, 1, 1))},
        errors.DocumentInvalid,
        [("/document/valid_from", "term_invalid")],
    ),
    (
        {"document": document(valid_until=date(2020, 1, 1))},
        errors.DocumentExpired,
        [("/document/valid_until", "document_expired")],
    ),
    (
        {"document": document(resident_number(born=date(2020, 1, 1)))},
        errors.SubscriberUnderAge,
        [("/document/number", "subscriber_under_age")],
    ),
    ({"name": "张\u202e三"}, errors.NameInvalid, [("/name", "name_characters")]),
    ({"name": "阿" * 10_000}, errors.NameInvalid, [("/name", "name_length")]),
    ({"address": "somewhere\x00"}, errors.TextInvalid, [("/address", "text_invalid")]),
    ({"address": "某" * 201}, errors.TextInvalid, [("/address", "text_invalid")]),
    ({"contact_phone": "call me"}, errors.TextInvalid, [("/contact_phone", "text_invalid")]),
    ({"external_id": "c\u200b1"}, errors.TextInvalid, [("/external_id", "text_invalid")]),
    (
        {"name": "X", "document": document("1", valid_until=date(2020, 1, 1)), "address": "\u202e"},
        errors.DocumentInvalid,
        [
            ("/document/number", "number_length"),
            ("/document/valid_until", "document_expired"),
            ("/name", "name_length"),
            ("/address", "text_invalid"),
        ],
    ),
]


@pytest.mark.parametrize(
    ("fields", "error", "faults"), REFUSED, ids=[f"{row[1].code}-{row[2][0][1]}" for row in REFUSED]
)
def test_refusals_name_every_fault_and_write_nothing(
    operator: VirtualOperator,
    now: datetime,
    fields: dict[str, Any],
    error: type[DomainError],
    faults: list[tuple[str, str]],
) -> None:
    with refused(error) as info:
        _register(operator, now, **fields)

    assert [(fault.pointer, fault.code) for fault in info.value.errors] == faults
    assert _nothing_written()


@pytest.mark.parametrize("hides", ["number", "lower-case number", "name", "somebody else's number"])
def test_an_external_id_must_not_give_the_person_away(
    operator: VirtualOperator, now: datetime, hides: str
) -> None:
    number = "11010519491231002X"
    external_id = {
        "number": f"c-{number}",
        "lower-case number": f"{number.lower()}/1",
        "name": "cust 张三丰",
        "somebody else's number": f"spouse-of-{resident_number()}",
    }[hides]

    with refused(errors.TextInvalid) as info:
        _register(operator, now, document=document(number), external_id=external_id)

    assert number not in f"{info.value!r} {info.value.errors}"
    assert _nothing_written()


def test_the_minimum_age_is_policy_and_counts_in_china(operator: VirtualOperator, now: datetime) -> None:
    number = resident_number(born=date(2072, 11, 24))
    # 16:00 UTC is midnight in China: the eighteenth birthday begins.
    midnight = datetime(2090, 11, 23, 16, tzinfo=UTC)
    given_policy(key=PolicyKey.MINIMUM_AGE, value=18, now=now, operator=operator)

    with refused(errors.SubscriberUnderAge):
        _register(operator, midnight - timedelta(seconds=1), document=document(number))
    assert _nothing_written()

    _, created = _register(operator, midnight, document=document(number))
    assert created


def test_a_document_is_good_through_its_last_day_in_china(operator: VirtualOperator, now: datetime) -> None:
    last_day = date(2090, 11, 24)
    midnight = datetime(2090, 11, 24, 16, tzinfo=UTC)

    with refused(errors.DocumentExpired):
        _register(operator, midnight, document=document(valid_until=last_day))
    _, created = _register(operator, midnight - timedelta(seconds=1), document=document(valid_until=last_day))

    assert created


def test_staff_need_the_right(operator: VirtualOperator, now: datetime) -> None:
    staff = Actor(
        ActorKind.STAFF, "usr_x", "somebody", operator.pk, capabilities=frozenset({"identity.reveal"})
    )

    with refused(Forbidden):
        _register(operator, now, actor=staff)

    assert _nothing_written()


def test_nobody_registers_for_another_operator(
    operator: VirtualOperator, other_operator: VirtualOperator, now: datetime
) -> None:
    partner = Actor(ActorKind.PARTNER, "app_x", "an app", other_operator.pk)

    with refused(NotFound):
        _register(operator, now, actor=partner)

    assert _nothing_written()


def test_the_factory_gives_different_people(operator: VirtualOperator, now: datetime) -> None:
    assert len({given_subscriber(operator=operator, now=now).pk for _ in range(3)}) == 3

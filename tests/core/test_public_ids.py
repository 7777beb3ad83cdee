"""Public ids: the TypeID form, and the model field that shows them."""

from __future__ import annotations

import time
import uuid
from typing import Any

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from apps.core import public_ids
from apps.core.errors import NotFound
from apps.core.public_ids import MalformedId, PublicIdField, decode, encode, get_by_uid, new_uuid7
from apps.events.models import OutboxEvent

# From the TypeID specification (valid.json and the README).
PUBLISHED = [
    ("01890a5d-ac96-774b-bcce-b302099a8057", "01h455vb4pex5vsknk084sn02q"),
    ("00000000-0000-0000-0000-000000000000", "00000000000000000000000000"),
    ("00000000-0000-0000-0000-000000000001", "00000000000000000000000001"),
    ("00000000-0000-0000-0000-00000000000a", "0000000000000000000000000a"),
    ("00000000-0000-0000-0000-000000000010", "0000000000000000000000000g"),
    ("00000000-0000-0000-0000-000000000020", "00000000000000000000000010"),
    ("ffffffff-ffff-ffff-ffff-ffffffffffff", "7zzzzzzzzzzzzzzzzzzzzzzzzz"),
    ("0110c853-1d09-52d8-d73e-1194e95b5f19", "0123456789abcdefghjkmnpqrs"),
]


@pytest.mark.parametrize(("value", "suffix"), PUBLISHED)
def test_the_published_vectors(value: str, suffix: str) -> None:
    assert encode("prefix", uuid.UUID(value)) == f"prefix_{suffix}"
    assert decode("prefix", f"prefix_{suffix}") == uuid.UUID(value)


@given(value=st.uuids(), prefix=st.from_regex(r"[a-z]{2,8}(_[a-z]{1,8})?", fullmatch=True))
def test_every_uuid_comes_back(value: uuid.UUID, prefix: str) -> None:
    text = encode(prefix, value)
    assert len(text) == len(prefix) + 27
    assert decode(prefix, text) == value


@given(st.lists(st.uuids(), min_size=2, max_size=5))
def test_texts_sort_as_the_uuids_do(values: list[uuid.UUID]) -> None:
    """PostgreSQL orders the uuid column; what pages show is the text."""
    assert [encode("ord", value) for value in sorted(values)] == sorted(
        encode("ord", value) for value in values
    )


MALFORMED = {
    "empty": "",
    "prefix only": "ord",
    "no suffix": "ord_",
    "no prefix": "_01h455vb4pex5vsknk084sn02q",
    "suffix only": "01h455vb4pex5vsknk084sn02q",
    "another prefix": "lin_01h455vb4pex5vsknk084sn02q",
    "prefix in capitals": "ORD_01h455vb4pex5vsknk084sn02q",
    "suffix in capitals": "ord_01H455VB4PEX5VSKNK084SN02Q",
    "too short": "ord_01h455vb4pex5vsknk084sn02",
    "too long": "ord_01h455vb4pex5vsknk084sn02qq",
    "more than 128 bits": "ord_8zzzzzzzzzzzzzzzzzzzzzzzzz",
    "a letter that is not in the alphabet": "ord_01h455vb4pex5vsknk084sn02u",
    "a hyphen": "ord_01h455vb4pex5vsknk084sn0-q",
    "a blank": "ord_01h455vb4pex5vsknk084sn02 ",
    "a line end": "ord_01h455vb4pex5vsknk084sn02q\n",
    "a NUL": "ord_01h455vb4pex5vsknk084sn02\0",
    "digits of another script": "ord_０1h455vb4pex5vsknk084sn02q",
    "a uuid": "01890a5d-ac96-774b-bcce-b302099a8057",
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_no_id_of_the_kind_is_refused(text: str) -> None:
    with pytest.raises(MalformedId):
        decode("ord", text)


@given(st.text())
def test_any_text_is_either_an_id_or_refused(text: str) -> None:
    try:
        value = decode("ord", text)
    except MalformedId:
        return
    assert encode("ord", value) == text


@given(st.text(alphabet=public_ids.ALPHABET, min_size=26, max_size=26))
def test_one_uuid_has_one_text(suffix: str) -> None:
    if suffix[0] <= "7":
        assert encode("ord", decode("ord", f"ord_{suffix}")) == f"ord_{suffix}"


def test_new_ids_are_version_7_of_now_and_sort_by_age() -> None:
    before = time.time_ns() // 1_000_000
    made = []
    for _ in range(5):
        made.append(new_uuid7())
        time.sleep(0.002)
    after = time.time_ns() // 1_000_000
    assert made == sorted(made)
    for value in made:
        assert (value.version, value.variant) == (7, uuid.RFC_4122)
        assert before <= value.int >> 80 <= after


def test_new_ids_do_not_repeat() -> None:
    assert len({new_uuid7() for _ in range(20_000)}) == 20_000


# --- The field ------------------------------------------------------------------------------------------------------
@pytest.fixture
def event(now, db: None) -> OutboxEvent:
    return OutboxEvent.objects.create(type="a.b", operator_id=1, subject="x", data={}, occurred_at=now)


def test_the_id_is_there_before_the_insert_and_the_same_after() -> None:
    assert OutboxEvent().uid.startswith("evt_")
    assert OutboxEvent().uid != OutboxEvent().uid


def test_a_row_is_found_by_its_id_and_shows_it(event: OutboxEvent) -> None:
    assert OutboxEvent.objects.get(uid=event.uid).uid == event.uid
    assert OutboxEvent.objects.values_list("uid", flat=True).get() == event.uid
    assert OutboxEvent.objects.filter(uid__in=[event.uid, OutboxEvent().uid]).count() == 1
    assert OutboxEvent.objects.filter(uid__lt=event.uid).count() == 0
    assert OutboxEvent.objects.filter(uid__lte=event.uid).count() == 1


def test_the_column_is_a_uuid(event: OutboxEvent) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT uid FROM events_outboxevent")
        assert cursor.fetchall() == [(decode("evt", event.uid),)]


def test_the_database_keeps_ids_apart(event: OutboxEvent) -> None:
    field = OutboxEvent._meta.get_field("uid")
    assert field.unique
    assert not field.editable


@pytest.mark.django_db
@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_id_in_a_filter_never_reaches_the_database(text: str, django_assert_num_queries) -> None:
    with django_assert_num_queries(0), pytest.raises(MalformedId):
        OutboxEvent.objects.filter(uid=text).first()


@pytest.mark.django_db
@pytest.mark.parametrize("value", [5, True, 1.5, b"evt", ["evt"]], ids=repr)
def test_what_is_no_text_is_refused_as_well(value: Any) -> None:
    with pytest.raises(MalformedId):
        OutboxEvent.objects.filter(uid=value).first()


def test_get_by_uid_finds_within_the_queryset_only(event: OutboxEvent) -> None:
    assert get_by_uid(OutboxEvent.objects.all(), event.uid) == event
    refusals = []
    for queryset, uid in [
        (OutboxEvent.objects.all(), OutboxEvent().uid),
        (OutboxEvent.objects.all(), "evt_"),
        (OutboxEvent.objects.all(), event.uid.replace("evt_", "lin_")),
        (OutboxEvent.objects.filter(operator_id=2), event.uid),
    ]:
        with pytest.raises(NotFound) as refused:
            get_by_uid(queryset, uid)
        refusals.append(str(refused.value))
    assert len(set(refusals)) == 1


def test_migrations_keep_nothing_but_the_prefix() -> None:
    _, path, args, kwargs = PublicIdField(prefix="ord").deconstruct()
    assert (path, args, kwargs) == ("apps.core.public_ids.PublicIdField", [], {"prefix": "ord"})
    again = PublicIdField(*args, **kwargs)
    assert again.unique
    assert again.get_default().startswith("ord_")

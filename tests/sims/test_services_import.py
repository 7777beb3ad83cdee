"""Importing a batch: everything or nothing, and every bad row named."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.audit.models import AuditEvent
from apps.core.actor import Actor
from apps.core.errors import DomainError, Forbidden, NotFound
from apps.operators.models import HostCarrier, VirtualOperator
from apps.sims import batch_file
from apps.sims import services as sims
from apps.sims.errors import SimBatchInvalid, SimBatchTooLarge
from apps.sims.models import SimBatch, SimCard
from tests.factories.numbering import given_partner
from tests.factories.sims import SYSTEM, csv_of, given_batch, new_iccid, new_imsi
from tests.refusals import refused


@pytest.fixture
def delivery(operator: VirtualOperator, carriers: dict[str, HostCarrier], now: datetime) -> dict[str, Any]:
    return {
        "actor": SYSTEM,
        "operator": operator,
        "host_carrier": carriers["unicom"],
        "filename": "delivery.csv",
        "now": now,
    }


def refuse(
    delivery: dict[str, Any], content: bytes, error: type[DomainError] = SimBatchInvalid
) -> list[tuple[str, str]]:
    """The file is refused and nothing of it is there; answers (pointer, code) of every error."""
    before = (SimBatch.objects.count(), SimCard.objects.count(), AuditEvent.objects.count())
    with refused(error) as caught:
        sims.import_batch(**delivery, content=content)
    assert (SimBatch.objects.count(), SimCard.objects.count(), AuditEvent.objects.count()) == before
    assert isinstance(caught.value, DomainError)
    return [(each.pointer, each.code) for each in caught.value.errors]


def test_import(delivery: dict[str, Any], operator: VirtualOperator, now: datetime) -> None:
    plain, magic, esim = new_iccid(), new_iccid(ending="9001"), new_iccid()
    imsi = new_imsi()
    content = f"iccid,imsi,form_factor\r\n{plain},{imsi},physical\r\n\r\n{magic},,\r\n{esim},,eSIM\r\n"
    batch = sims.import_batch(**delivery, content=content.encode())
    batch.refresh_from_db()
    assert (batch.filename, batch.rows, batch.imported_at) == ("delivery.csv", 3, now)
    assert batch.uid.startswith("smb_")
    rows = SimCard.objects.values_list(
        "iccid", "imsi", "form_factor", "status", "is_magic", "operator", "batch"
    )
    own = (operator.pk, batch.pk)
    assert set(rows) == {
        (plain, imsi, "PHYSICAL", "IN_STOCK", False, *own),
        (magic, None, "PHYSICAL", "IN_STOCK", True, *own),
        (esim, None, "ESIM", "IN_STOCK", False, *own),
    }
    audit = AuditEvent.objects.get(target_id=batch.uid)
    assert (audit.action, audit.after["rows"]) == ("sim_batch.import", 3)


def test_a_bad_row_in_the_middle_stops_all_and_every_one_is_named(delivery: dict[str, Any]) -> None:
    good = [new_iccid() for _ in range(4)]
    content = "\n".join(
        [
            "iccid,imsi,form_factor",
            f"{good[0]},{new_imsi()},",
            "12345,,",
            f"{good[1]},4600112345678,",
            f"{good[2]},,wafer",
            ",310010123456789,chip",
            f"{good[3]},,,,",
        ]
    )
    assert refuse(delivery, content.encode()) == [
        ("/rows/3/iccid", "invalid"),
        ("/rows/4/imsi", "invalid"),
        ("/rows/5/form_factor", "invalid"),
        ("/rows/6/iccid", "invalid"),
        ("/rows/6/imsi", "invalid"),
        ("/rows/6/form_factor", "invalid"),
        ("/rows/7", "too_many_cells"),
    ]


@pytest.mark.parametrize(
    "imsi", ["4600112345678", "4600112345678901", "310011234567890", "46001123456789X", "４60011234567890"]
)
def test_wrong_imsi(delivery: dict[str, Any], imsi: str) -> None:
    assert refuse(delivery, f"iccid,imsi\n{new_iccid()},{imsi}".encode()) == [("/rows/2/imsi", "invalid")]


def test_repetitions_within_the_file(delivery: dict[str, Any]) -> None:
    iccid, other, imsi = new_iccid(), new_iccid(), new_imsi()
    content = f"iccid,imsi\n{iccid},{imsi}\n{iccid[:19]},\n{other},{imsi}\n {iccid.lower()} ,\n"
    assert refuse(delivery, content.encode()) == [
        ("/rows/3/iccid", "repeated"),
        ("/rows/4/imsi", "repeated"),
        ("/rows/5/iccid", "repeated"),
    ]


def test_cards_that_are_in_anybody_s_stock(
    delivery: dict[str, Any], other_operator: VirtualOperator, carriers: dict[str, HostCarrier], now: datetime
) -> None:
    own, foreign = new_iccid(), new_iccid()
    given_batch(operator=delivery["operator"], host_carrier=carriers["unicom"], now=now, iccids=[own])
    given_batch(operator=other_operator, host_carrier=carriers["mobile"], now=now, iccids=[foreign])
    imsi = SimCard.objects.get(iccid=foreign).imsi
    content = f"iccid,imsi\n{new_iccid()},\n{foreign},\n{own[:19]},\n{new_iccid()},{imsi}\n".encode()
    with refused(SimBatchInvalid) as caught:
        sims.import_batch(**delivery, content=content)
    found = caught.value.errors
    assert [(each.pointer, each.code) for each in found] == [
        ("/rows/3/iccid", "already_in_stock"),
        ("/rows/4/iccid", "already_in_stock"),
        ("/rows/5/imsi", "already_in_stock"),
    ]
    # Whose stock it is cannot be told from the answer.
    assert found[0].detail == found[1].detail
    assert other_operator.code not in str(caught.value) + str(found)
    assert SimCard.objects.count() == 2


def test_the_same_file_again(delivery: dict[str, Any]) -> None:
    content = csv_of(new_iccid(), new_iccid())
    sims.import_batch(**delivery, content=content)
    codes = [code for _, code in refuse(delivery, content)]
    assert codes == ["already_in_stock"] * 4


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
@pytest.mark.parametrize(
    "header",
    [
        "iccid,imsi,form_factor",
        "ICCID,IMSI,Form Factor",
        " Iccid , imsi , form-factor ",
        "卡号,IMSI号,卡类型",
        "ICCID号码,imsi号码,卡类型",
        "SIM卡号,IMSI,CardType",
    ],
)
def test_headers_and_encodings(delivery: dict[str, Any], header: str, encoding: str) -> None:
    iccid, imsi = new_iccid(), new_imsi()
    sims.import_batch(**delivery, content=f"{header}\n{iccid},{imsi},实体卡\n".encode(encoding))
    card = SimCard.objects.get()
    assert (card.iccid, card.imsi, card.form_factor) == (iccid, imsi, "PHYSICAL")


def test_columns_in_another_order(delivery: dict[str, Any]) -> None:
    iccid, imsi = new_iccid(), new_imsi()
    sims.import_batch(**delivery, content=f'imsi,iccid\n"{imsi}","{iccid[:4]} {iccid[4:]}"\n'.encode())
    assert SimCard.objects.get(iccid=iccid).imsi == imsi


@pytest.mark.parametrize(
    ("header", "errors"),
    [
        ("iccid,imsi,ki", [("/header/3", "unknown_column")]),
        ("iccid,opc,pin1", [("/header/2", "unknown_column"), ("/header/3", "unknown_column")]),
        ("imsi", [("/header", "missing_column")]),
        ("iccid,卡号", [("/header/2", "repeated_column")]),
        (
            "89860112345678901234,460011234567890",
            [("/header/1", "unknown_column"), ("/header/2", "unknown_column"), ("/header", "missing_column")],
        ),
    ],
)
def test_headers_that_are_refused(
    delivery: dict[str, Any], header: str, errors: list[tuple[str, str]]
) -> None:
    assert refuse(delivery, f"{header}\n{new_iccid()},1,2\n".encode()) == errors


@pytest.mark.parametrize(
    ("content", "errors"),
    [
        (b"", [("/header", "missing_column")]),
        (b"\n\n", [("/header", "missing_column")]),
        (b"iccid\n", [("/rows", "empty")]),
        (b"iccid\n \n,\n", [("/rows", "empty")]),
        (b"iccid\n\xff\xfe\x00", [("", "encoding")]),
        ("iccid\n8986".encode("utf-16"), [("", "encoding")]),
        (b"iccid\n8986\0", [("", "encoding")]),
        (b"\x89PNG\r\n\x1a\n\0\0", [("", "encoding")]),
    ],
)
def test_files_that_are_no_stock_list(
    delivery: dict[str, Any], content: bytes, errors: list[tuple[str, str]]
) -> None:
    assert refuse(delivery, content) == errors


def test_broken_quotes_are_named_with_the_errors_before_them(delivery: dict[str, Any]) -> None:
    content = f'iccid\n1\n{new_iccid()}\n"unfinished\n'
    assert refuse(delivery, content.encode()) == [("/rows/2/iccid", "invalid"), ("/rows/4", "malformed_csv")]


def test_size_limits(delivery: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    content = csv_of(new_iccid(), new_iccid())
    monkeypatch.setattr(batch_file, "MAX_ROWS", 1)
    assert refuse(delivery, content, SimBatchTooLarge) == []
    monkeypatch.setattr(batch_file, "MAX_ROWS", 2)
    monkeypatch.setattr(batch_file, "MAX_BYTES", len(content) - 1)
    assert refuse(delivery, content, SimBatchTooLarge) == []
    monkeypatch.setattr(batch_file, "MAX_BYTES", len(content))
    assert sims.import_batch(**delivery, content=content).rows == 2


def test_long_lists_of_errors_are_cut_but_counted(delivery: dict[str, Any]) -> None:
    content = "iccid\n" + "x\n" * 1500
    with refused(SimBatchInvalid) as caught:
        sims.import_batch(**delivery, content=content.encode())
    assert len(caught.value.errors) == 1000
    assert "1500" in caught.value.detail


def test_thousands_of_cards_take_few_statements(delivery: dict[str, Any]) -> None:
    content = csv_of(*(new_iccid() for _ in range(5000)))
    with CaptureQueriesContext(connection) as captured:
        sims.import_batch(**delivery, content=content)
    # Two questions to the stock, the batch, the cards, the audit row.
    assert len(captured) == 5
    assert SimCard.objects.count() == 5000


def test_needs_the_right_and_the_own_operator(
    delivery: dict[str, Any],
    operator: VirtualOperator,
    other_operator: VirtualOperator,
    operator_admin: Actor,
) -> None:
    content = csv_of(new_iccid())
    refuse({**delivery, "actor": given_partner(operator=operator)}, content, Forbidden)
    refuse({**delivery, "actor": operator_admin, "operator": other_operator}, content, NotFound)
    sims.import_batch(**{**delivery, "actor": operator_admin}, content=content)


def test_filename_is_only_a_label(delivery: dict[str, Any]) -> None:
    name = "../\0\n" + "x" * 300 + "卡.csv"
    batch = sims.import_batch(**{**delivery, "filename": name}, content=csv_of(new_iccid()))
    batch.refresh_from_db()
    assert batch.filename == ("x" * 300 + "卡.csv")[-200:]

"""POST and GET /subscribers: masked answers, every bad input with its code, nothing about other operators."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from apps.accounts.models import IdempotencyKey, PartnerApp
from apps.audit.models import AuditEvent
from apps.operators.models import VirtualOperator
from apps.operators.policies import PolicyKey
from apps.subscribers import services
from apps.subscribers.models import IdentityDocument, Subscriber
from tests.factories.accounts import ApiClient, given_token
from tests.factories.operators import given_policy
from tests.factories.subscribers import (
    answering,
    fifteen_digits,
    given_subscriber,
    given_verification,
    registration,
    resident_number,
)

pytestmark = pytest.mark.django_db

PATH = "/api/v1/subscribers"


def _nothing_written() -> bool:
    return not (
        Subscriber.objects.exists()
        or IdentityDocument.objects.exists()
        or IdempotencyKey.objects.exists()
        or AuditEvent.objects.filter(action="subscriber.register").exists()
    )


class TestRegistering:
    def test_201_masked_with_a_location(self, api: ApiClient, now: datetime) -> None:
        number = resident_number("110105")
        body = registration(
            number=number,
            address="北京市某街1号",
            contact_phone="+86 170 9000 0001",
            external_id="c-1",
        )
        body["document"] |= {
            "valid_from": "2020-01-02",
            "valid_until": "2040-01-01",
            "issuing_country": "CHN",
        }

        response = api.post(PATH, body)

        assert response.status_code == 201
        answer = response.json()
        subscriber = Subscriber.objects.get()
        assert response["Location"] == f"{PATH}/{subscriber.uid}"
        created_at = answer.pop("created_at")
        assert created_at.endswith("Z")
        assert answer == {
            "id": subscriber.uid,
            "kind": "individual",
            "external_id": "c-1",
            "name": "张**",
            "document": {
                "id": IdentityDocument.objects.get().uid,
                "type": "resident_id",
                "number": f"110{'*' * 13}{number[-2:]}",
                "valid_from": "2020-01-02",
                "valid_until": "2040-01-01",
                "issuing_country": "CHN",
            },
            "guardian": None,
            "responsible_person": None,
            "authorisation_letter": None,
            "verification": None,
            "reverifications": [],
        }
        assert subscriber.entered_by.startswith("PARTNER:app_")

    def test_the_same_person_again_is_200_and_unchanged(self, api: ApiClient) -> None:
        number = resident_number()
        first = api.post(PATH, registration(number=number, external_id="c-1"))

        again = api.post(PATH, registration(number=f" {number} ", external_id="c-2"))

        assert (first.status_code, again.status_code) == (201, 200)
        assert again.json() == first.json()
        assert again["Location"] == first["Location"]
        assert Subscriber.objects.count() == 1

    def test_the_same_person_with_fifteen_digits_where_policy_takes_them(
        self, api: ApiClient, operator: VirtualOperator, now: datetime
    ) -> None:
        number = resident_number()
        first = api.post(PATH, registration(number=number))
        refusal = api.post(PATH, registration(number=fifteen_digits(number)))
        given_policy(
            key=PolicyKey.ACCEPTED_DOCUMENT_TYPES,
            value=["resident_id", "resident_id_15"],
            now=now,
            operator=operator,
        )

        again = api.post(PATH, registration(number=fifteen_digits(number)))

        assert (refusal.status_code, refusal.json()["code"]) == (422, "document_invalid")
        assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])

    def test_the_same_key_answers_the_same_bytes(self, api: ApiClient) -> None:
        body = registration()

        first = api.post(PATH, body, key="k-1")
        replay = api.post(PATH, body, key="k-1")

        assert (first.status_code, replay.status_code) == (201, 201)
        assert replay.content == first.content
        assert replay["Location"] == first["Location"]
        assert replay["Idempotent-Replayed"] == "true"
        assert Subscriber.objects.count() == 1

    def test_a_reused_key_is_refused(self, api: ApiClient) -> None:
        api.post(PATH, registration(), key="k-1")

        reused = api.post(PATH, registration(), key="k-1")

        assert (reused.status_code, reused.json()["code"]) == (422, "idempotency_key_reused")
        assert Subscriber.objects.count() == 1

    def test_a_missing_key_is_refused(self, api: ApiClient) -> None:
        response = api.post(PATH, registration(), key=None)

        assert (response.status_code, response.json()["code"]) == (400, "idempotency_key_missing")
        assert _nothing_written()

    def test_a_refusal_frees_the_key(self, api: ApiClient) -> None:
        refusal = api.post(PATH, registration(number="110105194912310021"), key="k-1")
        corrected = api.post(PATH, registration(), key="k-1")

        assert (refusal.status_code, corrected.status_code) == (422, 201)


def _with_document(**fields: Any) -> dict[str, Any]:
    body = registration()
    body["document"] |= fields
    return body


# body, status, code at the top, [(pointer, code)]
BAD: list[tuple[Any, int, str, list[tuple[str, str]]]] = [
    ("{", 400, "malformed_request", []),
    (b'{"name": "\xff"}', 400, "malformed_request", []),
    ("[" * 100_000, 400, "malformed_request", []),
    ("[]", 400, "validation_error", [("", "invalid")]),
    ("null", 400, "validation_error", [("", "null")]),
    ("3", 400, "validation_error", [("", "invalid")]),
    (
        {},
        400,
        "validation_error",
        [("/kind", "required"), ("/name", "required"), ("/document", "required")],
    ),
    (registration(nickname="x"), 400, "unknown_field", [("/nickname", "unknown_field")]),
    (_with_document(colour="red"), 400, "unknown_field", [("/document/colour", "unknown_field")]),
    (registration() | {"kind": "robot"}, 400, "validation_error", [("/kind", "invalid_choice")]),
    (registration() | {"name": ""}, 400, "validation_error", [("/name", "blank")]),
    (registration() | {"name": None}, 400, "validation_error", [("/name", "null")]),
    (registration() | {"name": ["张三"]}, 400, "validation_error", [("/name", "invalid")]),
    (
        registration() | {"name": "张\0三"},
        400,
        "validation_error",
        [("/name", "null_characters_not_allowed")],
    ),
    (registration() | {"name": "阿" * 10_000}, 400, "validation_error", [("/name", "max_length")]),
    (registration() | {"document": "resident_id"}, 400, "validation_error", [("/document", "invalid")]),
    (registration() | {"document": None}, 400, "validation_error", [("/document", "null")]),
    (_with_document(type="library_card"), 400, "validation_error", [("/document/type", "invalid_choice")]),
    (_with_document(number="1" * 41), 400, "validation_error", [("/document/number", "max_length")]),
    (_with_document(number=True), 400, "validation_error", [("/document/number", "invalid")]),
    (_with_document(valid_until="tomorrow"), 400, "validation_error", [("/document/valid_until", "invalid")]),
    (
        _with_document(valid_until="2030-02-30"),
        400,
        "validation_error",
        [("/document/valid_until", "invalid")],
    ),
    (
        _with_document(issuing_country="China"),
        400,
        "validation_error",
        [("/document/issuing_country", "invalid")],
    ),
    (registration(address="某" * 201), 400, "validation_error", [("/address", "max_length")]),
    (registration(external_id="x" * 65), 400, "validation_error", [("/external_id", "max_length")]),
    (
        {"kind": "robot", "name": "", "document": {"type": "x", "colour": "red"}, "nickname": 1},
        400,
        "validation_error",
        [
            ("/kind", "invalid_choice"),
            ("/name", "blank"),
            ("/document/type", "invalid_choice"),
            ("/document/number", "required"),
            ("/document/colour", "unknown_field"),
            ("/nickname", "unknown_field"),
        ],
    ),
    (
        _with_document(number="110105194912310021"),
        422,
        "document_invalid",
        [("/document/number", "number_check_digit")],
    ),
    (
        _with_document(number="110101190002300000"),
        422,
        "document_invalid",
        [("/document/number", "number_birth_date")],
    ),
    (
        _with_document(number="110101209901010000"),
        422,
        "document_invalid",
        [("/document/number", "number_birth_date")],
    ),
    (
        _with_document(valid_until="2020-01-01"),
        422,
        "document_expired",
        [("/document/valid_until", "document_expired")],
    ),
    (
        _with_document(issuing_country="USA"),
        422,
        "document_invalid",
        [("/document/issuing_country", "country_invalid")],
    ),
    (
        _with_document(type="passport", number="E12345678"),
        422,
        "document_type_not_accepted",
        [("/document/type", "document_type_not_accepted")],
    ),
    (registration() | {"name": "张\u202e三"}, 422, "name_invalid", [("/name", "name_characters")]),
    (registration() | {"name": "张\u200b三"}, 422, "name_invalid", [("/name", "name_characters")]),
    (registration() | {"name": "张3"}, 422, "name_invalid", [("/name", "name_characters")]),
    (registration(contact_phone="call me"), 422, "text_invalid", [("/contact_phone", "text_invalid")]),
    (
        registration(name="X", number="1", address="\u202e"),
        422,
        "document_invalid",
        [("/document/number", "number_length"), ("/name", "name_length"), ("/address", "text_invalid")],
    ),
    (
        {
            "kind": "organization",
            "name": "某某有限公司",
            "document": {"type": "uscc", "number": "91350100M000100Y43"},
            "responsible_person": {"name": "张三丰", "document": {"type": "resident_id", "number": "1"}},
        },
        422,
        "document_invalid",
        [("/responsible_person/document/number", "number_length")],
    ),
]


@pytest.mark.parametrize(("body", "status", "code", "faults"), BAD, ids=range(len(BAD)))
def test_bad_input_has_a_code_and_writes_nothing(
    api: ApiClient, body: Any, status: int, code: str, faults: list[tuple[str, str]]
) -> None:
    response = api.post(PATH, body)

    problem = response.json()
    assert response["Content-Type"] == "application/problem+json"
    assert (response.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert [(fault["pointer"], fault["code"]) for fault in problem["errors"]] == faults
    assert _nothing_written()
    if isinstance(body, dict) and isinstance(body.get("document"), dict):
        number = str(body["document"].get("number", "-"))
        assert len(number) < 9 or number not in response.content.decode()


def test_an_under_age_person(api: ApiClient, operator: VirtualOperator, now: datetime) -> None:
    body = registration(number=f"{resident_number(born=datetime(2020, 1, 1).date())}")  # noqa: DTZ001 - a birth date

    response = api.post(PATH, body)

    assert (response.status_code, response.json()["code"]) == (422, "subscriber_under_age")
    assert _nothing_written()


def test_another_name_for_a_known_document(api: ApiClient) -> None:
    number = resident_number()
    api.post(PATH, registration(number=number))

    response = api.post(PATH, registration(number=number, name="李四"))

    assert (response.status_code, response.json()["code"]) == (409, "document_name_conflict")
    assert "张" not in response.content.decode()
    assert Subscriber.objects.count() == 1


def test_a_taken_external_id(api: ApiClient) -> None:
    api.post(PATH, registration(external_id="c-1"))

    response = api.post(PATH, registration(external_id="c-1"))

    assert (response.status_code, response.json()["code"]) == (409, "external_id_taken")
    assert Subscriber.objects.count() == 1


@pytest.mark.parametrize("name", ["张三丰", "李四"])
def test_an_answer_says_nothing_about_other_operators(
    api: ApiClient, other_operator: VirtualOperator, now: datetime, name: str
) -> None:
    """Known elsewhere, under this or another name, or known nowhere: the answers have the same shape and status."""
    number = resident_number()
    given_subscriber(operator=other_operator, now=now, number=number, external_id="c-1")

    known_elsewhere = api.post(PATH, registration(number=number, name=name, external_id="c-1"))
    unknown = api.post(PATH, registration(name=name, external_id="c-2"))

    assert (known_elsewhere.status_code, unknown.status_code) == (201, 201)
    differing = {"id", "external_id", "document", "created_at"}
    assert {k: v for k, v in known_elsewhere.json().items() if k not in differing} == {
        k: v for k, v in unknown.json().items() if k not in differing
    }


class TestLooking:
    def test_one_with_an_etag(self, api: ApiClient) -> None:
        created = api.post(PATH, registration(external_id="c-1")).json()

        response = api.get(f"{PATH}/{created['id']}")
        unchanged = api.get(f"{PATH}/{created['id']}", headers={"If-None-Match": response["ETag"]})

        assert (response.status_code, response.json()) == (200, created)
        assert (unchanged.status_code, unchanged.content) == (304, b"")

    def test_the_etag_follows_the_latest_verification(
        self, api: ApiClient, operator: VirtualOperator, now: datetime
    ) -> None:
        subscriber = given_subscriber(operator=operator, now=now)
        before = api.get(f"{PATH}/{subscriber.uid}")
        verification = given_verification(subscriber=subscriber, now=now)
        pending = api.get(f"{PATH}/{subscriber.uid}")
        services.run_due_verifications(clock=lambda: now, providers=answering())
        passed = api.get(f"{PATH}/{subscriber.uid}")

        assert before.json()["verification"] is None
        assert pending.json()["verification"] == {
            "id": verification.uid,
            "status": "PENDING",
            "fresh_until": None,
        }
        assert passed.json()["verification"]["status"] == "PASSED"
        assert passed.json()["verification"]["fresh_until"].endswith("Z")
        assert len({before["ETag"], pending["ETag"], passed["ETag"]}) == 3

    def test_a_foreign_one_is_like_an_unknown_one(self, api: ApiClient, other_api: ApiClient) -> None:
        theirs = other_api.post(PATH, registration()).json()["id"]

        foreign = api.get(f"{PATH}/{theirs}")
        unknown = api.get(f"{PATH}/sub_01h455vb4pex5vsknk084sn02q")
        malformed = api.get(f"{PATH}/11010519491231002X")

        bodies = [response.json() for response in (foreign, unknown, malformed)]
        for body in bodies:
            body.pop("instance"), body.pop("request_id")
        assert [response.status_code for response in (foreign, unknown, malformed)] == [404] * 3
        assert bodies[0] == bodies[1] == bodies[2]
        assert bodies[0]["code"] == "not_found"

    def test_a_list_newest_first_page_by_page(self, api: ApiClient, other_api: ApiClient) -> None:
        other_api.post(PATH, registration())
        ids = [api.post(PATH, registration()).json()["id"] for _ in range(5)]

        first = api.get(f"{PATH}?limit=3&count=exact").json()
        second = api.get(f"{PATH}?limit=3&after={first['next']}").json()

        assert [item["id"] for item in first["items"] + second["items"]] == ids[::-1]
        assert (first["count"], second["next"]) == (5, None)

    @pytest.mark.parametrize("written", ["as is", "spaces", "lower case", "fifteen digits"])
    def test_by_document_exactly(self, api: ApiClient, other_api: ApiClient, written: str) -> None:
        number = "11010519491231002X"
        wanted = api.post(PATH, registration(number=number)).json()
        api.post(PATH, registration())
        other_api.post(PATH, registration(number=number))
        typed = {
            "as is": number,
            "spaces": "110105%2019491231%20002X",
            "lower case": number.lower(),
            "fifteen digits": fifteen_digits(number),
        }[written]

        found = api.get(f"{PATH}?document=resident_id:{typed}").json()

        assert found == {"items": [wanted], "next": None}

    @pytest.mark.parametrize(
        "document", ["resident_id:110101190001010009", "resident_id:nonsense", "passport:E12345678"]
    )
    def test_by_an_unknown_document(self, api: ApiClient, document: str) -> None:
        api.post(PATH, registration())

        assert api.get(f"{PATH}?document={document}").json() == {"items": [], "next": None}

    def test_a_cursor_holds_no_number(self, api: ApiClient, operator: VirtualOperator, now: datetime) -> None:
        number = resident_number()
        given_subscriber(operator=operator, now=now, number=number)

        page = api.get(f"{PATH}?document=resident_id:{number}&limit=1").json()
        reused = api.get(f"{PATH}?after=bm9uc2Vuc2U")

        assert page["next"] is None
        assert (reused.status_code, reused.json()["code"]) == (400, "cursor_invalid")

    def test_by_external_id_exactly(self, api: ApiClient, other_api: ApiClient) -> None:
        wanted = api.post(PATH, registration(external_id="c-1")).json()
        api.post(PATH, registration(external_id="c-10"))
        other_api.post(PATH, registration(external_id="c-1"))

        assert api.get(f"{PATH}?external_id=c-1").json()["items"] == [wanted]

    @pytest.mark.parametrize(
        ("query", "code"),
        [
            ("document=11010519491231002X", "validation_error"),
            ("document=library_card:1", "validation_error"),
            ("document=resident_id:", "validation_error"),
            ("document=resident_id:1&document=resident_id:2", "validation_error"),
            ("external_id=%00", "validation_error"),
            ("name=x", "unknown_parameter"),
            ("limit=0", "validation_error"),
        ],
    )
    def test_bad_parameters(self, api: ApiClient, query: str, code: str) -> None:
        response = api.get(f"{PATH}?{query}")

        assert (response.status_code, response.json()["code"]) == (400, code)
        assert "11010519491231002X" not in response.content.decode()


class TestScopes:
    @pytest.mark.parametrize(
        ("scopes", "method", "status"),
        [
            (["subscribers:read"], "GET", 200),
            (["subscribers:read"], "POST", 403),
            (["subscribers:write"], "GET", 403),
            (["subscribers:write"], "POST", 201),
        ],
    )
    def test_each_method_needs_its_own(
        self, partner_app: PartnerApp, now: datetime, scopes: list[str], method: str, status: int
    ) -> None:
        client = ApiClient(given_token(app=partner_app, now=now, scopes=scopes))

        response = client.get(PATH) if method == "GET" else client.post(PATH, registration())

        assert response.status_code == status
        assert (status == 201) == Subscriber.objects.exists()

    def test_nobody_without_a_token(self, operator: VirtualOperator) -> None:
        client = ApiClient(None)

        assert client.get(PATH).status_code == 401
        assert client.post(PATH, registration()).status_code == 401
        assert client.get(f"{PATH}/sub_01h455vb4pex5vsknk084sn02q").status_code == 401
        assert _nothing_written()

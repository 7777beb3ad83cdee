"""The REST face of guardians, proxies, organizations and consents: shapes, pointers, what is shown, who sees what."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from apps.accounts.models import IdempotencyKey, PartnerApp
from apps.operators.models import VirtualOperator
from apps.operators.policies import PolicyKey
from apps.subscribers import services
from apps.subscribers.models import Consent, Representative, Subscriber
from tests.factories.accounts import ApiClient, given_token
from tests.factories.operators import given_policy
from tests.factories.subscribers import (
    answering,
    given_organization,
    given_subscriber,
    minor_number,
    registration,
    resident_number,
    uscc,
)
from tests.subscribers import pictures
from tests.subscribers.pictures import upload

pytestmark = pytest.mark.django_db

PATH = "/api/v1/subscribers"
CONSENT = {"purpose": "marketing", "text_version": "2026-01", "channel": "in_store"}


def _minor(now: datetime) -> str:
    return resident_number(born=now.date().replace(year=now.year - 12))


def _person(name: str = "钱七星", number: str = "", **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "document": {"type": "resident_id", "number": number or resident_number(), **fields},
    }


def _organization(code: str = "", **fields: Any) -> dict[str, Any]:
    return {
        "kind": "organization",
        "name": "某某（测试）有限公司",
        "document": {"type": "uscc", "number": code or uscc()},
        "responsible_person": _person(),
        **fields,
    }


def _problem(response: Any) -> tuple[int, str, list[tuple[str, str]]]:
    body = response.json()
    return response.status_code, body["code"], [(each["pointer"], each["code"]) for each in body["errors"]]


def test_a_minor_with_a_guardian_is_shown_masked(api: ApiClient, now: datetime) -> None:
    number = resident_number("110109")
    body = registration(number=_minor(now), guardian=_person(number=number, valid_until="2040-01-01"))
    response = api.post(PATH, body)
    assert response.status_code == 201
    guardian = response.json()["guardian"]
    assert guardian.pop("id") == Representative.objects.get().uid
    assert guardian.pop("created_at").endswith("Z")
    assert guardian == {
        "role": "guardian",
        "name": "钱**",
        "document": {
            "type": "resident_id",
            "number": f"110{'*' * 13}{number[-2:]}",
            "valid_from": None,
            "valid_until": "2040-01-01",
            "issuing_country": "CHN",
        },
    }
    assert response.json()["responsible_person"] is None
    created = json.loads(response.content)
    assert api.get(f"{PATH}/{created['id']}").json() == created


def test_without_one_the_answer_says_what_would_do(api: ApiClient, now: datetime) -> None:
    assert _problem(api.post(PATH, registration(number=_minor(now)))) == (
        422,
        "subscriber_under_age",
        [("/document/number", "subscriber_under_age"), ("/guardian", "guardian_missing")],
    )


def test_an_organization_is_shown_masked_and_found_by_its_code(api: ApiClient) -> None:
    code = uscc()
    response = api.post(PATH, _organization(code, external_id="acme"))
    assert response.status_code == 201
    answer = response.json()
    assert (answer["kind"], answer["name"], answer["guardian"]) == ("organization", "某****", None)
    assert answer["document"]["type"] == "uscc"
    assert answer["responsible_person"]["role"] == "responsible"
    assert code not in response.content.decode()
    again = api.post(PATH, _organization(code.lower()))
    assert (again.status_code, again.json()) == (200, answer)
    found = api.get(f"{PATH}?document=uscc:{code}").json()["items"]
    assert [each["id"] for each in found] == [answer["id"]]


BAD = [
    (
        registration(guardian={}),
        400,
        "validation_error",
        [("/guardian/name", "required"), ("/guardian/document", "required")],
    ),
    (registration(guardian=None), 400, "validation_error", [("/guardian", "null")]),
    (registration(guardian="mother"), 400, "validation_error", [("/guardian", "invalid")]),
    (
        registration(guardian=_person() | {"age": 40}),
        400,
        "unknown_field",
        [("/guardian/age", "unknown_field")],
    ),
    (
        registration(proxy=_person(colour="red")),
        400,
        "unknown_field",
        [("/proxy/document/colour", "unknown_field")],
    ),
    (
        registration(responsible_person=_person()),
        400,
        "unknown_field",
        [("/responsible_person", "unknown_field")],
    ),
    (
        registration(guardian=_person(name="阿" * 10_000)),
        400,
        "validation_error",
        [("/guardian/name", "max_length")],
    ),
    (_organization() | {"guardian": _person()}, 400, "unknown_field", [("/guardian", "unknown_field")]),
    (_organization() | {"proxy": _person()}, 400, "unknown_field", [("/proxy", "unknown_field")]),
    (
        {"kind": "organization", "name": "", "nickname": 1},
        400,
        "validation_error",
        [
            ("/name", "blank"),
            ("/document", "required"),
            ("/responsible_person", "required"),
            ("/nickname", "unknown_field"),
        ],
    ),
    (
        _organization() | {"document": {"type": "resident_id", "number": resident_number()}},
        422,
        "document_type_not_accepted",
        [("/document/type", "document_type_not_accepted")],
    ),
    (
        _organization("91350100M000100Y4Z"),
        422,
        "document_invalid",
        [("/document/number", "number_alphabet")],
    ),
    (
        _organization() | {"responsible_person": _person(name="张\u202e三", number="110105194912310021")},
        422,
        "document_invalid",
        [
            ("/responsible_person/document/number", "number_check_digit"),
            ("/responsible_person/name", "name_characters"),
        ],
    ),
    (
        _organization(authorisation_letter="img_01h455vb4pex5vsknk084sn02q"),
        422,
        "authorisation_letter_invalid",
        [("/authorisation_letter", "authorisation_letter_invalid")],
    ),
    (
        _organization(authorisation_letter="x" * 65),
        400,
        "validation_error",
        [("/authorisation_letter", "max_length")],
    ),
]


@pytest.mark.parametrize(("body", "status", "code", "faults"), BAD, ids=range(len(BAD)))
def test_bad_input_has_a_code_and_writes_nothing(
    api: ApiClient, body: Any, status: int, code: str, faults: list[tuple[str, str]]
) -> None:
    assert _problem(api.post(PATH, body)) == (status, code, faults)
    assert not Subscriber.objects.exists()
    assert not Representative.objects.exists()
    assert not IdempotencyKey.objects.exists()


def test_known_and_unknown_guardians_answer_alike(
    api: ApiClient, other_operator: VirtualOperator, operator: VirtualOperator, now: datetime
) -> None:
    """Of nobody's document does an answer tell that it is known, whose customer they are, or their right name."""
    here, elsewhere = resident_number(), resident_number()
    given_subscriber(operator=operator, now=now, name="李四光", number=here)
    given_subscriber(operator=other_operator, now=now, name="李四光", number=elsewhere)
    answers = [
        api.post(PATH, registration(number=_minor(now), **{role: _person(number=number)}))
        for number in (here, elsewhere, resident_number())
        for role in ("guardian",)
    ]
    shapes = [
        (answer.status_code, {key: type(value) for key, value in answer.json()["guardian"].items()})
        for answer in answers
    ]
    assert shapes[0] == shapes[1] == shapes[2]
    assert shapes[0][0] == 201


def test_the_letter_is_uploaded_and_named(
    api: ApiClient, other_api: ApiClient, operator: VirtualOperator, now: datetime
) -> None:
    handler = api.post(PATH, registration()).json()["id"]
    letter = upload(api, handler, pictures.jpeg(), kind="authorisation_letter").json()["id"]
    foreign = other_api.post(PATH, _organization(authorisation_letter=letter))
    unknown = other_api.post(PATH, _organization(authorisation_letter="img_01h455vb4pex5vsknk084sn02q"))
    assert _problem(foreign) == _problem(unknown)
    assert foreign.json()["code"] == "authorisation_letter_invalid"

    answer = api.post(PATH, _organization(authorisation_letter=letter)).json()
    assert answer["authorisation_letter"] == letter
    verification = api.post(f"{PATH}/{answer['id']}/verifications", {"channel": "in_store"})
    assert verification.status_code == 202
    assert verification.json()["representative"]["role"] == "responsible"
    services.run_due_verifications(clock=lambda: now + timedelta(minutes=1), providers=answering())
    shown = api.get(verification["Location"]).json()
    assert (shown["status"], shown["representative"]["name"]) == ("PASSED", "钱**")


def test_without_its_letter_it_is_not_verified(
    api: ApiClient, operator: VirtualOperator, now: datetime
) -> None:
    uid = api.post(PATH, _organization()).json()["id"]
    path = f"{PATH}/{uid}/verifications"
    assert _problem(api.post(path, {"channel": "in_store"})) == (422, "authorisation_letter_missing", [])
    given_policy(key=PolicyKey.AUTHORISATION_LETTER_REQUIRED, value=False, now=now, operator=operator)
    assert api.post(path, {"channel": "in_store"}).status_code == 202


def test_a_proxy_for_one_verification(api: ApiClient) -> None:
    uid = api.post(PATH, registration(proxy=_person())).json()["id"]
    path = f"{PATH}/{uid}/verifications"
    for body, status, code, faults in (
        (
            {"channel": "online_video", "proxy": _person()},
            422,
            "proxy_not_accepted",
            [("/proxy", "proxy_not_accepted")],
        ),
        (
            {"channel": "in_store", "proxy": _person(number="1")},
            422,
            "document_invalid",
            [("/proxy/document/number", "number_length")],
        ),
        (
            {"channel": "in_store", "proxy": {"name": "钱"}},
            400,
            "validation_error",
            [("/proxy/document", "required")],
        ),
        (
            {"channel": "in_store", "proxy": _person() | {"x": 1}},
            400,
            "unknown_field",
            [("/proxy/x", "unknown_field")],
        ),
    ):
        assert _problem(api.post(path, body)) == (status, code, faults)
    answer = api.post(path, {"channel": "in_store", "proxy": _person()})
    assert answer.status_code == 202
    assert answer.json()["representative"]["role"] == "proxy"


def test_another_guardian_and_none(
    api: ApiClient, other_api: ApiClient, operator: VirtualOperator, now: datetime
) -> None:
    uid = api.post(PATH, registration(number=_minor(now), guardian=_person())).json()["id"]
    path, body = f"{PATH}/{uid}/representatives", {"role": "guardian", **_person(name="赵六一")}
    assert other_api.post(path, body).status_code == 404
    assert _problem(api.post(path, body | {"role": "proxy"})) == (
        400,
        "validation_error",
        [("/role", "invalid_choice")],
    )
    assert _problem(api.post(path, body | {"role": "responsible"})) == (
        422,
        "role_not_accepted",
        [("/role", "role_not_accepted")],
    )
    first, again = api.post(path, body), api.post(path, body)
    assert (first.status_code, again.status_code) == (201, 200)
    assert api.get(f"{PATH}/{uid}").json()["guardian"] == first.json() == again.json()
    assert _problem(api.delete(f"{PATH}/{uid}/guardian"))[:2] == (409, "guardian_needed")
    assert _problem(api.post(PATH, registration(guardian=_person()))) == (
        422,
        "guardian_not_needed",
        [("/guardian", "guardian_not_needed")],
    )
    minor = registration(number=minor_number(now, years=15), guardian=_person())
    grown = api.post(PATH, minor).json()["id"]
    given_policy(key=PolicyKey.MINIMUM_AGE, value=15, now=now, operator=operator)
    assert api.delete(f"{PATH}/{grown}/guardian").status_code == 204
    assert api.delete(f"{PATH}/{grown}/guardian").status_code == 404
    assert api.get(f"{PATH}/{grown}").json()["guardian"] is None


class TestConsents:
    def test_given_replaced_listed_and_withdrawn(self, api: ApiClient) -> None:
        uid = api.post(PATH, registration()).json()["id"]
        path = f"{PATH}/{uid}/consents"
        first, again = api.post(path, CONSENT), api.post(path, CONSENT)
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.json() == again.json()
        assert api.post(path, CONSENT | {"text_version": "2026-02"}).status_code == 201
        items = api.get(f"{path}?count=exact").json()
        assert items["count"] == 2
        assert [(each["text_version"], each["withdrawn_at"] is None) for each in items["items"]] == [
            ("2026-02", True),
            ("2026-01", False),
        ]
        assert api.get(f"{path}?purpose=real_name").json()["items"] == []
        assert api.get(f"{path}?purpose=sale").status_code == 400
        assert api.delete(f"{path}/marketing").status_code == 204
        for purpose in ("marketing", "real_name", "anything", "MARKETING"):
            assert api.delete(f"{path}/{purpose}").status_code == 404
        assert not Consent.objects.filter(withdrawn_at=None).exists()

    @pytest.mark.parametrize(
        ("change", "code", "faults"),
        [
            ({"purpose": "sale"}, "validation_error", [("/purpose", "invalid_choice")]),
            ({"text_version": "某"}, "validation_error", [("/text_version", "invalid")]),
            ({"channel": "post"}, "validation_error", [("/channel", "invalid_choice")]),
            ({"given": True}, "unknown_field", [("/given", "unknown_field")]),
        ],
    )
    def test_bad_input(
        self, api: ApiClient, change: dict[str, Any], code: str, faults: list[tuple[str, str]]
    ) -> None:
        uid = api.post(PATH, registration()).json()["id"]
        assert _problem(api.post(f"{PATH}/{uid}/consents", CONSENT | change)) == (400, code, faults)
        assert not Consent.objects.exists()

    def test_of_a_minor_it_is_the_guardians(self, api: ApiClient, now: datetime) -> None:
        body = registration(number=_minor(now), guardian=_person(), consents=[CONSENT])
        answer = api.post(PATH, body).json()
        [consent] = api.get(f"{PATH}/{answer['id']}/consents").json()["items"]
        assert consent["given_by"] == answer["guardian"]["id"]

    def test_nobody_elses(
        self, api: ApiClient, other_api: ApiClient, partner_app: PartnerApp, now: datetime
    ) -> None:
        path = f"{PATH}/{api.post(PATH, registration()).json()['id']}/consents"
        api.post(path, CONSENT)
        assert other_api.get(path).status_code == 404
        assert other_api.post(path, CONSENT).status_code == 404
        assert other_api.delete(f"{path}/marketing").status_code == 404
        reader = ApiClient(given_token(app=partner_app, now=now, scopes=["subscribers:read"]))
        assert reader.get(path).status_code == 200
        assert reader.post(path, CONSENT).status_code == 403
        assert reader.delete(f"{path}/marketing").status_code == 403


def test_an_organization_of_another_operator_does_not_exist(
    other_api: ApiClient, operator: VirtualOperator, now: datetime
) -> None:
    code = uscc()
    theirs = given_organization(operator=operator, now=now, code=code)
    assert other_api.get(f"{PATH}/{theirs.uid}").status_code == 404
    assert other_api.get(f"{PATH}?document=uscc:{code}").json()["items"] == []
    assert other_api.post(PATH, _organization(code)).status_code == 201

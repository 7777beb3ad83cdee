"""POST /subscribers/{id}/verifications and GET /verifications/{id}."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import storages

from apps.accounts.models import IdempotencyKey, PartnerApp
from apps.audit.models import AuditEvent
from apps.core.db import database_now
from apps.operators.models import VirtualOperator
from apps.operators.policies import PolicyKey
from apps.subscribers import services
from apps.subscribers.models import IdentityDocument, IdentityImage, Subscriber, Verification
from apps.subscribers.realname.providers.base import AuthorityAnswer
from tests.factories.accounts import ApiClient, given_token
from tests.factories.operators import given_dealer, given_policy
from tests.factories.subscribers import answering, given_subscriber, given_verification, registration
from tests.subscribers import pictures
from tests.subscribers.pictures import upload

pytestmark = pytest.mark.django_db


@pytest.fixture
def subscriber(operator: VirtualOperator, now: datetime) -> Subscriber:
    return given_subscriber(operator=operator, now=now)


def _path(subscriber: Subscriber) -> str:
    return f"/api/v1/subscribers/{subscriber.uid}/verifications"


def _nothing_written() -> bool:
    return not Verification.objects.exists() and not IdempotencyKey.objects.exists()


class TestRequesting:
    def test_202_pending_with_a_location(self, api: ApiClient, subscriber: Subscriber, now: datetime) -> None:
        dealer = given_dealer(operator=subscriber.operator, now=now)

        response = api.post(
            _path(subscriber),
            {"channel": "in_store", "dealer": dealer.code, "evidence": {"face_session": "fs-1"}},
        )

        verification = Verification.objects.get()
        answer = response.json()
        assert response.status_code == 202
        assert response["Location"] == f"/api/v1/verifications/{verification.uid}"
        assert answer["created_at"] == answer["next_attempt_at"]
        assert {k: v for k, v in answer.items() if k not in ("created_at", "next_attempt_at")} == {
            "id": verification.uid,
            "status": "PENDING",
            "detail": "The checks have not run yet.",
            "checks": [],
            "subscriber": subscriber.uid,
            "channel": "in_store",
            "dealer": dealer.uid,
            "representative": None,
            "attempts": 0,
            "decided_at": None,
            "fresh_until": None,
        }
        assert verification.face_session == "fs-1"

    @pytest.mark.parametrize("evidence", [{}, {"evidence": {}}, {"evidence": {"face_session": ""}}])
    def test_evidence_may_be_missing_where_policy_does_without(
        self, api: ApiClient, subscriber: Subscriber, evidence: dict[str, Any]
    ) -> None:
        assert api.post(_path(subscriber), {"channel": "online_video", **evidence}).status_code == 202
        assert Verification.objects.get().channel == "ONLINE_VIDEO"

    def test_not_where_policy_wants_it(self, api: ApiClient, subscriber: Subscriber, now: datetime) -> None:
        given_policy(key=PolicyKey.FACE_EVIDENCE_REQUIRED, value=True, now=now, operator=subscriber.operator)

        response = api.post(_path(subscriber), {"channel": "in_store"})

        assert (response.status_code, response.json()["code"]) == (422, "evidence_missing")
        assert response.json()["errors"][0]["pointer"] == "/evidence/face_session"
        assert _nothing_written()

    def test_the_same_key_starts_one(self, api: ApiClient, subscriber: Subscriber) -> None:
        first = api.post(_path(subscriber), {"channel": "in_store"}, key="k-1")
        replay = api.post(_path(subscriber), {"channel": "in_store"}, key="k-1")

        assert (replay.status_code, replay.content) == (202, first.content)
        assert replay["Idempotent-Replayed"] == "true"
        assert Verification.objects.count() == 1

    def test_another_while_one_is_open(self, api: ApiClient, subscriber: Subscriber) -> None:
        api.post(_path(subscriber), {"channel": "in_store"})

        response = api.post(_path(subscriber), {"channel": "in_store"})

        assert (response.status_code, response.json()["code"]) == (409, "verification_in_progress")
        assert Verification.objects.count() == 1

    @pytest.mark.parametrize(
        ("body", "status", "code", "pointer"),
        [
            ("{", 400, "malformed_request", None),
            ({}, 400, "validation_error", "/channel"),
            ({"channel": "by_post"}, 400, "validation_error", "/channel"),
            ({"channel": "IN_STORE"}, 400, "validation_error", "/channel"),
            ({"channel": "in_store", "speed": 1}, 400, "unknown_field", "/speed"),
            ({"channel": "in_store", "evidence": {"video": "x"}}, 400, "unknown_field", "/evidence/video"),
            ({"channel": "in_store", "evidence": "x"}, 400, "validation_error", "/evidence"),
            ({"channel": "in_store", "evidence": None}, 400, "validation_error", "/evidence"),
            (
                {"channel": "in_store", "evidence": {"face_session": "x" * 129}},
                400,
                "validation_error",
                "/evidence/face_session",
            ),
            (
                {"channel": "in_store", "evidence": {"face_session": "a\u202eb"}},
                422,
                "text_invalid",
                "/evidence/face_session",
            ),
            ({"channel": "in_store", "dealer": "nobody"}, 422, "dealer_not_allowed", None),
        ],
    )
    def test_bad_input_writes_nothing(
        self, api: ApiClient, subscriber: Subscriber, body: Any, status: int, code: str, pointer: str | None
    ) -> None:
        response = api.post(_path(subscriber), body)

        problem = response.json()
        assert (response.status_code, problem["code"]) == (status, code)
        assert [fault["pointer"] for fault in problem["errors"]] == ([pointer] if pointer else [])
        assert _nothing_written()

    def test_a_foreign_subscriber_is_like_an_unknown_one(
        self, api: ApiClient, other_operator: VirtualOperator, now: datetime
    ) -> None:
        theirs = given_subscriber(operator=other_operator, now=now)

        foreign = api.post(_path(theirs), {"channel": "in_store"})
        unknown = api.post(
            "/api/v1/subscribers/sub_01h455vb4pex5vsknk084sn02q/verifications", {"channel": "in_store"}
        )

        bodies = [response.json() for response in (foreign, unknown)]
        for body in bodies:
            body.pop("instance"), body.pop("request_id")
        assert (foreign.status_code, unknown.status_code) == (404, 404)
        assert bodies[0] == bodies[1]
        assert _nothing_written()

    def test_reading_rights_do_not_start_one(
        self, partner_app: PartnerApp, subscriber: Subscriber, now: datetime
    ) -> None:
        client = ApiClient(given_token(app=partner_app, now=now, scopes=["subscribers:read"]))

        response = client.post(_path(subscriber), {"channel": "in_store"})

        assert (response.status_code, response.json()["code"]) == (403, "insufficient_scope")
        assert _nothing_written()


class TestStoreEvidence:
    """Card reader and a photo taken at the counter, instead of a face session."""

    @pytest.fixture(autouse=True)
    def folder(self, settings: Any, tmp_path: Path, operator: VirtualOperator, now: datetime) -> None:
        storage = {**settings.STORAGES["images"], "OPTIONS": {"location": str(tmp_path)}}
        settings.STORAGES = {**settings.STORAGES, "images": storage}
        given_policy(key=PolicyKey.FACE_EVIDENCE_REQUIRED, value=True, now=now, operator=operator)

    def test_the_provider_gets_the_photo(self, api: ApiClient, subscriber: Subscriber, now: datetime) -> None:
        photo = upload(api, subscriber.uid, pictures.jpeg(), kind="person").json()["id"]
        body = {"channel": "in_store", "evidence": {"reader": "CVR-100-42", "photo": photo}}
        assert api.post(_path(subscriber), body).status_code == 202
        providers = answering()

        services.run_due_verifications(clock=database_now, providers=providers)

        assert Verification.objects.get().status == "PASSED"
        (asked,) = providers.face.asked  # type: ignore[attr-defined]
        assert asked["evidence"].reader == "CVR-100-42"
        assert asked["evidence"].photo.startswith(b"\xff\xd8")

    def test_a_photo_that_is_gone_holds(self, api: ApiClient, subscriber: Subscriber, now: datetime) -> None:
        photo = upload(api, subscriber.uid, pictures.jpeg(), kind="person").json()["id"]
        body = {"channel": "in_store", "evidence": {"reader": "CVR-100-42", "photo": photo}}
        api.post(_path(subscriber), body)
        storages["images"].delete(IdentityImage.objects.get().storage_name)

        services.run_due_verifications(clock=database_now, providers=answering())

        stored = Verification.objects.get()
        assert (stored.status, stored.checks.latest("position").code) == ("PENDING", "photo_unreadable")

    def test_what_is_not_enough(
        self, api: ApiClient, subscriber: Subscriber, operator: VirtualOperator, now: datetime
    ) -> None:
        photo = upload(api, subscriber.uid, pictures.jpeg(), kind="person").json()["id"]
        front = upload(api, subscriber.uid, pictures.jpeg(), kind="document_front").json()["id"]
        other = given_subscriber(operator=operator, now=now)
        theirs = upload(api, other.uid, pictures.jpeg(), kind="person").json()["id"]
        number = IdentityDocument.objects.get(subscriber=subscriber).open_number()

        def refused(channel: str, **evidence: str) -> str:
            response = api.post(_path(subscriber), {"channel": channel, "evidence": evidence})
            assert response.status_code == 422
            return str(response.json()["code"])

        assert refused("in_store", photo=photo) == "evidence_missing"
        assert refused("in_store", reader="CVR-100-42") == "evidence_missing"
        assert refused("online_video", reader="CVR-100-42", photo=photo) == "evidence_missing"
        assert refused("in_store", reader="CVR-100-42", photo=front) == "photo_not_usable"
        assert refused("in_store", reader="CVR-100-42", photo=theirs) == "photo_not_usable"
        assert refused("in_store", reader=f"R{number}", photo=photo) == "text_invalid"
        assert not Verification.objects.exists()


class TestLooking:
    def test_the_checks_in_order_with_an_etag(
        self, api: ApiClient, subscriber: Subscriber, now: datetime
    ) -> None:
        verification = given_verification(subscriber=subscriber, now=now)
        path = f"/api/v1/verifications/{verification.uid}"
        pending = api.get(path)
        services.run_due_verifications(clock=lambda: now, providers=answering(AuthorityAnswer.NAME_MISMATCH))

        response = api.get(path)

        assert response.json()["status"] == "FAILED"
        words = "The authority knows this number under another name."
        assert response.json()["detail"] == words
        checks = response.json()["checks"]
        assert [(check["name"], check["outcome"], check["code"]) for check in checks] == [
            ("dealer_allowed", "PASS", "ok"),
            ("document_type", "PASS", "ok"),
            ("document_number", "PASS", "ok"),
            ("document_validity", "PASS", "ok"),
            ("minimum_age", "PASS", "ok"),
            ("representative", "PASS", "ok"),
            ("watch_list", "PASS", "ok"),
            ("holder_limit", "PASS", "ok"),
            ("authority_match", "FAIL", "name_mismatch"),
        ]
        assert [check["provider"] for check in checks] == [None] * 8 + ["authority"]
        assert checks[-1]["detail"] == words
        assert checks[-1]["checked_at"] >= checks[0]["checked_at"] > ""
        assert response["ETag"] != pending["ETag"]
        assert api.get(path, headers={"If-None-Match": response["ETag"]}).status_code == 304

    def test_one_without_an_answer_says_when_it_is_tried_again(
        self, api: ApiClient, subscriber: Subscriber, now: datetime
    ) -> None:
        verification = given_verification(subscriber=subscriber, now=now)
        services.run_due_verifications(clock=lambda: now, providers=answering("provider_breaker_open"))

        body = api.get(f"/api/v1/verifications/{verification.uid}").json()

        assert (body["status"], body["attempts"]) == ("PENDING", 1)
        assert body["next_attempt_at"] is not None
        assert body["detail"] == (
            "The provider has failed too often and is left alone for a moment."
            " It is tried again by itself; so far 1 try."
        )

    def test_a_foreign_one_is_like_an_unknown_one(
        self, api: ApiClient, other_operator: VirtualOperator, now: datetime
    ) -> None:
        theirs = given_verification(subscriber=given_subscriber(operator=other_operator, now=now), now=now)

        foreign = api.get(f"/api/v1/verifications/{theirs.uid}")
        unknown = api.get("/api/v1/verifications/ver_01h455vb4pex5vsknk084sn02q")

        bodies = [response.json() for response in (foreign, unknown)]
        for body in bodies:
            body.pop("instance"), body.pop("request_id")
        assert (foreign.status_code, unknown.status_code) == (404, 404)
        assert bodies[0] == bodies[1]

    def test_unknown_parameters(self, api: ApiClient, subscriber: Subscriber, now: datetime) -> None:
        verification = given_verification(subscriber=subscriber, now=now)

        for path in (f"/api/v1/verifications/{verification.uid}", f"/api/v1/subscribers/{subscriber.uid}"):
            assert api.get(f"{path}?fields=all").json()["code"] == "unknown_parameter"

    def test_writing_rights_do_not_show_one(
        self, partner_app: PartnerApp, subscriber: Subscriber, now: datetime
    ) -> None:
        verification = given_verification(subscriber=subscriber, now=now)
        client = ApiClient(given_token(app=partner_app, now=now, scopes=["subscribers:write"]))

        assert client.get(f"/api/v1/verifications/{verification.uid}").status_code == 403


def test_request_and_trace_stand_in_the_audit(api: ApiClient, subscriber: Subscriber) -> None:
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    api.post(
        _path(subscriber),
        {"channel": "in_store"},
        headers={"X-Request-ID": "trace-me-7", "traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"},
    )

    row = AuditEvent.objects.get(action="verification.request")
    assert (row.request_id, row.trace_id) == ("trace-me-7", trace_id)


@pytest.mark.parametrize("resource", ["subscribers", "verifications"])
def test_posts_take_no_query(api: ApiClient, subscriber: Subscriber, resource: str) -> None:
    path = "/api/v1/subscribers" if resource == "subscribers" else _path(subscriber)
    body = registration() if resource == "subscribers" else {"channel": "in_store"}
    response = api.post(f"{path}?dry_run=1", body)

    assert (response.status_code, response.json()["code"]) == (400, "unknown_parameter")
    assert _nothing_written()
    assert Subscriber.objects.count() == 1

"""The view class of every partner resource: token, scope, rate limit, actor, and `once` for what changes things."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, ClassVar, NoReturn

import orjson
import structlog
from django.core.files.uploadedfile import UploadedFile
from django.db import InterfaceError, OperationalError
from django.http import HttpResponse, QueryDict
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts import selectors
from apps.accounts import services as accounts
from apps.accounts.actors import partner_actor
from apps.accounts.api import limits
from apps.accounts.models import PartnerApp
from apps.accounts.services import Answer
from apps.core import clock, ratelimit, sealing
from apps.core.actor import Actor
from apps.core.api import formats, params
from apps.core.api.problems import ApiError
from apps.core.db import use_case
from apps.core.errors import Busy
from apps.core.faults import faultpoint

MAX_KEY_LENGTH = 255


class PartnerView(APIView):
    # No docstring: drf-spectacular would publish it as the description of every resource.
    # Subclasses say which scope each method needs (None: any valid token) and find who calls in `self.actor`;
    # `self.now` is read once per request, so that everything in it happens at one moment.

    scopes: ClassVar[Mapping[str, str | None]] = {}
    # No OPTIONS: what a resource can do is in the published schema.
    http_method_names = ["get", "head", "post", "patch", "delete"]

    actor: Actor
    partner_app: PartnerApp
    now: datetime
    _rate: ratelimit.Decision | None = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        self.now = clock.now()
        bearer = _authenticate(request, now=self.now)
        self.partner_app = bearer.app
        self.actor = partner_actor(bearer.app, scopes=bearer.scopes, request=request)
        structlog.contextvars.bind_contextvars(partner_app=bearer.app.uid)
        self._rate = limits.take(bearer.app)
        if not self._rate.allowed:
            raise limits.rate_limited(self._rate)
        self._check_scope(request, bearer.scopes)

    def once(self, request: Request, action: Callable[[], Response]) -> HttpResponse:
        """Runs the action in one transaction of its own, at most once per Idempotency-Key of this app.

        The answer is stored in the same transaction; the same key and request get it again, byte for byte, with
        `Idempotent-Replayed: true`. Any error undoes everything and frees the key. The key may be left out only of
        methods that are idempotent by themselves.

        :raises ApiError: 400 idempotency_key_missing, idempotency_key_invalid, unknown_parameter: what changes things
            takes no query parameters, and one that is not read must not be believed to count.
        :raises KeyReused: :raises KeyInProgress:
        """
        params.read(request, allowed=())
        key = request.headers.get("Idempotency-Key", "")
        if not key and request.method == "POST":
            raise ApiError(400, "idempotency_key_missing", "This request needs the header Idempotency-Key.")
        if len(key) > MAX_KEY_LENGTH:
            raise ApiError(
                400, "idempotency_key_invalid", f"An Idempotency-Key has 1 to {MAX_KEY_LENGTH} characters."
            )
        try:
            if not key:
                return _render(use_case(lambda: _answer(action()))(), replayed=False)
            answer, replayed = accounts.run_once(
                partner_app_id=self.partner_app.pk,
                key=key,
                fingerprint=_fingerprint(request),
                action=lambda: _answer(action()),
                now=self.now,
            )
        except _Refusal as refusal:
            return refusal.response
        faultpoint("place.after_commit")
        return _render(answer, replayed=replayed)

    def handle_exception(self, exc: Exception) -> Response:
        if isinstance(exc, OperationalError | InterfaceError):
            # Lock not available, deadlock, connection lost: the client may repeat the request with the same key.
            exc = Busy()
        return super().handle_exception(exc)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        if self._rate is not None:
            limits.set_headers(response, self.partner_app, self._rate)
        return response

    def _check_scope(self, request: Request, granted: frozenset[str]) -> None:
        method = "GET" if request.method == "HEAD" else str(request.method)
        if method.lower() not in self.http_method_names or not hasattr(self, method.lower()):
            return  # answered with 405
        needed = self.scopes[method]
        if needed is not None and needed not in granted:
            _refuse(
                403,
                "insufficient_scope",
                f"This needs the scope {needed}.",
                challenge=f'Bearer error="insufficient_scope", scope="{needed}"',
            )


def _authenticate(request: Request, *, now: datetime) -> selectors.Bearer:
    """RFC 6750 section 2.1: the token comes in the Authorization header and nowhere else."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        _refuse(401, "not_authenticated", "This needs a bearer token.", challenge='Bearer realm="kaihu"')
    bearer = selectors.get_bearer(token=token.strip(), now=now)
    if bearer is None:
        _refuse(
            401,
            "invalid_token",
            "The token is unknown, expired or revoked.",
            challenge='Bearer realm="kaihu", error="invalid_token"',
        )
    return bearer


def _refuse(status: int, code: str, detail: str, *, challenge: str) -> NoReturn:
    error = ApiError(status, code, detail)
    error.auth_header = challenge
    raise error


class _Refusal(Exception):
    """Carries an error answer that the action returned instead of raising out of the transaction, which it undoes."""

    def __init__(self, response: Response) -> None:
        self.response = response


def _answer(response: Response) -> Answer:
    if response.status_code >= 400:
        raise _Refusal(response)
    body = b"" if response.data is None else formats.dumps(response.data)
    return Answer(response.status_code, body, response.headers.get("Location", ""))


def _render(answer: Answer, *, replayed: bool) -> HttpResponse:
    response = HttpResponse(answer.body, status=answer.status, content_type="application/json")
    if answer.location:
        response["Location"] = answer.location
    if replayed:
        response["Idempotent-Replayed"] = "true"
    return response


def _fingerprint(request: Request) -> bytes:
    """Keyed hash of method, path and body as data, so that another order of members is still the same request.

    Keyed, because the body may hold an identity number and few unknown digits: a bare hash could be searched.
    """
    body = orjson.dumps(_as_data(request.data), option=orjson.OPT_SORT_KEYS)
    digest = hashlib.sha256(f"{request.method}\n{request.get_full_path()}\n".encode() + body).hexdigest()
    return sealing.keyed_hash(digest, purpose="accounts.idempotency")


def _as_data(sent: Any) -> Any:
    """Of a form with files: its fields, and the files by their content, whatever they are called."""
    if not isinstance(sent, QueryDict):
        return sent
    return {
        name: [_digest(value) if isinstance(value, UploadedFile) else value for value in values]
        for name, values in sent.lists()
    }


def _digest(file: UploadedFile[bytes]) -> str:
    file.seek(0)
    digest = hashlib.sha256(file.read()).hexdigest()
    file.seek(0)
    return digest

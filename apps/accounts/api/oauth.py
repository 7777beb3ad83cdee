"""`POST /oauth/token` (RFC 6749 section 4.4, client credentials only) and its metadata (RFC 8414).

oauthlib speaks the protocol; the validator below answers its questions from our apps.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import unquote_plus

from django.conf import settings
from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from oauthlib.common import Request as OAuthRequest
from oauthlib.oauth2 import (
    BackendApplicationServer,
    InvalidClientError,
    InvalidRequestError,
    OAuth2Error,
    RequestValidator,
)
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts import credentials, selectors
from apps.accounts import services as accounts
from apps.accounts.api import limits
from apps.accounts.errors import ClientChanged
from apps.accounts.models import PartnerApp
from apps.core import clock

_FORM = "application/x-www-form-urlencoded"
_ONCE_ONLY = ("client_id", "client_secret")


class ClientCredentialsValidator(RequestValidator):
    """Who the client is, and which scopes its app has."""

    def __init__(self, *, now: datetime) -> None:
        super().__init__()
        self.now = now

    def authenticate_client(self, request: OAuthRequest, *args: Any, **kwargs: Any) -> bool:
        """HTTP Basic or form fields (section 2.3.1); a client that uses both at once is refused, as it must be."""
        if any(name in request.duplicate_params for name in _ONCE_ONLY):
            raise InvalidRequestError(description="A parameter is given twice.", request=request)
        header = request.headers.get("Authorization", "")
        if header and request.client_secret:
            raise InvalidRequestError(description="Use one way of client authentication.", request=request)
        client_id, secret = _read_basic(header) if header else (request.client_id, request.client_secret)
        if not client_id or not secret:
            return False
        app = selectors.get_client(client_id=client_id)
        if app is None or not credentials.client_secret_matches(secret, app.client_secret):
            return False
        decision = limits.take(app)
        if not decision.allowed:
            raise limits.rate_limited(decision)
        request.client = app
        request.client_id = client_id
        return True

    def validate_grant_type(
        self,
        client_id: str,
        grant_type: str,
        client: PartnerApp,
        request: OAuthRequest,
        *args: Any,
        **kwargs: Any,
    ) -> bool:
        return grant_type == "client_credentials"

    def get_default_scopes(
        self, client_id: str, request: OAuthRequest, *args: Any, **kwargs: Any
    ) -> list[str]:
        return list(request.client.scopes)

    def validate_scopes(
        self,
        client_id: str,
        scopes: Iterable[str],
        client: PartnerApp,
        request: OAuthRequest,
        *args: Any,
        **kwargs: Any,
    ) -> bool:
        return set(scopes) <= set(client.scopes)

    def save_bearer_token(
        self, token: dict[str, Any], request: OAuthRequest, *args: Any, **kwargs: Any
    ) -> None:
        try:
            accounts.store_token(
                app=request.client,
                token=token["access_token"],
                scopes=request.scopes,
                expires_at=self.now + timedelta(seconds=token["expires_in"]),
            )
        except ClientChanged as error:
            raise InvalidClientError(description=error.detail, request=request) from None


class TokenView(APIView):
    """Errors are those of RFC 6749 section 5.2; a wrong method or media type is a problem as elsewhere."""

    http_method_names = ["post"]

    @extend_schema(exclude=True)
    def post(self, request: Request) -> HttpResponse:
        media_type = request.content_type.partition(";")[0].strip().lower()
        if media_type not in ("", _FORM):
            raise UnsupportedMediaType(media_type)
        server = BackendApplicationServer(
            ClientCredentialsValidator(now=clock.now()),
            token_generator=lambda _: credentials.new_token(),
            token_expires_in=settings.OAUTH2_PROVIDER["ACCESS_TOKEN_EXPIRE_SECONDS"],
        )
        try:
            if request.META.get("QUERY_STRING"):
                # Section 3.2: parameters come in the body. In a query they would end up in logs.
                raise InvalidRequestError(description="This endpoint takes no query.")
            _, body, status = server.create_token_response(
                request.path,
                http_method="POST",
                body=request.body.decode("latin-1"),
                headers={"Authorization": request.headers.get("Authorization", "")},
            )
        except OAuth2Error as error:
            body, status = error.json, error.status_code
        response = HttpResponse(body, status=status, content_type="application/json")
        response["Cache-Control"] = "no-store"
        if status == 401:
            response["WWW-Authenticate"] = 'Basic realm="kaihu"'
        return response


class MetadataView(APIView):
    """What a client library needs to find the rest (RFC 8414)."""

    http_method_names = ["get", "head"]

    @extend_schema(exclude=True)
    def get(self, request: Request) -> Response:
        issuer = settings.KAIHU_PUBLIC_URL
        return Response(
            {
                "issuer": issuer,
                "token_endpoint": f"{issuer}/oauth/token",
                "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
                "grant_types_supported": ["client_credentials"],
                "response_types_supported": [],
                "scopes_supported": list(settings.OAUTH2_PROVIDER["SCOPES"]),
                "service_documentation": f"{issuer}/docs",
            }
        )


def _read_basic(header: str) -> tuple[str, str]:
    """Client id and secret, each form-encoded as section 2.3.1 wants; empty when the header is something else."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        client_id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return unquote_plus(client_id), unquote_plus(secret)

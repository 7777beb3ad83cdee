"""Getting a token."""

from django.urls import path

from apps.accounts.api.oauth import MetadataView, TokenView

urlpatterns = [
    path("oauth/token", TokenView.as_view(), name="oauth-token"),
    path(".well-known/oauth-authorization-server", MetadataView.as_view(), name="oauth-metadata"),
]

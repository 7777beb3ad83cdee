"""All addresses: the partner API, OAuth, the carriers' callbacks, the admin, health."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from apps.core.api import health

admin.site.index_title = "Overview"

urlpatterns = [
    path("", RedirectView.as_view(url="/admin/")),
    path("admin/", admin.site.urls),
    path("", include("apps.accounts.api.oauth_urls")),
    path("api/v1/", include("apps.accounts.api.urls")),
    path("api/v1/", include("apps.numbering.api.urls")),
    path("api/v1/", include("apps.sims.api.urls")),
    path("api/v1/", include("apps.subscribers.api.urls")),
    path("api/v1/", include("apps.lines.api.urls")),
    path("api/v1/", include("apps.provisioning.api.urls")),
    path("carrier/callbacks/", include("apps.provisioning.api.callback_urls")),
    path("api/schema", SpectacularAPIView.as_view(), name="schema"),
    path("docs", SpectacularSwaggerView.as_view(url_name="schema"), name="docs"),
    path("healthz", health.alive),
    path("readyz", health.ready),
]

handler400 = "apps.core.api.fallbacks.bad_request"
handler403 = "apps.core.api.fallbacks.forbidden"
handler404 = "apps.core.api.fallbacks.not_found"
handler500 = "apps.core.api.fallbacks.server_error"

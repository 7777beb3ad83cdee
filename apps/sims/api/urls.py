"""SIM stock."""

from django.urls import path

from apps.sims.api.views import SimsView, SimView

urlpatterns = [
    path("sims", SimsView.as_view(), name="sims"),
    path("sims/<str:iccid>", SimView.as_view(), name="sim"),
]

"""Numbers and reservations."""

from django.urls import path

from apps.numbering.api.ranges import RangesView, RangeView
from apps.numbering.api.views import NumbersView, ReservationExtendView, ReservationsView, ReservationView

urlpatterns = [
    path("numbers", NumbersView.as_view(), name="numbers"),
    path("ranges", RangesView.as_view(), name="ranges"),
    path("ranges/<str:uid>", RangeView.as_view(), name="range"),
    path("reservations", ReservationsView.as_view(), name="reservations"),
    path("reservations/<str:uid>", ReservationView.as_view(), name="reservation"),
    path("reservations/<str:uid>/extend", ReservationExtendView.as_view(), name="reservation-extend"),
]

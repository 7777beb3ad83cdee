from django.urls import path

from apps.provisioning.api import disputes, views

urlpatterns = [
    path("holder-checks/<str:uid>/disputes", disputes.DisputeTheNumberView.as_view()),
    path("holder-disputes", disputes.DisputeListView.as_view()),
    path("holder-disputes/<str:uid>", disputes.DisputeView.as_view()),
    path("orders", views.OrderListView.as_view()),
    path("orders/<str:uid>", views.OrderView.as_view()),
    path("orders/<str:uid>/cancel", views.OrderCancelView.as_view()),
]

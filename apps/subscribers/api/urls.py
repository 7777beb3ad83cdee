"""Subscribers and verifications."""

from django.urls import path

from apps.subscribers.api import views

urlpatterns = [
    path("subscribers", views.SubscribersView.as_view(), name="subscribers"),
    path("subscribers/<str:subscriber_id>", views.SubscriberView.as_view(), name="subscriber"),
    path(
        "subscribers/<str:subscriber_id>/documents",
        views.SubscriberDocumentsView.as_view(),
        name="subscriber-documents",
    ),
    path(
        "subscribers/<str:subscriber_id>/verifications",
        views.SubscriberVerificationsView.as_view(),
        name="subscriber-verifications",
    ),
    path("verifications/<str:verification_id>", views.VerificationView.as_view(), name="verification"),
]

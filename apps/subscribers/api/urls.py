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
        "subscribers/<str:subscriber_id>/representatives",
        views.SubscriberRepresentativesView.as_view(),
        name="subscriber-representatives",
    ),
    path(
        "subscribers/<str:subscriber_id>/guardian",
        views.SubscriberGuardianView.as_view(),
        name="subscriber-guardian",
    ),
    path(
        "subscribers/<str:subscriber_id>/consents",
        views.SubscriberConsentsView.as_view(),
        name="subscriber-consents",
    ),
    path(
        "subscribers/<str:subscriber_id>/consents/<str:purpose>",
        views.SubscriberConsentView.as_view(),
        name="subscriber-consent",
    ),
    path(
        "subscribers/<str:subscriber_id>/verifications",
        views.SubscriberVerificationsView.as_view(),
        name="subscriber-verifications",
    ),
    path("verifications/<str:verification_id>", views.VerificationView.as_view(), name="verification"),
]

from django.urls import path

from apps.provisioning.api import views

urlpatterns = [
    path("orders", views.OrderListView.as_view()),
    path("orders/<str:uid>", views.OrderView.as_view()),
    path("orders/<str:uid>/cancel", views.OrderCancelView.as_view()),
]

from django.urls import path

from apps.lines.api import views

urlpatterns = [
    path("plans", views.PlanListView.as_view()),
    path("holder-checks", views.HolderChecksView.as_view()),
    path("lines", views.LineListView.as_view()),
    path("lines/<str:uid>", views.LineView.as_view()),
    path("lines/<str:uid>/actual-user", views.LineActualUserView.as_view()),
]

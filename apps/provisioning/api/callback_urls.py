from django.urls import path

from apps.provisioning.api.callback_views import CarrierCallbackView

urlpatterns = [path("<str:connection_uid>", CarrierCallbackView.as_view())]

"""Where host carriers call back: authenticated by their signature alone."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt

from apps.core import clock
from apps.core.api.problems import plain_problem
from apps.core.errors import NotFound
from apps.core.faults import faultpoint
from apps.provisioning import services


@method_decorator(csrf_exempt, name="dispatch")
class CarrierCallbackView(View):
    """POST /carrier/callbacks/{connection}: 200 when stored or known already, 401 when it is not the carrier's."""

    def post(self, request: HttpRequest, connection_uid: str) -> HttpResponse:
        try:
            services.receive_callback(
                connection_uid=connection_uid, headers=request.headers, body=request.body, now=clock.now()
            )
        except NotFound:
            return plain_problem(request, status=404, detail="There is no such connection.")
        except services.CallbackRefused as error:
            return plain_problem(request, status=401, code=error.code, detail=error.detail)
        faultpoint("callback.after_commit")
        return HttpResponse('{"status":"stored"}', content_type="application/json")

    def http_method_not_allowed(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        response = plain_problem(request, status=405, detail="Only POST.")
        response["Allow"] = "POST"
        return response

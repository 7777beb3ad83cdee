"""POST and GET /orders, GET /orders/{id}, POST /orders/{id}/cancel."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.http import HttpResponse
from django.utils.dateparse import parse_datetime
from drf_spectacular.utils import OpenApiParameter, PolymorphicProxySerializer, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.accounts.api.partner import PartnerView
from apps.core.api import etag, params
from apps.core.api.pagination import page
from apps.numbering.services import NumberCriteria
from apps.provisioning import selectors, services
from apps.provisioning.api.serializers import (
    ORDER_SERIALIZERS,
    OrderListSerializer,
    OrderSerializer,
    OrderTypeSerializer,
    show_order,
)
from apps.provisioning.models import ServiceOrder
from apps.provisioning.states import OrderStatus, OrderType

_ORDER_REQUEST = PolymorphicProxySerializer(
    "OrderRequest", {**ORDER_SERIALIZERS}, resource_type_field_name="type"
)


def _wish(data: dict[str, Any]) -> services.NumberWish:
    criteria = data.pop("number_criteria", None)
    return services.NumberWish(
        reservation=data.pop("reservation", None),
        number=data.pop("number", None),
        criteria=NumberCriteria(**criteria) if criteria else None,
    )


def _activate(view: PartnerView, data: dict[str, Any]) -> ServiceOrder:
    return services.place_activation_order(
        actor=view.actor,
        operator_id=view.partner_app.operator_id,
        wish=_wish(data),
        now=view.now,
        **data,
    )


def _change_number(view: PartnerView, data: dict[str, Any]) -> ServiceOrder:
    return services.place_number_change_order(actor=view.actor, wish=_wish(data), now=view.now, **data)


def _by(service: Callable[..., ServiceOrder]) -> Callable[[PartnerView, dict[str, Any]], ServiceOrder]:
    """The service takes what the body has, by the same names."""
    return lambda view, data: service(actor=view.actor, now=view.now, **data)


_PLACE: dict[str, Callable[[PartnerView, dict[str, Any]], ServiceOrder]] = {
    "activate": _activate,
    "suspend": _by(services.place_suspension_order),
    "resume": _by(services.place_resumption_order),
    "change_sim": _by(services.place_sim_change_order),
    "change_number": _change_number,
    "change_plan": _by(services.place_plan_change_order),
    "transfer": _by(services.place_transfer_order),
    "terminate": _by(services.place_termination_order),
}


class OrderListView(PartnerView):
    scopes = {"GET": "orders:read", "POST": "orders:write"}

    @extend_schema(
        operation_id="orders_list",
        responses=OrderListSerializer,
        parameters=[
            OpenApiParameter("status", str, enum=OrderStatus.values),
            OpenApiParameter("type", str, enum=[value.lower() for value in OrderType.values]),
            OpenApiParameter("line", str),
            OpenApiParameter("external_id", str),
            OpenApiParameter("created_after", datetime),
        ],
        tags=["orders"],
    )
    def get(self, request: Request) -> Response:
        """Your operator's orders, newest first."""
        filters = params.read(request, {"status", "type", "line", "external_id", "created_after"})
        orders = selectors.list_orders(
            actor=self.actor,
            status=_one_of(filters, "status", OrderStatus.values),
            type=_one_of(filters, "type", [value.lower() for value in OrderType.values], upper=True),
            line_uid=filters.get("line"),
            external_id=filters.get("external_id"),
            created_after=_moment(filters, "created_after"),
        )

        def with_steps(rows: list[ServiceOrder]) -> list[tuple[ServiceOrder, Any]]:
            steps = selectors.get_timelines(actor=self.actor, order_uids=[order.uid for order in rows])
            return [(order, steps[order.uid]) for order in rows]

        return page(
            request, orders, serialize=lambda pair: show_order(*pair), filters=filters, prepare=with_steps
        )

    @extend_schema(
        operation_id="orders_place", request=_ORDER_REQUEST, responses={202: OrderSerializer}, tags=["orders"]
    )
    def post(self, request: Request) -> HttpResponse:
        """Asks for an operation on a line; the answer says where to watch it."""
        return self.once(request, lambda: self._place(request))

    def _place(self, request: Request) -> Response:
        params.read(request, ())
        kind = OrderTypeSerializer(data=request.data)
        kind.is_valid(raise_exception=True)
        body = ORDER_SERIALIZERS[kind.validated_data["type"]](data=request.data)
        body.is_valid(raise_exception=True)
        data = dict(body.validated_data)
        order = _PLACE[data.pop("type")](self, data)
        return Response(
            _shown(self, order.uid), status=202, headers={"Location": f"/api/v1/orders/{order.uid}"}
        )


class OrderView(PartnerView):
    scopes = {"GET": "orders:read"}

    @extend_schema(operation_id="orders_get", responses=OrderSerializer, tags=["orders"])
    def get(self, request: Request, uid: str) -> Response:
        """One order with its jobs and timeline, with an ETag."""
        params.read(request, ())
        return etag.respond(request, _shown(self, uid))


class OrderCancelView(PartnerView):
    scopes = {"POST": "orders:write"}

    @extend_schema(
        operation_id="orders_cancel", request=None, responses={200: OrderSerializer}, tags=["orders"]
    )
    def post(self, request: Request, uid: str) -> HttpResponse:
        """Cancels what the carrier has not been told of."""
        return self.once(request, lambda: self._cancel(request, uid))

    def _cancel(self, request: Request, uid: str) -> Response:
        params.read(request, ())
        services.cancel_order(
            actor=self.actor,
            order=uid,
            precondition=lambda order: etag.require_match(request, _shown(self, order.uid)),
            now=self.now,
        )
        return Response(_shown(self, uid))


def _shown(view: PartnerView, uid: str) -> dict[str, Any]:
    order = selectors.get_order(actor=view.actor, uid=uid)
    return show_order(order, selectors.get_timelines(actor=view.actor, order_uids=[order.uid])[order.uid])


def _one_of(filters: dict[str, str], name: str, allowed: list[str], *, upper: bool = False) -> str | None:
    value = filters.get(name)
    if value is not None and value not in allowed:
        raise params.bad(name, f"One of {', '.join(allowed)}.")
    return value.upper() if value and upper else value


def _moment(filters: dict[str, str], name: str) -> datetime | None:
    text = filters.get(name)
    if text is None:
        return None
    try:
        moment = parse_datetime(text.replace(" ", "+"))
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise params.bad(name, "An RFC 3339 timestamp with an offset.")
    return moment

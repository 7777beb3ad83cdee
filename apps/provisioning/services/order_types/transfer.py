"""Another holder for a line. It counts as joining the network: the new one passes all checks (Order 25, 2013)."""

from __future__ import annotations

from datetime import datetime, timedelta

from apps.core.actor import Actor
from apps.core.db import operation
from apps.core.errors import NotFound
from apps.lines import selectors as line_selectors
from apps.lines import services as lines
from apps.lines.errors import HolderUnchanged
from apps.lines.models import Line
from apps.lines.states import LIVE_LINE, LineStatus
from apps.operators import policies
from apps.operators.policies import PolicyKey
from apps.provisioning import selectors
from apps.provisioning.errors import HolderNotVerified, LineDisputed, VerificationNotHolders
from apps.provisioning.models import ServiceOrder
from apps.provisioning.services.opening import (
    cancel_scheduled,
    hold,
    lock_free,
    require_free,
    require_not_failed,
    require_right,
    standing_of_check,
    start,
    write_down,
)
from apps.provisioning.services.order_types.papers import needs_papers, require_papers
from apps.provisioning.services.order_types.shape import OrderKind
from apps.provisioning.states import OrderType
from apps.subscribers import selectors as subscribers
from apps.subscribers.states import Standing


def _states_of(line: Line) -> tuple[LineStatus, ...]:
    """A detached line stands still until its user has registered for it, which is this order."""
    return LIVE_LINE if line.detached_at else (LineStatus.ACTIVE,)


def _require_another_holder(line: Line, person_id: int) -> None:
    """:raises HolderUnchanged: it is theirs; of a detached one they may say again that it is."""
    if person_id == line.subscriber_id and line.detached_at is None:
        raise HolderUnchanged


def _require_holders_check(actor: Actor, line: Line, uid: str | None, now: datetime) -> None:
    """Both sides prove who they are (domain 4.4): the present holder by the named check, or else by their latest.

    It may be as old as one for another SIM card, which takes a line over just as well. Of a detached line nobody is
    asked.

    :raises NotFound: no such check of this operator. :raises VerificationNotHolders: it is of somebody else.
    :raises HolderNotVerified: it has not passed, is too old, or a later one has failed.
    """
    if line.detached_at is not None:
        return
    hours = policies.get(operator_id=line.operator_id, key=PolicyKey.SIM_CHANGE_CHECK_HOURS, now=now)
    since = now - timedelta(hours=hours)
    if uid is None:
        if not subscribers.has_passed_since(subscriber_id=line.subscriber_id, since=since, now=now):
            raise HolderNotVerified
        return
    check = subscribers.get_verification(actor=actor, uid=uid)
    if check.subscriber_id != line.subscriber_id:
        raise VerificationNotHolders
    if standing_of_check(check, now) is not Standing.PASSED_FRESH or check.created_at < since:
        raise HolderNotVerified


@operation
def place_transfer_order(
    *,
    actor: Actor,
    line: str,
    subscriber: str,
    actual_user: str | None = None,
    holder_verification: str | None = None,
    external_id: str = "",
    now: datetime,
) -> ServiceOrder:
    """Takes a place of the new holder; once the carrier has the new name, the line moves there and the old is free.

    An organization has an `actual_user`, whose place is taken as well.

    HELD while the new holder's check is undecided. The present holder has passed one lately, which the caller may name.

    :raises NotFound: no such line or subscriber of this operator. :raises Forbidden: staff without orders.place.
    :raises LineNotActive: it is not running (a detached one needs not).
    :raises LineHasOpenOrder: :raises HolderUnchanged: :raises LineDisputed:
    :raises LicenceNotValid, AgreementNotValid: the operator may not take on anybody today (policy).
    :raises IdentityNotVerified, IdentityExpired: the new holder's last check failed, or is too old.
    :raises HolderNotVerified, VerificationNotHolders: the present holder has not been checked for this.
    :raises HolderLimitReached: all places of the new holder are filled. :raises CarrierNotConnected:
    :raises ActualUserMissing, ActualUserNotAccepted: see `lines.find_user`; as to being verified, `errors` says who.
    """
    require_right(actor, "orders.place")
    found = line_selectors.get_line(actor=actor, uid=line)
    person = subscribers.get_subscriber(actor=actor, uid=subscriber)
    if person.operator_id != found.operator_id:
        raise NotFound
    require_free(found, _states_of(found))
    _require_another_holder(found, person.pk)
    if needs_papers(order_type=OrderType.TRANSFER, operator_id=found.operator_id, now=now):
        require_papers(operator_id=found.operator_id, host_carrier_id=found.host_carrier_id, now=now)
    verification = subscribers.get_verification_state(subscriber_id=person.pk, now=now)
    require_not_failed(verification.standing)
    _require_holders_check(actor, found, holder_verification, now)
    user = lines.find_user(actor=actor, holder=person, uid=actual_user, now=now)
    places = lines.take_places(operator_id=found.operator_id, holder=person, user=user, now=now)
    locked = lock_free(found.pk, _states_of(found))
    # Since we looked it may have become theirs.
    _require_another_holder(locked, person.pk)
    if locked.subscriber_id != found.subscriber_id:
        raise VerificationNotHolders
    if selectors.is_disputed(line_id=locked.pk):
        raise LineDisputed
    lines.promise_places(actor=actor, places=places, line_id=locked.pk)
    order = write_down(
        actor=actor,
        line=locked,
        order_type=OrderType.TRANSFER,
        external_id=external_id,
        new_holder=person,
        new_user=user,
        now=now,
    )
    if verification.standing is Standing.PASSED_FRESH:
        start(actor=actor, order=order, verification_id=verification.verification_id, now=now)
    else:
        hold(actor=actor, order=order, now=now)
    return order


def _complete(actor: Actor, order: ServiceOrder, now: datetime) -> None:
    assert order.new_holder_id is not None  # noqa: S101 - constraint order_new_holder
    lines.transfer_line(
        actor=actor,
        line_id=order.line_id,
        subscriber_id=order.new_holder_id,
        user=order.new_user,
        now=now,
    )
    # The plans of the old holder are not the new one's.
    cancel_scheduled(actor=actor, line_id=order.line_id, reason="line_transferred", now=now)


def _undo(actor: Actor, order: ServiceOrder, reason: str, now: datetime) -> None:
    lines.release_promised_places(actor=actor, line_id=order.line_id)


KIND = OrderKind(complete=_complete, undo=_undo)

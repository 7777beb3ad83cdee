"""Review cases, questions about somebody's numbers, and disputes about them."""

from __future__ import annotations

from datetime import datetime

from apps.accounts.actors import actor_of_user
from apps.accounts.models import PartnerApp
from apps.accounts.states import Role
from apps.core.actor import Actor, ActorKind
from apps.lines import services as lines
from apps.lines.models import HolderCheck, Line
from apps.lines.services.holder_checks import Question
from apps.operators.models import VirtualOperator
from apps.provisioning import services as provisioning
from apps.provisioning.models import HolderDispute
from apps.subscribers import services
from apps.subscribers.models import ReviewCase, Subscriber, Verification
from apps.subscribers.realname.documents import DocumentType
from apps.subscribers.realname.providers.base import AuthorityAnswer, FaceAnswer
from tests.factories.accounts import given_user
from tests.factories.subscribers import SYSTEM, answering, given_subscriber, given_verification

REASON = "compared both pictures"


def given_staff(*, role: Role, operator: VirtualOperator, now: datetime) -> Actor:
    return actor_of_user(given_user(role=role, operator=operator, now=now))


def actor_of(app: PartnerApp) -> Actor:
    """The app with all its scopes."""
    return Actor(
        kind=ActorKind.PARTNER,
        id=app.uid,
        label=app.name,
        operator_id=app.operator_id,
        capabilities=frozenset(app.scopes),
    )


def given_doubt(
    *,
    operator: VirtualOperator,
    now: datetime,
    entered_by: Actor = SYSTEM,
    requested_by: Actor = SYSTEM,
    subscriber: Subscriber | None = None,
) -> ReviewCase:
    """A case about faces that are alike, but not enough."""
    person = subscriber or given_subscriber(operator=operator, now=now, actor=entered_by)
    check = given_verification(subscriber=person, now=now, actor=requested_by)
    services.run_due_verifications(clock=lambda: now, providers=answering(face=FaceAnswer.UNCERTAIN))
    return ReviewCase.objects.get(verification=check)


def given_failure(
    *,
    operator: VirtualOperator,
    now: datetime,
    authority: AuthorityAnswer = AuthorityAnswer.NAME_MISMATCH,
    face: FaceAnswer = FaceAnswer.MATCH,
    entered_by: Actor = SYSTEM,
    requested_by: Actor = SYSTEM,
) -> Verification:
    """A failed verification: the authority knows the number under another name."""
    person = given_subscriber(operator=operator, now=now, actor=entered_by)
    check = given_verification(subscriber=person, now=now, actor=requested_by)
    services.run_due_verifications(clock=lambda: now, providers=answering(authority, face))
    check.refresh_from_db()
    return check


def question_about(person: Subscriber, *, name: str = "") -> Question:
    document = person.documents.order_by("-id")[0]
    return Question(
        document_type=DocumentType(document.type), document_number=document.open_number(), name=name
    )


def given_holder_check(*, person: Subscriber, now: datetime, actor: Actor = SYSTEM) -> HolderCheck:
    return lines.ask_for_holdings(
        actor=actor,
        operator_id=person.operator_id,
        question=question_about(person),
        reason="at the counter with their card",
        now=now,
    )


def given_dispute(*, line: Line, now: datetime, actor: Actor = SYSTEM) -> HolderDispute:
    return provisioning.open_dispute(
        actor=actor, line=line.uid, statement="never heard of this number", now=now
    )

"""What staff do in the admin, in a real browser: log in, see their own, retry, decide, reveal, cancel, find."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from django.urls import reverse

from apps.accounts.models import User
from apps.accounts.states import Role
from apps.audit.models import AuditEvent
from apps.lines.models import Line
from apps.numbering.numbers import to_e164
from apps.operators.models import VirtualOperator
from apps.provisioning.models import ActivationJob, ServiceOrder
from apps.provisioning.services.jobs import Misconfigured
from apps.provisioning.states import JobStatus, OrderStatus, drain_queue
from apps.provisioning.tasks import continue_held_orders
from apps.subscribers import services as subscribers
from apps.subscribers.models import IdentityDocument, Verification
from apps.subscribers.realname.providers.base import FaceAnswer
from tests import broker
from tests.browser.conftest import Watched
from tests.factories.accounts import PASSWORD, given_partner_app
from tests.factories.provisioning import Seller
from tests.factories.subscribers import answering, given_subscriber, given_verification, resident_number

pytestmark = pytest.mark.django_db(transaction=True)

NAME = "上官婉儿"
REASON = "police request 2026/17"
LISTS = (
    "lines_line",
    "provisioning_serviceorder",
    "provisioning_activationjob",
    "numbering_phonenumber",
    "sims_simcard",
    "subscribers_subscriber",
)


def listing(name: str) -> str:
    return reverse(f"admin:{name}_changelist")


def page_of(name: str, key: object) -> str:
    return reverse(f"admin:{name}_change", args=(key,))


def shown_as(line: Line) -> dict[str, str]:
    """What each list shows of the line, and nobody else's."""
    full: Any = Line.objects.with_fittings().select_related("subscriber").get(pk=line.pk)
    number = to_e164(full.number)
    return dict(
        zip(LISTS, (number, number, number, number, full.iccid, full.subscriber.uid[-8:]), strict=True)
    )


@pytest.fixture
def dead_letter(seller: Seller) -> ActivationJob:
    """A job that waits for staff: the carrier does not accept our credentials."""
    order = seller.order()
    (claim,) = seller.claim()
    assert seller.record(claim, Misconfigured("carrier_unauthorized", "The carrier refuses our credentials."))
    job = order.jobs.get()
    assert job.is_dead_letter
    broker.take_all(drain_queue("unicom"))
    return job


@pytest.fixture
def review(seller: Seller, operator: VirtualOperator, now: datetime) -> Verification:
    """A doubtful check of a person, and an order that is held for it."""
    person = given_subscriber(operator=operator, now=now, name=NAME)
    verification = given_verification(subscriber=person, now=now)
    subscribers.run_due_verifications(clock=lambda: now, providers=answering(face=FaceAnswer.UNCERTAIN))
    assert seller.order(subscriber=person).status == OrderStatus.HELD
    verification.refresh_from_db()
    return verification


# --- Coming and going -----------------------------------------------------------------------------------------------
def test_logging_in_and_out(window: Callable[..., Watched], staff: Callable[[Role], User]) -> None:
    user, nobody = staff(Role.SUPPORT), window()
    page = nobody.open("/admin/")
    for password in ("not the password", PASSWORD):
        assert "Log in" in page.title()
        page.fill("[name=username]", user.username)
        page.fill("[name=password]", password)
        with page.expect_navigation():
            page.click("button[type=submit]")
        if password != PASSWORD:
            assert "Please enter the correct username and password" in nobody.text()
    assert page.title().startswith("Overview")
    page.evaluate("document.querySelector('form#logout-form, form[action*=logout]').submit()")
    page.wait_for_url("**/logout/")
    nobody.open(listing("lines_line"))
    assert "/admin/login/" in page.url
    # Without a destination the login leads to the overview.
    nobody.open("/admin/login/")
    page.fill("[name=username]", user.username)
    page.fill("[name=password]", PASSWORD)
    with page.expect_navigation():
        page.click("button[type=submit]")
    assert page.url.endswith("/admin/")


# --- Seeing ---------------------------------------------------------------------------------------------------------
def test_operator_staff_see_their_own_and_platform_staff_all(
    window: Callable[..., Watched], staff: Callable[[Role], User], seller: Seller, other_seller: Seller
) -> None:
    own, foreign = seller.active_line(), other_seller.active_line()
    ours, theirs = shown_as(own), shown_as(foreign)
    support, platform = window(staff(Role.SUPPORT)), window(staff(Role.PLATFORM))
    for name in LISTS:
        support.open(listing(name))
        if name == "numbering_phonenumber":
            # A thousand are listed, from the first on: the two are searched for.
            assert "Nothing matches" in support.open(f"{listing(name)}?q={theirs[name]}").inner_text("#empty")
            support.open(f"{listing(name)}?q={ours[name]}")
            platform.open(f"{listing(name)}?q={theirs[name]}")
        else:
            assert ours[name] in platform.open(listing(name)).inner_text("#result_list")
        assert theirs[name] in platform.page.inner_text("#result_list")
        shown = support.page.inner_text("#result_list")
        assert ours[name] in shown
        assert theirs[name] not in shown
        assert "张三丰" not in support.page.content()
    order, job = foreign.orders.get(), foreign.jobs.get()
    for name, key in (
        ("lines_line", foreign.pk),
        ("provisioning_serviceorder", order.pk),
        ("provisioning_activationjob", job.pk),
        ("subscribers_subscriber", foreign.subscriber_id),
    ):
        page = support.open(page_of(name, key))
        assert page.url.endswith("/admin/")
        assert not [text for text in theirs.values() if text in page.content()]


@pytest.mark.parametrize("role", list(Role))
def test_every_page_of_the_menu_is_sound(
    window: Callable[..., Watched],
    staff: Callable[[Role], User],
    seller: Seller,
    dead_letter: ActivationJob,
    review: Verification,
    role: Role,
) -> None:
    """It fits the window, shows nobody in clear, and (at the end) has asked nobody else and logged no complaint."""
    VirtualOperator.objects.filter(pk=seller.operator.pk).update(code="operator-of-a-long-name-98765")
    seller.active_line()
    number = review.document.open_number()
    person = window(staff(role))
    page = person.open("/admin/")
    paths = page.eval_on_selector_all("#nav-sidebar-apps a", "links => links.map(link => link.pathname)")
    assert len(paths) > (10 if role in (Role.SUPPORT, Role.ENGINEER) else 15)
    while paths:
        seen = person.open(paths.pop()).evaluate(_LOOK)
        assert "Error" not in seen["title"], page.url
        assert not [secret for secret in (NAME, number, "张三丰") if secret in seen["html"]], page.url
        assert seen["fits"], page.url
        if role is Role.OPERATOR_ADMIN and seen["row"]:
            # Each kind of row's own page once is enough.
            paths.append(seen["row"])


# Whether the page and its table fit the window, and where its first row leads.
_LOOK = """() => {
    const table = document.querySelector("#result_list")
    return {
        title: document.title,
        html: document.documentElement.outerHTML,
        fits: document.documentElement.scrollWidth <= window.innerWidth
            && (!table || table.scrollWidth <= table.parentElement.clientWidth),
        row: table ? table.querySelector("tbody th a").pathname : "",
    }
}"""


def test_filters_open_and_speak_the_words_of_the_api(
    window: Callable[..., Watched], staff: Callable[[Role], User], seller: Seller, review: Verification
) -> None:
    seller.active_line()
    support = window(staff(Role.SUPPORT))
    page = support.open(listing("provisioning_serviceorder"))
    assert page.locator("#result_list tbody").count() == 2
    page.click("a:has-text('Filters')")
    with page.expect_navigation():
        page.click("#changelist-filter a:text-is('HELD')")
    assert page.locator("#result_list tbody").count() == 1
    assert page.inner_text("#shortcuts [aria-current=page]") == "Held"
    page.fill("#searchbar", "ord_nothing")
    with page.expect_navigation():
        page.press("#searchbar", "Enter")
    assert "Nothing matches" in page.inner_text("#empty")


def test_dark_mode_is_dark(
    window: Callable[..., Watched], staff: Callable[[Role], User], seller: Seller
) -> None:
    line = seller.active_line()
    night = window(staff(Role.SUPPORT), color_scheme="dark")
    page = night.open(page_of("lines_line", line.pk))
    page.wait_for_selector("html.dark")
    lightness = "getComputedStyle(document.querySelector('{}')).{}"
    for element in ("#main", "section table", ".readonly", ".kaihu-link"):
        background = page.evaluate(lightness.format(element, "backgroundColor"))
        assert "255, 255, 255" not in background, element
        assert page.evaluate(lightness.format(element, "color")) != "rgb(0, 0, 0)", element


# --- Doing ----------------------------------------------------------------------------------------------------------
def test_retry_asks_why_and_queues_the_job_again(
    window: Callable[..., Watched], staff: Callable[[Role], User], dead_letter: ActivationJob
) -> None:
    engineer = window(staff(Role.ENGINEER))
    page = engineer.open(listing("provisioning_activationjob") + "?dead=1")
    page.locator("#result_list tbody th a").click()
    page.click("#buttons button")
    assert page.evaluate("document.querySelector('#buttons [name=reason]').validity.valueMissing")
    assert not AuditEvent.objects.filter(action="job.retry").exists()

    page.fill("#buttons [name=reason]", REASON)
    engineer.press("Retry")

    assert "on its way again" in engineer.text()
    assert page.locator("#buttons").count() == 0
    dead_letter.refresh_from_db()
    # Sent again or asked about first: what may have reached the carrier is the service's business.
    assert dead_letter.status in (JobStatus.QUEUED, JobStatus.IN_DOUBT)
    assert not dead_letter.is_dead_letter
    assert AuditEvent.objects.get(action="job.retry").reason == REASON
    (nudge,) = broker.take_all(drain_queue("unicom"))
    assert (nudge.task, nudge.kwargs) == ("provisioning.drain", {"connection_id": dead_letter.connection_id})


def test_a_support_agent_has_no_retry_and_cannot_forge_one(
    window: Callable[..., Watched], staff: Callable[[Role], User], dead_letter: ActivationJob
) -> None:
    support = window(staff(Role.SUPPORT))
    page = support.open(page_of("provisioning_activationjob", dead_letter.pk))
    assert "carrier_unauthorized" in support.text()
    assert page.locator("#buttons").count() == 0
    token = page.locator("[name=csrfmiddlewaretoken]").first.get_attribute("value")
    address = reverse("admin:provisioning_activationjob_press", args=(dead_letter.pk, "retry"))
    forged = page.request.post(
        f"{support.address}{address}",
        form={"csrfmiddlewaretoken": str(token), "reason": REASON},
        headers={"Referer": page.url},
    )
    assert forged.status == 403
    assert "Your role may not" in forged.text()
    dead_letter.refresh_from_db()
    assert dead_letter.status == JobStatus.FAILED
    assert not AuditEvent.objects.filter(action="job.retry").exists()
    assert broker.take_all(drain_queue("unicom")) == []


@pytest.mark.parametrize(
    ("button", "check", "order"),
    [("Let it pass", "PASSED", "IN_PROGRESS"), ("Let it fail", "FAILED", "FAILED")],
)
def test_compliance_decides_and_the_held_order_goes_on(
    window: Callable[..., Watched],
    staff: Callable[[Role], User],
    review: Verification,
    button: str,
    check: str,
    order: str,
) -> None:
    officer = window(staff(Role.COMPLIANCE))
    page = officer.open("/admin/")
    page.click("a:has-text('Reviews')")
    page.locator("#result_list tbody th a").click()
    assert "HELD" in page.inner_text("section[aria-label='Orders of the subscriber']")
    assert "Compare the pictures yourself" in page.inner_text("section[aria-label=Case]")
    assert "face_uncertain" in page.inner_text("section[aria-label='Checks, in their order']")

    officer.press("Take the case")
    page.fill(f"#buttons form:has-text('{button}') [name=reason]", REASON)
    officer.press(button)
    continue_held_orders(subject=review.uid)

    review.refresh_from_db()
    assert (review.status, ServiceOrder.objects.get().status) == (check, order)
    page = officer.open(page_of("subscribers_verification", review.pk))
    assert order in page.inner_text("section[aria-label='Orders of the subscriber']")
    assert REASON in page.inner_text("section[aria-label='Audit trail']")
    assert page.locator("#buttons").count() == 0


def test_an_identity_is_shown_once_and_written_down(
    window: Callable[..., Watched], staff: Callable[[Role], User], operator: VirtualOperator, now: datetime
) -> None:
    number = resident_number("110104")
    person = given_subscriber(operator=operator, now=now, name=NAME, number=number)
    document = IdentityDocument.objects.get(subscriber=person)
    user = staff(Role.COMPLIANCE)
    officer = window(user)
    address = page_of("subscribers_identitydocument", document.pk)
    page = officer.open(address)
    page.fill("#buttons [name=reason]", REASON)
    officer.press("Show in clear")
    assert NAME in page.inner_text("#shown")
    assert number in page.inner_text("#shown")

    for path in (
        address,
        listing("subscribers_identitydocument"),
        page_of("subscribers_subscriber", person.pk),
    ):
        assert number not in officer.open(path).content()
        assert NAME not in page.content()
    page.go_back()
    event = AuditEvent.objects.get(action="identity.reveal")
    assert (event.actor_id, event.target_id, event.reason) == (user.uid, document.uid, REASON)
    officer.open(listing("audit_auditevent"))
    page.click("#shortcuts a:has-text('Identities shown in clear')")
    page.wait_for_load_state()
    assert REASON in officer.text()


def test_cancelling_an_order_says_why(
    window: Callable[..., Watched], staff: Callable[[Role], User], review: Verification
) -> None:
    order = ServiceOrder.objects.get()
    support = window(staff(Role.SUPPORT))
    page = support.open(page_of("provisioning_serviceorder", order.pk))
    page.fill("#buttons [name=reason]", REASON)
    support.press("Cancel order")
    order.refresh_from_db()
    assert (order.status, order.reason) == (OrderStatus.CANCELLED, "cancelled_by_staff")
    assert AuditEvent.objects.get(action="order.cancel").reason == REASON
    assert "what it took is free again" in support.text()
    assert REASON in page.inner_text("section[aria-label=Timeline]")


def test_a_new_secret_has_to_be_meant_and_is_shown_once(
    window: Callable[..., Watched], staff: Callable[[Role], User], operator: VirtualOperator, now: datetime
) -> None:
    app, _ = given_partner_app(operator=operator, now=now)
    old = app.client_secret
    admin = window(staff(Role.OPERATOR_ADMIN))
    page = admin.open(page_of("accounts_partnerapp", app.pk))
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.click("#buttons button:has-text('New secret')")
    app.refresh_from_db()
    assert app.client_secret == old
    page.once("dialog", lambda dialog: dialog.accept())
    admin.press("New secret")
    app.refresh_from_db()
    assert app.client_secret != old
    secret = page.inner_text("#shown").partition("client_secret: ")[2]
    assert len(secret) > 30
    with page.expect_navigation():
        page.click("a:has-text('Back')")
    assert secret not in page.content()


def test_anything_is_found_from_any_page(
    window: Callable[..., Watched], staff: Callable[[Role], User], seller: Seller
) -> None:
    line = seller.active_line()
    number = shown_as(line)["lines_line"]
    support = window(staff(Role.SUPPORT))
    page = support.open(listing("sims_simcard"))
    page.click("#find")
    page.locator("#search-input-command").press_sequentially(number)
    with page.expect_navigation():
        page.click("#command-results a:has-text('Line')")
    assert page.url.endswith(page_of("lines_line", line.pk))
    page = support.open("/admin/")
    page.fill("#find-line input", line.uid)
    with page.expect_navigation():
        page.click("#find-line button")
    assert page.url.endswith(page_of("lines_line", line.pk))


# --- The partner API's pages ----------------------------------------------------------------------------------------
def test_the_api_s_pages_need_nobody_else(window: Callable[..., Watched], live_server: Any) -> None:
    reader = window()
    page = reader.open("/docs")
    page.wait_for_selector(".opblock-summary-path")
    text = reader.text()
    for told in (
        "holder_limit_reached",
        "order_not_cancellable",
        "IN_DOUBT",
        "ACKNOWLEDGED",
        "9001",
        "700004",
    ):
        assert told in text, told
    assert re.search(r"/api/v1/orders", text)
    page.locator(".opblock-summary").first.click()
    page.wait_for_selector(".opblock-body")

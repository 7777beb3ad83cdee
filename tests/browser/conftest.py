"""A real browser against the live server: pages that watch their own console and every request they send."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.test import Client
from playwright.sync_api import Browser, Page, Request, sync_playwright
from pytest_django.live_server_helper import LiveServer

from apps.accounts.models import User
from apps.accounts.states import Role
from apps.operators.models import VirtualOperator
from tests.factories.accounts import given_user
from tests.factories.provisioning import Seller, given_seller

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium, or one clear reason why not; KAIHU_REQUIRE_BROWSER=1 makes that reason a failure.

    Playwright's synchronous interface keeps an event loop in this thread, in which Django then refuses its ORM. Nothing
    here runs in that loop, so the refusal is switched off, for this package only and not a moment longer.
    """
    program = next((found for name in PROGRAMS if (found := shutil.which(name))), None)
    if program is None:
        reason = "no chromium here: `make browser` installs it"
        if os.environ.get("KAIHU_REQUIRE_BROWSER") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    # Chromium has no sandbox for root.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        chromium = playwright.chromium.launch(executable_path=program, args=arguments)
        yield chromium
        chromium.close()


@dataclass
class Watched:
    """One person's window, and what went wrong in it."""

    page: Page
    address: str
    strangers: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(10_000)
        self.page.on("request", self._sent)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on(
            "console",
            lambda said: (
                self.complaints.append(f"{said.type}: {said.text} ({self.page.url})")
                if said.type in ("error", "warning")
                else None
            ),
        )

    def open(self, path: str) -> Page:
        self.page.goto(f"{self.address}{path}")
        return self.page

    def text(self) -> str:
        return self.page.inner_text("body")

    def press(self, label: str) -> None:
        """A button of the row's page; waits for the answer."""
        with self.page.expect_navigation():
            self.page.click(f"#buttons button:has-text('{label}')")

    def check(self) -> None:
        """Nothing asked of anybody but our own server, and a silent console."""
        assert self.strangers == []
        assert self.complaints == []

    def _sent(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and parts.netloc != urlsplit(self.address).netloc:
            self.strangers.append(request.url)


@pytest.fixture
def window(browser: Browser, live_server: LiveServer) -> Iterator[Callable[..., Watched]]:
    """Opens a window, for a person who has logged in or for nobody yet; each is checked when the test is over."""
    opened: list[Watched] = []

    def open_window(user: User | None = None, *, color_scheme: str = "light") -> Watched:
        context = browser.new_context(viewport={"width": 1280, "height": 800}, color_scheme=color_scheme)
        if user is not None:
            client = Client()
            client.force_login(user)
            name = settings.SESSION_COOKIE_NAME
            context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": live_server.url}])
        opened.append(Watched(context.new_page(), live_server.url))
        return opened[-1]

    yield open_window
    for each in opened:
        each.page.context.close()
    for each in opened:
        each.check()


@pytest.fixture
def seller(operator: VirtualOperator, now: datetime) -> Seller:
    return given_seller(operator=operator, now=now, cards=5)


@pytest.fixture
def other_seller(other_operator: VirtualOperator, now: datetime) -> Seller:
    return given_seller(operator=other_operator, now=now, cards=5)


@pytest.fixture
def staff(operator: VirtualOperator, now: datetime) -> Callable[[Role], User]:
    """Somebody of that role: of `operator`, or of the platform."""

    def hire(role: Role) -> User:
        return given_user(role=role, operator=None if role is Role.PLATFORM else operator, now=now)

    return hire

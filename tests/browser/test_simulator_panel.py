"""The simulator's own page in a real browser: what it shows of each carrier, and that its knobs turn."""

from __future__ import annotations

import re

import httpx2
from playwright.sync_api import Browser, expect

from tests.simulator import http, read_state, running_simulator


def _unknown_lines(base_url: str, carrier: str, count: int) -> httpx2.Response:
    lines = {
        "drift": "unknown",
        "count": count,
        "app_key": "page-tests",
        "number": "17030000000",
        "iccid": "89860012260000000000",
        "plan": "M-FREE-19",
    }
    return http.post(f"{base_url}/_sim/drift", params={"carrier": carrier}, json=lines)


def test_one_carrier_is_looked_at_and_turned_without_the_others(browser: Browser) -> None:
    with running_simulator() as base_url:
        assert _unknown_lines(base_url, "mobile", 20).status_code == 200
        page = browser.new_page()
        page.goto(f"{base_url}/_sim/")
        expect(page.get_by_text("No line yet.")).to_be_visible()

        page.get_by_role("tab", name=re.compile("Mobile")).click()
        expect(page.get_by_text("17030000014")).to_be_visible()
        page.get_by_role("button", name="Next page").click()
        expect(page.get_by_text("17030000019")).to_be_visible()
        page.get_by_label("latency, ms").fill("37")
        page.get_by_role("button", name="Set on Mobile").click()
        expect(page.get_by_text("Set on Mobile.")).to_be_visible()
        page.get_by_label("What happens to them").select_option("closed")
        page.get_by_label("How many lines").fill("2")
        page.get_by_role("button", name="Change", exact=True).click()
        expect(page.get_by_text("Changed: 17030000000, 17030000001.")).to_be_visible()

        carriers = read_state(base_url)["carriers"]
        assert {name: state["knobs"]["latency_ms"] for name, state in carriers.items()} == {
            "unicom": 20,
            "mobile": 37,
            "telecom": 20,
        }
        assert carriers["mobile"]["lines"] == {"CLOSED": 2, "IN_SERVICE": 18}
        page.get_by_label("slow rate").fill("2")
        page.get_by_role("button", name="Set on all three").click()
        expect(page.get_by_text("slow_rate: a number from 0 to 1")).to_be_visible()
        page.close()

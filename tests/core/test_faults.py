"""The hooks of the fault suite: nothing without its settings, refused by production, each of them in its place."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter

import pytest

from apps.core import faults
from tests.simulator import ROOT

ALLOWED = ("KAIHU_FAULTS", "send.before:kill:1"), ("KAIHU_SABOTAGE", "no_fence")


def test_without_the_settings_of_the_suite_the_hooks_do_nothing() -> None:
    assert faults.faultpoint.__name__ == "nothing"
    assert not faults.sabotage("no_fence")


def test_every_point_and_every_sabotage_stands_in_the_code() -> None:
    found: Counter[str] = Counter()
    for path in (ROOT / "apps").rglob("*.py"):
        if path.name != "faults.py":
            found.update(re.findall(r'(?:faultpoint|sabotage)\("([^"]+)"', path.read_text()))
    assert set(found) == {*faults.POINTS, *faults.SABOTAGES}
    assert all(found[point] == 1 for point in faults.POINTS)


@pytest.mark.parametrize(
    "text", ["nowhere:kill:1", "send.before:tickle:1", "send.before:kill:often", "send.before"]
)
def test_a_misspelt_fault_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        faults.parse(text)


def test_a_point_strikes_on_its_visit_and_on_its_subject() -> None:
    points = faults.parse("send.before:raise:2,send.written:raise:=4711")
    points["send.before"].visit("")
    with pytest.raises(faults.Broken):
        points["send.before"].visit("")
    points["send.before"].visit("")
    points["send.written"].visit("17090004712")
    for _ in range(2):
        with pytest.raises(faults.Broken):
            points["send.written"].visit("17090004711")


@pytest.mark.parametrize(("name", "value"), ALLOWED)
def test_production_refuses_to_start_with_a_hook(name: str, value: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import config.settings.production"],
        cwd=ROOT,
        env={**os.environ, "KAIHU_ALLOWED_HOSTS": "kaihu.example", name: value},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert f"kaihu: {name} is set" in done.stderr


@pytest.mark.parametrize(("name", "value"), ALLOWED)
def test_other_settings_do_not_even_look(name: str, value: str) -> None:
    program = (
        "import django; django.setup(); from apps.core import faults; "
        "print(faults.faultpoint.__name__, faults.sabotage.__name__)"
    )
    for settings, expected in (
        ("test", "nothing never"),
        ("faults", "nothing sabotage"),
        ("faults", "faultpoint never"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={**os.environ, "DJANGO_SETTINGS_MODULE": f"config.settings.{settings}", name: value},
            capture_output=True,
            text=True,
            check=True,
        )
        if settings == "test" or (name == "KAIHU_SABOTAGE") == ("sabotage" in expected):
            assert done.stdout.strip() == expected

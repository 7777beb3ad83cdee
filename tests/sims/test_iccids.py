"""Card serial numbers as text."""

from __future__ import annotations

import pytest

from apps.sims.iccids import MalformedIccid, normalise


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("89860112345678901234", "89860112345678901234"),
        ("8986011234567890123", "8986011234567890123"),
        ("8986 0112 3456 7890 1234", "89860112345678901234"),
        ("8986-0112-3456-7890-123s", "8986011234567890123S"),
        ("\t8986011234567890123\u00a0", "8986011234567890123"),
        ("898600mfss yygxxxxxxp", "898600MFSSYYGXXXXXXP"),
    ],
)
def test_normalised(text: str, expected: str) -> None:
    assert normalise(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "898601123456789012",
        "898601123456789012345",
        "79860112345678901234",
        "8986011234567890123_",
        "8.98601E+18",
        "898601123456789０123",
        "8986011234567890123\n4",
        "8986011234567890ß12",
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(MalformedIccid):
        normalise(text)

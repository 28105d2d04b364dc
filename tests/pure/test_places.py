"""Where this machine keeps what it remembers of repositories."""

from __future__ import annotations

from pathlib import Path

import pytest

from safepoint.workflows.places import local_places


@pytest.mark.parametrize(
    ("environment", "cache", "state"),
    [
        ({"HOME": "/h"}, "/h/.cache/safepoint", "/h/.local/state/safepoint"),
        ({"HOME": "/h", "XDG_CACHE_HOME": "/c", "XDG_STATE_HOME": "/s"}, "/c/safepoint", "/s/safepoint"),
        (
            {"HOME": "/h", "XDG_CACHE_HOME": "c", "XDG_STATE_HOME": ""},
            "/h/.cache/safepoint",
            "/h/.local/state/safepoint",
        ),
        ({"HOME": "/h", "SAFEPOINT_STATE": "/own", "XDG_STATE_HOME": "/s"}, "/h/.cache/safepoint", "/own"),
    ],
)
def test_the_environment_says_where(environment: dict[str, str], cache: str, state: str) -> None:
    """$SAFEPOINT_STATE over $XDG_STATE_HOME over the home; relative ones are passed over."""
    places = local_places(environment)

    assert (places.cache, places.state) == (Path(cache), Path(state))


def test_a_user_without_a_home_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """And is not kept from working."""

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)

    places = local_places({})

    assert (places.cache, places.state) == (None, None)

"""Where on this machine safepoint keeps what it remembers: journals of plans, caches and state of repositories.

The one place that reads $SAFEPOINT_STATE and $XDG_*; a relative $XDG_* is passed over, as the XDG Base Directory
Specification says.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from safepoint.repository import Places


def state_directory(environment: Mapping[str, str] = os.environ) -> Path:
    """$SAFEPOINT_STATE, else $XDG_STATE_HOME/safepoint, else ~/.local/state/safepoint; RuntimeError without a home."""
    if stated := environment.get("SAFEPOINT_STATE"):
        return Path(stated)
    return _below("XDG_STATE_HOME", ".local/state", environment)


def cache_directory(environment: Mapping[str, str] = os.environ) -> Path:
    """$XDG_CACHE_HOME/safepoint, else ~/.cache/safepoint; RuntimeError without a home."""
    return _below("XDG_CACHE_HOME", ".cache", environment)


def local_places(environment: Mapping[str, str] = os.environ) -> Places:
    """For every repository that is opened here. A user without a home keeps nothing, and works all the same."""
    try:
        return Places(cache=cache_directory(environment), state=state_directory(environment))
    except RuntimeError:
        return Places()


def strategy_memory(environment: Mapping[str, str] = os.environ) -> Path | None:
    """Where strategies that were judged right are remembered; None for a user without a home."""
    try:
        return cache_directory(environment) / "strategies"
    except RuntimeError:
        return None


def _below(variable: str, default: str, environment: Mapping[str, str]) -> Path:
    base = environment.get(variable, "")
    if os.path.isabs(base):  # noqa: PTH117 - it is text that may be empty
        return Path(base) / "safepoint"
    home = environment.get("HOME")
    return (Path(home) if home else Path.home()) / default / "safepoint"

"""How grave a finding about a repository is, whoever finds it."""

from __future__ import annotations

from enum import Enum


class Severity(Enum):
    """What a finding says of the repository."""

    DAMAGED = "damaged"
    """Something that was stored is gone or was replaced."""
    UNKNOWN = "unknown"
    """Something could not be told, so nothing that depends on it may be called whole."""
    NOTICE = "notice"
    """Nothing is lost by it; somebody should know."""

"""How far a backup has been proven. Each level implies those before it."""

from __future__ import annotations

from enum import Enum


class ProofLevel(Enum):
    """stored < verified < restored < queried."""

    STORED = "stored"
    VERIFIED = "verified"
    RESTORED = "restored"
    QUERIED = "queried"

    @property
    def rank(self) -> int:
        """0 for stored, 3 for queried."""
        return list(ProofLevel).index(self)

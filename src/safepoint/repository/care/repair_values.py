"""What a repair will do, and what it did."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from safepoint.model.json_value import JsonObject
from safepoint.repository.care.finding import Finding


class RepairKind(Enum):
    """A way of repairing; in this order they are done."""

    FINISH = "finish"
    """An exchange that was interrupted is ended."""
    PUT_BACK = "put back"
    """A manifest that is missing is fetched from a sibling."""
    EXCHANGE = "exchange"
    """An object that does not open is exchanged for a sibling's."""
    COMMIT_AGAIN = "commit again"
    """A backup whose end does not open, or is gone, is committed once more: a sibling knows it as a backup."""
    INDEX = "index"
    """Packs that no index lists are listed, and indexes that do not open are superseded."""
    LINK = "link"
    """References to packs that are gone are led to packs that have their blobs."""
    REFILL = "refill"
    """The blobs of a damaged or missing pack are put into a new one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairAction:
    """One repair: of these objects, with the help of any of these repositories (their ids)."""

    kind: RepairKind
    objects: tuple[str, ...]
    text: str
    sources: tuple[str, ...] = ()

    def to_json(self) -> JsonObject:
        """Plain values."""
        return {
            "kind": self.kind.value,
            "objects": list(self.objects),
            "text": self.text,
            "sources": list(self.sources),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairPlan:
    """What would be repaired now, and what no copy that was given can help with."""

    actions: tuple[RepairAction, ...]
    hopeless: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """What was repaired, and what was not."""

    actions: tuple[RepairAction, ...] = ()
    blobs: int = 0
    unrepaired: tuple[Finding, ...] = ()

    def __add__(self, other: Repaired) -> Repaired:
        return Repaired(
            actions=self.actions + other.actions,
            blobs=self.blobs + other.blobs,
            unrepaired=self.unrepaired + other.unrepaired,
        )

"""What a restore is for, and what may be asked of it. Values; pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from safepoint.model.json_value import Json


class Purpose(Enum):
    """A copy that runs by itself; a standby that follows production; a directory that no server was started in."""

    COPY = "copy"
    STANDBY = "standby"
    EXPORT = "plain-directory"


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreOptions:
    """How a backup is put down: `tablespaces` are by oid, the others stay below `pg_tblspc`."""

    purpose: Purpose = Purpose.COPY
    promotes: bool = True
    is_delta: bool = False
    tablespaces: tuple[tuple[int, Path], ...] = ()

    def to_json(self) -> dict[str, Json]:
        """As it stands in a plan's arguments; `options_from_json` gives back an equal value."""
        return {
            "purpose": self.purpose.value,
            "promotes": self.promotes,
            "delta": self.is_delta,
            "tablespaces": [[oid, str(path)] for oid, path in self.tablespaces],
        }


PLAIN_COPY = RestoreOptions()


def options_from_json(value: Any) -> RestoreOptions:
    """The value that `to_json` wrote."""
    return RestoreOptions(
        purpose=Purpose(value["purpose"]),
        promotes=value["promotes"],
        is_delta=value["delta"],
        tablespaces=tuple((oid, Path(path)) for oid, path in value["tablespaces"]),
    )

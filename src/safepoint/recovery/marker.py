"""The marker of a restore that is not finished: whose copy it is, and which other directories belong to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from safepoint.files import write_durably
from safepoint.model.json_value import JsonObject

MARKER = "safepoint.restoring"


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """What a marker says; `tablespaces` are the directories outside, by oid."""

    system_identifier: str
    tablespaces: Mapping[int, Path]


def read_marker(directory: Path) -> Marker | None:
    """None when the directory is not marked; OSError, ValueError when it cannot be read."""
    try:
        found: Any = json.loads((directory / MARKER).read_bytes())
    except FileNotFoundError:
        return None
    if not isinstance(found, dict):
        raise ValueError(f"found {found!r}, expected an object")  # noqa: TRY004 - what is wrong is the text
    said = cast("dict[str, Any]", found)
    places = said.get("tablespaces")
    by_oid = cast("dict[str, Any]", places) if isinstance(places, dict) else {}
    return Marker(
        system_identifier=str(said.get("system_identifier")),
        tablespaces={int(oid): Path(str(path)) for oid, path in by_oid.items()},
    )


def write_marker(directory: Path, note: JsonObject, tablespaces: Mapping[int, Path]) -> None:
    """The directory is marked, durably; `note` says the rest. OSError."""
    said = {**note, "tablespaces": {str(oid): str(path) for oid, path in tablespaces.items()}}
    write_durably(directory / MARKER, json.dumps(said, indent=1).encode())

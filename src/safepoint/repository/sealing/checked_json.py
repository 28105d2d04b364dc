"""Small JSON objects that end with their own checksum, read strictly: the description, slots and generations.

The checksum finds accidents; what an attacker might change is sealed by whoever uses this module. An object is
accepted only when writing what was read gives the same bytes again, so no field can be hidden, repeated or reordered.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from blake3 import blake3

from safepoint import errors
from safepoint.model.json_value import Json, JsonObject
from safepoint.repository.sealing.seal import FORMAT_VERSION

LARGEST = 1 << 20
"""Bytes of such an object: more is never fetched, whatever lies in the store."""


def to_checked_json(value: Mapping[str, Json]) -> bytes:
    """One line: the version, the value's fields in their order, and the checksum of all that."""
    versioned = {"version": FORMAT_VERSION, **value}
    checked = {**versioned, "checksum": blake3(json.dumps(versioned).encode()).hexdigest()}
    return (json.dumps(checked) + "\n").encode()


def from_checked_json(name: str, data: bytes) -> Fields:
    """The fields without version and checksum; RP006 for a later format, RP005 when it is damaged."""
    if len(data) > LARGEST:
        raise damaged(name, f"more than {LARGEST} bytes", "fewer")
    try:
        value: Any = json.loads(data)
        version = value.pop("version")
        checksum = value.pop("checksum")
        again = to_checked_json(value)
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
        raise damaged(name, f"{len(data)} bytes that are no description", "JSON with version and checksum") from None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise errors.RP006.error(
            f"found format version {str(version)[:40]} in {name}, expected at most {FORMAT_VERSION}",
            hints=[errors.run("use the version of safepoint that wrote it, or a later one")],
        )
    if again != data:
        raise damaged(name, f"the checksum {str(checksum)[:16]}", "that of the other fields")
    return Fields(name, value)


def canonical(value: JsonObject) -> bytes:
    """The one spelling of a value that seals and signatures cover: sorted keys, no blanks, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


class Fields:
    """The fields of one JSON object, each taken once by its type; RP005 for any that is not as it must be."""

    def __init__(self, name: str, value: Mapping[str, Any]) -> None:
        self._name = name
        self._left = dict(value)
        self.all: Mapping[str, Any] = value

    def text(self, key: str, longest: int = 200) -> str:
        """Printable text, not empty."""
        value = self._take(key)
        if not isinstance(value, str) or not 0 < len(value) <= longest or not value.isprintable():
            raise self.wrong(key, value, f"1 to {longest} printable characters")
        return value

    def binary(self, key: str, length: int) -> bytes:
        """So many bytes, written as lower-case hexadecimal digits."""
        value = self.text(key, longest=2 * LARGEST)
        if len(value) != 2 * length or set(value) - set("0123456789abcdef"):
            raise self.wrong(key, value, f"{2 * length} hexadecimal digits")
        return bytes.fromhex(value)

    def number(self, key: str, least: int, most: int) -> int:
        """An integer in [least, most]."""
        value = self._take(key)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise self.wrong(key, value, f"a number from {least} to {most}")
        return value

    def instant(self, key: str) -> datetime:
        """An instant with its zone."""
        value = self.text(key)
        try:
            instant = datetime.fromisoformat(value)
        except ValueError:
            raise self.wrong(key, value, "an instant") from None
        if instant.tzinfo is None:
            raise self.wrong(key, value, "an instant with its zone")
        return instant

    def inner(self, key: str) -> Fields:
        """An object of its own."""
        value = self._take(key)
        if not isinstance(value, dict):
            raise self.wrong(key, value, "an object")
        return Fields(self._name, cast("dict[str, Any]", value))

    def names(self) -> tuple[str, ...]:
        """The fields that were not taken yet."""
        return tuple(self._left)

    def end(self) -> None:
        """RP005 when a field was not taken."""
        if self._left:
            raise damaged(self._name, f"the field {next(iter(self._left))[:40]!r}", "none of this name")

    def wrong(self, key: str, value: object, expected: str) -> errors.SafepointError:
        """RP005 with both values."""
        return damaged(self._name, f"{key} = {str(value)[:40]!r}", expected)

    def _take(self, key: str) -> object:
        if key not in self._left:
            raise damaged(self._name, f"no field {key!r}", "one")
        return self._left.pop(key)


def damaged(name: str, found: str, expected: str) -> errors.SafepointError:
    """RP005."""
    return errors.RP005.error(
        f"found {found} in {name}, expected {expected}",
        hints=[
            errors.ask("was the file edited or cut short?"),
            errors.run(f"put back {name} from a copy of this repository"),
        ],
    )

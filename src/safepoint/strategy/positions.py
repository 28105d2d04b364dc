"""Where each key and value of a TOML text stands, by a scan of our own (docs/adr/0001 says why).

The scan knows structure only: what a value means, and whether the text is TOML at all, is tomllib's business.
Invariants: for any text that tomllib accepts, and whose keys are at most 60 parts deep, the paths found are exactly
those of the parsed document; for any other text the scan still ends, with what it found before it was lost.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

KeyPath = tuple[str | int, ...]
"""Keys and, inside arrays, zero-based indexes: `("tier", "daily", "repository", 1)`."""

_DEEPEST = 60
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_QUOTED = re.compile(r'"(?:\\.|[^"\\\n])*"|' + r"'[^'\n]*'")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})|' + r"'''.*?'''(?:'{0,2})|" + _QUOTED.pattern,
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\n]+")
_SPACE = re.compile(r"[ \t]*")
_BLANK = re.compile(r"(?:[ \t\n]|#[^\n]*)*")


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """One-based line and column, counted in characters."""

    line: int
    column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeated:
    """A key or table that is written a second time, and where the first one stands."""

    path: KeyPath
    position: Position
    first: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class Positions:
    """Every path of a text with the position of its key and of its value; an array's item has its value's for both."""

    keys: Mapping[KeyPath, Position]
    values: Mapping[KeyPath, Position]
    repeated: tuple[Repeated, ...]

    def known(self, path: KeyPath) -> KeyPath:
        """The path itself, or its nearest ancestor that stands in the text."""
        while path and path not in self.keys:
            path = path[:-1]
        return path

    def of_key(self, path: KeyPath) -> Position:
        """Where the key, or its nearest ancestor, is written; the start of the text for the root."""
        return self.keys.get(self.known(path), Position(1, 1))

    def of_value(self, path: KeyPath) -> Position:
        """Where the value of the key, or of its nearest ancestor, begins."""
        return self.values.get(self.known(path), Position(1, 1))


def positions_of(text: str) -> Positions:
    """The positions of all keys, tables and values of a TOML text; of its readable beginning if it is not TOML."""
    scan = _Scan(text=text.replace("\r\n", "\n"))
    with suppress(_LostError):
        scan.document()
    starts = [0, *(match.end() for match in re.finditer("\n", scan.text))]

    def position(offset: int) -> Position:
        line = bisect_right(starts, offset)
        return Position(line, offset - starts[line - 1] + 1)

    return Positions(
        keys={path: position(offset) for path, offset in scan.keys.items()},
        values={path: position(offset) for path, offset in scan.values.items()},
        repeated=tuple(
            Repeated(path=path, position=position(offset), first=position(first))
            for path, offset, first in scan.repeated
        ),
    )


class _LostError(Exception):
    """The text is not TOML from here on."""


@dataclass(slots=True)
class _Scan:
    """A cursor over the text, and the offsets found so far."""

    text: str
    at: int = 0
    keys: dict[KeyPath, int] = field(default_factory=dict[KeyPath, int])
    values: dict[KeyPath, int] = field(default_factory=dict[KeyPath, int])
    declared: dict[KeyPath, int] = field(default_factory=dict[KeyPath, int])
    lengths: dict[KeyPath, int] = field(default_factory=dict[KeyPath, int])
    repeated: list[tuple[KeyPath, int, int]] = field(default_factory=list[tuple[KeyPath, int, int]])

    def document(self) -> None:
        """Read statements to the end of the text."""
        table: KeyPath = ()
        while self.skip(_BLANK) < len(self.text):
            if self.text[self.at] == "[":
                table = self.header()
            else:
                self.pair(table)

    def header(self) -> KeyPath:
        """Read `[a.b]` or `[[a.b]]`; the path of the table whose pairs follow."""
        is_array = self.text.startswith("[[", self.at)
        self.at += 2 if is_array else 1
        *ancestors, (name, offset) = self.dotted_key()
        self.take("]]" if is_array else "]")
        path: KeyPath = ()
        for part, start in ancestors:
            path = self.entered((*path, part), start)
        path = (*path, name)
        if is_array:
            return self.new_item(path, offset)
        if path in self.declared:
            self.repeated.append((path, offset, self.declared[path]))
        self.declared[path] = self.keys[path] = self.values[path] = offset
        return path

    def entered(self, path: KeyPath, offset: int) -> KeyPath:
        """Note a table that is mentioned on the way; inside an array of tables, its latest item."""
        self.keys.setdefault(path, offset)
        self.values.setdefault(path, offset)
        return (*path, self.lengths[path] - 1) if path in self.lengths else path

    def new_item(self, path: KeyPath, offset: int) -> KeyPath:
        self.keys.setdefault(path, offset)
        self.values.setdefault(path, offset)
        item = (*path, self.lengths.get(path, 0))
        self.lengths[path] = self.lengths.get(path, 0) + 1
        self.keys[item] = self.values[item] = offset
        return item

    def pair(self, table: KeyPath) -> None:
        """Read `a.b = value` and all that the value holds."""
        *ancestors, (name, offset) = self.dotted_key()
        for part, start in ancestors:
            table = (*table, part)
            self.keys.setdefault(table, start)
            self.values.setdefault(table, start)
        self.take("=")
        self.skip(_SPACE)
        path = (*table, name)
        if path in self.keys:
            self.repeated.append((path, offset, self.keys[path]))
        self.keys[path] = offset
        self.value(path)

    def dotted_key(self) -> list[tuple[str, int]]:
        """Read the parts of a key, each with its offset; never empty."""
        parts = [self.key_part()]
        while self.text.startswith(".", self.skip(_SPACE)):
            self.at += 1
            parts.append(self.key_part())
        return parts

    def key_part(self) -> tuple[str, int]:
        start = self.skip(_SPACE)
        if match := _BARE.match(self.text, start):
            self.at = match.end()
            return match[0], start
        token = self.match(_QUOTED)
        try:
            return tomllib.loads(f"key = {token}")["key"], start
        except tomllib.TOMLDecodeError as error:
            raise _LostError from error

    def value(self, path: KeyPath) -> None:
        """Read one value, and note where it and everything inside it begins."""
        if len(path) > _DEEPEST:
            raise _LostError
        self.values[path] = self.at
        first = self.text[self.at : self.at + 1]
        if first == "[":
            self.sequence("]", lambda index: self.item((*path, index)))
        elif first == "{":
            self.sequence("}", lambda _: self.pair(path))
        else:
            self.match(_STRING if first in {'"', "'"} else _SCALAR)

    def item(self, path: KeyPath) -> None:
        self.keys[path] = self.at
        self.value(path)

    def sequence(self, closing: str, read: Callable[[int], None]) -> None:
        """Read what stands between brackets, separated by commas; comments and newlines may stand anywhere."""
        self.at += 1
        index = 0
        while not self.text.startswith(closing, self.skip(_BLANK)):
            read(index)
            index += 1
            if not self.text.startswith(closing, self.skip(_BLANK)):
                self.take(",")
        self.at += len(closing)

    def skip(self, pattern: re.Pattern[str]) -> int:
        """Step over what may stand here, perhaps nothing; the offset behind it."""
        self.match(pattern)
        return self.at

    def match(self, pattern: re.Pattern[str]) -> str:
        """Step over what must stand here."""
        match = pattern.match(self.text, self.at)
        if match is None:
            raise _LostError
        self.at = match.end()
        return match[0]

    def take(self, expected: str) -> None:
        if not self.text.startswith(expected, self.skip(_SPACE)):
            raise _LostError
        self.at += len(expected)

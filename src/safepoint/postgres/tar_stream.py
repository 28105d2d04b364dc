"""The tar archives a base backup is sent in, read as they arrive.

Only what `src/port/tar.c` writes: ustar headers of regular files, directories and symbolic links, sizes in octal or
base 256. Anything else raises BK001: a backup is never made of bytes that were not understood.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from enum import Enum

from safepoint import errors

_BLOCK = 512


class EntryKind(Enum):
    """What an entry is, by its type flag."""

    FILE = b"0"
    SYMLINK = b"2"
    DIRECTORY = b"5"


@dataclass(frozen=True, slots=True, kw_only=True)
class TarEntry:
    """One member; `path` is relative and has no trailing slash."""

    path: str
    kind: EntryKind
    size: int
    mode: int


class ByteStream:
    """Chunks as they come, read in the sizes that are wanted. `fetch` returns b"" at the end."""

    def __init__(self, fetch: Callable[[], memoryview | bytes]) -> None:
        self._fetch = fetch
        self._chunks: deque[memoryview] = deque()
        self._available = 0
        self._is_over = False

    def read(self, count: int) -> bytes:
        """Exactly `count` bytes; fewer only at the end of the stream."""
        while self._available < count and not self._is_over:
            chunk = self._fetch()
            self._is_over = not len(chunk)
            self._chunks.append(memoryview(chunk))
            self._available += len(chunk)
        return self._take(min(count, self._available))

    def _take(self, count: int) -> bytes:
        parts: list[memoryview] = []
        self._available -= count
        while count:
            chunk = self._chunks.popleft()
            if len(chunk) > count:
                self._chunks.appendleft(chunk[count:])
                chunk = chunk[:count]
            parts.append(chunk)
            count -= len(chunk)
        return b"".join(parts)


def read_entries(stream: ByteStream, group: int) -> Generator[tuple[TarEntry, Generator[bytes]]]:
    """Each entry with its content in pieces of `group` bytes; content not consumed is skipped."""
    while (header := stream.read(_BLOCK)).strip(b"\0"):
        entry = _parse(header)
        pieces = _pieces(stream, entry, group)
        yield entry, pieces
        for _ in pieces:
            pass


def _pieces(stream: ByteStream, entry: TarEntry, group: int) -> Generator[bytes]:
    left = entry.size
    while left:
        piece = stream.read(min(group, left))
        if not piece:
            raise errors.BK001.error(f"found the stream ended within {entry.path}, expected {left} more bytes")
        left -= len(piece)
        yield piece
    stream.read(-entry.size % _BLOCK)


def _parse(header: bytes) -> TarEntry:
    if len(header) < _BLOCK or header[257:262] != b"ustar":
        raise errors.BK001.error(f"found {header[:8]!r}… in the base backup's stream, expected a tar header")
    if sum(header[:148]) + 8 * 0x20 + sum(header[156:]) != _number(header[148:156]):
        raise errors.BK001.error(f"found a tar header with a wrong checksum for {header[:100]!r}, expected a sound one")
    flag = header[156:157].replace(b"\0", b"0")
    try:
        kind = EntryKind(flag)
    except ValueError as error:
        raise errors.BK001.error(f"found tar entry type {flag!r}, expected a file, link or directory") from error
    name, prefix = _text(header[:100]), _text(header[345:500])
    return TarEntry(
        path=(f"{prefix}/{name}" if prefix else name).rstrip("/").removeprefix("./"),
        kind=kind,
        size=_number(header[124:136]) if kind is EntryKind.FILE else 0,
        mode=_number(header[100:108]) & 0o7777,
    )


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode(errors="surrogateescape")


def _number(field: bytes) -> int:
    if field[0] & 0x80:
        return int.from_bytes(field[1:], "big")
    return int(field.strip(b" \0") or b"0", 8)

"""Commits in WAL, found in Python: the walk of kernel.c, for machines that have no compiler. Slow, and right.

Source: PostgreSQL 15-18, src/include/access/xlog_internal.h (page headers), xlogrecord.h, xact.h (xl_xact_commit).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from safepoint.kernel.plain_crc32c import crc32c
from safepoint.kernel.shapes import PAGE_BYTES, Bytes, CommitSpan

_MAGICS = frozenset({0xD110, 0xD113, 0xD116, 0xD118})
"""Of PostgreSQL 15, 16, 17 and 18."""

_PAGE = struct.Struct("<HHIQI4x")
_RECORD = struct.Struct("<IIQBB2xI")
_LONG_HEADER = 40
_IS_CONTINUED, _IS_LONG = 0x0001, 0x0002
_TRANSACTION_MANAGER = 1
_COMMITS = frozenset({0x00, 0x30})
_HEADS = ((253, 3), (252, 5))
_SHORT_DATA, _LONG_DATA = 255, 254
_LENGTH = struct.Struct("<I")
_TIME = struct.Struct("<q")
_LSN_BITS = (1 << 64) - 1
_ALL = 0xFFFFFFFF
_SHORT = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    """Its contents lie in [contents, end), `remaining` of them to a record that began before (None: to none)."""

    contents: int
    end: int
    remaining: int | None


@dataclass(slots=True)
class _Reader:
    """A position in the contents of pages: `offset`, on the page whose contents end at `page_end`."""

    wal: bytes
    start: int
    offset: int = 0
    page_end: int = 0

    def page_at(self, offset: int) -> _Page | None:
        """The page of this very position that begins there; its contents may be cut short by the end of the bytes."""
        if offset + _PAGE.size > len(self.wal):
            return None
        magic, flags, _, address, remaining = _PAGE.unpack_from(self.wal, offset)
        if magic not in _MAGICS or address != (self.start + offset) & _LSN_BITS:
            return None
        contents = offset + (_LONG_HEADER if flags & _IS_LONG else _PAGE.size)
        end = min(offset + PAGE_BYTES, len(self.wal))
        found = _Page(contents=contents, end=end, remaining=remaining if flags & _IS_CONTINUED else None)
        return found if contents <= end else None

    def enter(self, page: _Page) -> None:
        """The next byte is the first of the page's contents."""
        self.offset, self.page_end = page.contents, page.end

    def pieces(self, left: int) -> Iterator[tuple[int, int]]:
        """The stretches of `left` bytes of a record from here on; they end early where pages do not fit together."""
        while left > self.page_end - self.offset:
            yield self.offset, self.page_end
            left -= self.page_end - self.offset
            page = self.page_at(self.page_end)
            if page is None or page.remaining != left:
                return
            self.enter(page)
        yield self.offset, self.offset + left
        self.offset += left

    def record(self, length: int) -> bytes | None:
        """All bytes of the record that begins here, None when they are not all there. The next record begins here."""
        found = b"".join(self.wal[begin:end] for begin, end in self.pieces(length))
        if len(found) < length:
            return None
        self.offset += -(self.start + self.offset) % 8
        return found if self.offset <= self.page_end else None

    def commits(self) -> Iterator[tuple[int, int]]:
        """From the record that begins here on: where each ends, and its time; as far as one follows the other."""
        while self.page_end - self.offset >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self.wal, self.offset)
            if length < _RECORD.size or (record := self.record(length)) is None:
                return
            time = _commit_time(record)
            if time is not None:
                yield (self.start + self.offset) & _LSN_BITS, time


def commits(wal: Bytes, start: int) -> CommitSpan | None:
    """The first and the last commit in WAL that begins at the LSN `start`, and the latest time; None without any."""
    found = list(_commits(wal.tobytes(), start))
    if not found:
        return None
    latest = max(time for _, time in found)
    return CommitSpan(len(found), *found[0], *found[-1], latest)


def _commits(wal: bytes, start: int) -> Iterator[tuple[int, int]]:
    boundary = -start % PAGE_BYTES
    while boundary < len(wal):
        reader = _Reader(wal, start)
        page = reader.page_at(boundary)
        if page is None:
            boundary += PAGE_BYTES
            continue
        reader.enter(page)
        if not page.remaining or reader.record(page.remaining) is not None:
            yield from reader.commits()
        # What stopped it lies on the page that ends here: go on with the next one.
        boundary += PAGE_BYTES * -(-(reader.page_end - boundary) // PAGE_BYTES)


def _commit_time(record: bytes) -> int | None:
    """When it was; None unless this is a commit, and sound."""
    _, _, _, info, manager, checksum = _RECORD.unpack_from(record)
    if manager != _TRANSACTION_MANAGER or info & 0x70 not in _COMMITS:
        return None
    at = _main_data(record)
    if at is None or at + _TIME.size > len(record):
        return None
    if _crc32c(record[_RECORD.size :] + record[: _RECORD.size - _LENGTH.size]) != checksum:
        return None
    return int(_TIME.unpack_from(record, at)[0])


def _crc32c(data: bytes) -> int:
    """Of few bytes byte by byte: to call numpy costs as much as some hundred of them."""
    if len(data) > _SHORT:
        return crc32c(np.frombuffer(data, np.uint8), 0)
    value = _ALL
    for byte in data:
        value = value >> 8 ^ _table()[(value ^ byte) & 0xFF]
    return value ^ _ALL


@cache
def _table() -> tuple[int, ...]:
    """The remainder of each byte: the CRC of that byte, turned around, without what its inversions add."""
    alone = (crc32c(np.array([byte ^ 0xFF], np.uint8), 0) for byte in range(256))
    return tuple(value ^ _ALL ^ _ALL >> 8 for value in alone)


def _main_data(record: bytes) -> int | None:
    """Where it begins, behind where the transaction was replicated from, and the one on top of it."""
    at = _RECORD.size
    for kind, length in _HEADS:
        at += length if record[at : at + 1] == bytes([kind]) else 0
    kind = record[at] if at < len(record) else None
    return at + 2 if kind == _SHORT_DATA else at + 5 if kind == _LONG_DATA else None

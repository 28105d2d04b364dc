"""Where the last whole record in a stretch of WAL ends: what a recovery to the end of that stretch must replay. Pure.

Reads record lengths and page headers only. Every byte given was flushed by the server and is sealed in the
repository, so a record is sound if, and only if, all its bytes are there.

Source: PostgreSQL 15-18, src/include/access/xlog_internal.h (page headers), src/include/access/xlogrecord.h,
src/backend/access/transam/xlogreader.c. Numbers are little-endian: every platform our binaries run on.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from safepoint.model.lsn import Lsn
from safepoint.postgres.wal_page import IS_CONTINUED, IS_LONG, LONG_HEADER_BYTES, SHORT_HEADER, aligned
from safepoint.postgres.wal_page import PAGE_BYTES as PAGE

_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    """A page's header: does a record go on here, with how many bytes, and where do its contents begin?"""

    is_continued: bool
    remaining: int
    first: int


def last_record_end(wal: bytes, start: Lsn) -> Lsn | None:
    """The end of the last record that is whole within `wal`, whose first byte is `start`, the first of a page.

    The LSN is one that `pg_last_wal_replay_lsn()` reaches. None when no record that begins in `wal` ends in it, and
    none that began before it does: look at more WAL.
    """
    position = _first_boundary(wal)
    if position is None:
        return None
    while (following := _after_record(wal, position)) is not None:
        position = following
    return start + position


def _first_boundary(wal: bytes) -> int | None:
    """The first position at which a record may begin: behind the one that began before, if that ends here."""
    page = _page_at(wal, 0)
    if page is None:
        return None
    return _skip_rest(wal, 0) if page.is_continued else page.first


def _after_record(wal: bytes, position: int) -> int | None:
    """Where the record that begins at `position` is followed by the next; None when it is not whole."""
    if position % PAGE == 0:
        page = _page_at(wal, position)
        if page is None or page.is_continued:
            return None
        position += page.first
    if position + _LENGTH.size > len(wal):
        return None
    (length,) = _LENGTH.unpack_from(wal, position)
    if length == 0:  # what follows a switch to the next segment
        return None
    room = PAGE - position % PAGE
    if length <= room:
        end = position + aligned(length)
        return end if position + length <= len(wal) else None
    return _continue_on(wal, position + room, length - room)


def _continue_on(wal: bytes, boundary: int, expected: int) -> int | None:
    """The end of a record of which `expected` bytes follow the page boundary.

    A page that continues nothing there was written after a crash: the record was never finished, and others follow.
    """
    page = _page_at(wal, boundary)
    if page is None:
        return None
    if not page.is_continued or page.remaining != expected:
        return boundary if not page.is_continued else None
    return _skip_rest(wal, boundary)


def _skip_rest(wal: bytes, boundary: int) -> int | None:
    """The end of the record that goes on at the page that begins at `boundary`, over as many pages as it takes."""
    while (page := _page_at(wal, boundary)) is not None and page.is_continued:
        room = PAGE - page.first
        if page.remaining <= room:
            end = boundary + page.first + page.remaining
            return boundary + page.first + aligned(page.remaining) if end <= len(wal) else None
        boundary += PAGE
    return None if page is None else boundary


def _page_at(wal: bytes, boundary: int) -> _Page | None:
    if boundary + SHORT_HEADER.size > len(wal):
        return None
    magic, flags, _, _, remaining = SHORT_HEADER.unpack_from(wal, boundary)
    if magic == 0:
        return None
    return _Page(
        is_continued=bool(flags & IS_CONTINUED),
        remaining=remaining,
        first=LONG_HEADER_BYTES if flags & IS_LONG else SHORT_HEADER.size,
    )

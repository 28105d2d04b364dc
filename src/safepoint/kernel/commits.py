"""The commits in a stretch of WAL. Needs no numpy where the library is compiled: an inline push has no time for it."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

from safepoint.kernel.library import open_library

Buffer = bytes | bytearray | memoryview
"""Contiguous bytes, read-only or not. They are read in place, and must not change meanwhile."""

_LSNS = 1 << 64
_POSITIONS, _TIMES = 3, 3


class CommitSpan(NamedTuple):
    """How many commits there are; where the first and the last of them end, when they were, and the latest time."""

    count: int  # pyright: ignore[reportIncompatibleMethodOverride] - tuple's own, which nobody asks a span for
    first_end: int
    first_time: int
    last_end: int
    last_time: int
    latest: int


def commits_in(wal: Buffer, start: int) -> CommitSpan | None:
    """The commits of WAL that begins at the LSN `start`, COMMIT PREPARED ones included; None when none is found.

    Positions are LSNs, each the end of a record: replay that has come there has the commit. Times are microseconds
    since 2000-01-01 UTC. Only records count that lie whole in `wal` and whose CRC is right; of a stretch that begins
    within a page, from the next page on. What cannot be read as WAL of PostgreSQL 15 to 18 is passed over, up to the
    next page. ValueError when `start` does not fit 64 bits.
    Source: PostgreSQL 15-18, src/include/access/xlog_internal.h, xlogrecord.h, xact.h (xl_xact_commit).
    """
    if not 0 <= start < _LSNS:
        raise ValueError(f"found {start}, expected an LSN of 64 bits")
    if (library := open_library()) is not None:
        if isinstance(wal, bytearray) or (isinstance(wal, memoryview) and not wal.readonly):
            content = (ctypes.c_char * len(wal)).from_buffer(wal)
            return compiled_commits(library, ctypes.addressof(content), len(wal), start)
        content = bytes(wal)  # of what may not be written ctypes gives no address but that of bytes
        return compiled_commits(library, content, len(content), start)
    import numpy as np  # noqa: PLC0415 - where nothing was compiled

    from safepoint.kernel.plain_commits import commits  # noqa: PLC0415

    return commits(np.frombuffer(wal, np.uint8), start)


def compiled_commits(library: ctypes.CDLL, address: int | bytes, size: int, start: int) -> CommitSpan | None:
    """As `commits_in`, of `size` bytes at an address, or of those bytes, by the compiled library."""
    fill = library.safepoint_commits
    fill.argtypes, fill.restype = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint64, ctypes.c_void_p), None
    result = (ctypes.c_int64 * (_POSITIONS + _TIMES))()
    fill(address, size, start, ctypes.addressof(result))
    count, first_end, last_end = (number % _LSNS for number in result[:_POSITIONS])
    first_time, last_time, latest = result[_POSITIONS:]
    return CommitSpan(count, first_end, first_time, last_end, last_time, latest) if count else None

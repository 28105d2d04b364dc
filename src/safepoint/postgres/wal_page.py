"""The headers of WAL pages, as they lie on disk: who wrote a page, and where it belongs. Pure.

Numbers are little-endian: every platform our binaries run on.
Source: PostgreSQL 15-18, src/include/access/xlog_internal.h; c.h (MAXALIGN).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from safepoint.model.lsn import Lsn, TimelineId

PAGE_BYTES = 8192
"""XLOG_BLCKSZ as everyone builds it; the first page of a segment says which it is."""

IS_CONTINUED = 0x0001
"""XLP_FIRST_IS_CONTRECORD: a record goes on here that began on the page before."""

IS_LONG = 0x0002
"""XLP_LONG_HEADER: the first page of a segment."""

SHORT_HEADER = struct.Struct("<HHIQI4x")
"""Magic, flags, timeline, address, bytes that remain of a record that goes on here. Contents begin behind it."""

_LONG_HEADER = struct.Struct("<HHIQI4xQII")
LONG_HEADER_BYTES = _LONG_HEADER.size
_ALIGNMENT = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class LongHeader:
    """What the first page of a segment says of itself. Sizes in bytes; nothing of it is checked."""

    magic: int
    flags: int
    timeline: TimelineId
    address: Lsn
    system_identifier: int
    segment_size: int
    page_size: int

    @property
    def is_long(self) -> bool:
        """It is one: the fields behind the address mean what they are named for."""
        return bool(self.flags & IS_LONG)


def long_header(page: bytes | memoryview) -> LongHeader:
    """The header with which these bytes begin; ValueError when they are too few for one."""
    if len(page) < LONG_HEADER_BYTES:
        raise ValueError(f"found {len(page)} bytes, expected {LONG_HEADER_BYTES} at least")
    magic, flags, timeline, address, _, identifier, segment_size, page_size = _LONG_HEADER.unpack_from(page)
    return LongHeader(
        magic=magic,
        flags=flags,
        timeline=TimelineId(timeline),
        address=Lsn(address),
        system_identifier=identifier,
        segment_size=segment_size,
        page_size=page_size,
    )


def aligned(count: int) -> int:
    """The position, or number of bytes, rounded up to where the next record may begin."""
    return -(-count // _ALIGNMENT) * _ALIGNMENT

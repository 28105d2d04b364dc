"""A file that PostgreSQL wants archived: what its name promises, and whether its bytes keep that. Pure.

A segment's first page says whose it is: cluster, timeline, address, sizes. Every page after it says its own address; a
segment that was closed early (pg_switch_wal) ends in pages of zeros, behind which nothing follows.

Source: PostgreSQL 15 to 18, src/include/access/xlog_internal.h; src/backend/access/transam/xlog.c
(CopyXLogRecordToWAL on the zeros behind a switch), xlogarchive.c and timeline.c on the names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from safepoint import errors
from safepoint.model.history import Ancestor
from safepoint.model.lsn import TimelineId, WalSegment
from safepoint.postgres.wal_page import SHORT_HEADER, LongHeader, long_header

Content = bytes | memoryview
"""Of a file in pg_wal. A view is lent: it is good until the call that it was given to has returned."""

MAGIC_OF: Mapping[int, int] = {15: 0xD110, 16: 0xD113, 17: 0xD116, 18: 0xD118}
"""XLOG_PAGE_MAGIC of each major; it never changes within one."""

KEPT = "nothing was stored, and the server was told to keep the file"
"""What every refusal says of the file that PostgreSQL asked for."""

_SEGMENT = r"[0-9A-F]{24}"
_MEBIBYTE = 1 << 20
_SEGMENT_SIZES = frozenset(_MEBIBYTE << power for power in range(11))
_PAGE_SIZES = frozenset(1024 << power for power in range(7))
_ZEROS = bytes(65536)


class FileKind(Enum):
    """What archive_command is given."""

    SEGMENT = re.compile(_SEGMENT)
    PARTIAL = re.compile(rf"{_SEGMENT}\.partial")
    HISTORY = re.compile(r"[0-9A-F]{8}\.history")
    LABEL = re.compile(rf"{_SEGMENT}\.[0-9A-F]{{8}}\.backup")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Whose files they must be: the cluster's system identifier and its major version."""

    cluster: str
    major: int


def kind_of_file(name: str) -> FileKind:
    """What the file is by its name; WL007 for a name that PostgreSQL gives to no such file."""
    for kind in FileKind:
        if kind.value.fullmatch(name):
            return kind
    raise errors.WL007.error(
        f"found a file named {name!r}, expected a WAL segment, a history or a backup label",
        changed=KEPT,
        hints=[errors.ask("is the command called with %p, as PostgreSQL's archive_command?")],
    )


def timeline_of_file(name: str) -> TimelineId:
    """The timeline in the name of a file of any kind."""
    return TimelineId(int(name[:8], 16))


def segment_of(name: str, data: Content, origin: Origin) -> WalSegment:
    """The segment that the file `name` (of a whole segment, or a `.partial`) holds, by its own first page.

    WL001 when it is another cluster's or another major's, WL007 when its page is none of this segment's. Of the
    timeline see `require_timeline`.
    """
    header = _first_header(name, data, origin)
    size = header.segment_size
    if str(header.system_identifier) != origin.cluster:
        raise errors.WL001.error(
            f"found WAL of cluster {header.system_identifier} in {name}, expected cluster {origin.cluster}",
            changed=KEPT,
            hints=[errors.ask("was a file of another server copied into pg_wal?")],
        )
    if size not in _SEGMENT_SIZES or len(data) != size:
        raise _wrong(name, f"{len(data)} bytes and a segment size of {size}", "a whole segment")
    segment = WalSegment.parse(name[:24], size)
    if header.address != segment.start:
        raise _wrong(name, f"a first page at {header.address}", f"one at {segment.start}")
    return segment


def require_timeline(segment: WalSegment, data: Content, ancestors: Sequence[Ancestor]) -> None:
    """WL007 unless the first page was written on the timeline that had this position in the segment's history."""
    found = long_header(data).timeline
    expected = next((each.timeline for each in ancestors if segment.start < each.switch), segment.timeline)
    if found != expected:
        raise _wrong(segment.name, f"a first page of timeline {found}", f"one of timeline {expected}")


def require_pages(segment: WalSegment, data: Content) -> None:
    """WL007 unless every page is the one of its position, or zeros behind which no other page follows."""
    header = long_header(data)
    if _are_in_place(segment, data, header):
        return
    for at in range(header.page_size, len(data), header.page_size):
        magic, _, _, address, _ = SHORT_HEADER.unpack_from(data, at)
        if magic == header.magic and address == segment.start.value + at:
            continue
        if _is_zero(data, at):
            return
        raise _wrong(
            segment.name, f"no page of this position {at} bytes from its start", f"the page at {segment.start + at}"
        )


def _are_in_place(segment: WalSegment, data: Content, header: LongHeader) -> bool:
    """Whether every page has the magic and the address that it should, all looked at at once: nearly always so."""
    view, start, page = memoryview(data), segment.start.value, header.page_size
    addresses = view.cast("Q")[1 :: page // 8].tolist()
    magics = view.cast("H")[:: page // 2].tolist()
    return addresses == [*range(start, start + len(data), page)] and magics.count(header.magic) == len(magics)


def _is_zero(data: Content, start: int) -> bool:
    pieces = (bytes(data[at : at + len(_ZEROS)]) for at in range(start, len(data), len(_ZEROS)))
    return all(piece == _ZEROS[: len(piece)] for piece in pieces)


def _first_header(name: str, data: Content, origin: Origin) -> LongHeader:
    try:
        header = long_header(data)
    except ValueError:
        raise _wrong(name, f"{len(data)} bytes", "a whole segment") from None
    magic, page = header.magic, header.page_size
    if magic in MAGIC_OF.values() and magic != MAGIC_OF.get(origin.major):
        major = next(major for major, known in MAGIC_OF.items() if known == magic)
        raise errors.WL001.error(
            f"found WAL of PostgreSQL {major} in {name}, expected {origin.major}, the major of the data directory",
            changed=KEPT,
            hints=[errors.ask("was a file of another server, or from before pg_upgrade, copied into pg_wal?")],
        )
    if magic != MAGIC_OF.get(origin.major) or not header.is_long or page not in _PAGE_SIZES or len(data) % page:
        raise _wrong(name, f"a first page that begins {data[:4].hex()}", "a segment's first page")
    return header


def _wrong(name: str, found: str, expected: str) -> errors.SafepointError:
    return errors.WL007.error(
        f"found {found} in {name}, expected {expected}",
        changed=KEPT,
        hints=[
            errors.ask("has the disk lost or changed bits, or was the file put there by hand?"),
            errors.run("take a new backup: WAL behind this file cannot be replayed without it"),
        ],
    )

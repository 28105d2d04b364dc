"""Where a named restore point lies in WAL: searched for newest first, before anything is restored.

WAL is read without its page headers, so that a record is one run of bytes; what looks like the record of a restore
point of that name is one when pg_waldump says so, where that program is at hand.
Source: PostgreSQL 15-18, src/include/access/xlogrecord.h, src/include/access/xlog_internal.h (xl_restore_point).
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from safepoint import errors
from safepoint.model.coverage import Interval, WalPiece
from safepoint.model.lsn import Lsn, TimelineId, WalSegment
from safepoint.postgres.binaries import Binaries
from safepoint.postgres.programs import current_user, run_program
from safepoint.postgres.wal_page import LONG_HEADER_BYTES, SHORT_HEADER, aligned
from safepoint.postgres.wal_page import PAGE_BYTES as PAGE
from safepoint.recovery.refusals import newness
from safepoint.recovery.staging import HeldWal, held_wal
from safepoint.repository import Repository

_HEADER = struct.Struct("<IIQBB2xI")
_NAME_BYTES = 64
_DATA_BYTES = 8 + _NAME_BYTES
_BEFORE_NAME = _HEADER.size + 2 + 8
_RECORD_BYTES = _HEADER.size + 2 + _DATA_BYTES
_SHORT_DATA = 255
_XLOG, _RESTORE_POINT = 0, 0x70
_READERS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class RestorePoint:
    """A named restore point on a timeline: its record is [start, end)."""

    name: str
    timeline: TimelineId
    start: Lsn
    end: Lsn


def find_restore_point(
    repository: Repository,
    pieces: Sequence[WalPiece],
    intervals: Sequence[Interval],
    name: str,
    *,
    segment_size: int,
    binaries: Binaries,
) -> RestorePoint:
    """The newest of that name in what the intervals lead through, the newest timeline first; RC008 when there is none.

    WL002, RP004 and RP005 when WAL that must be searched is missing or damaged: nobody knows what is in it.
    """
    searched: set[WalSegment] = set()
    for interval in sorted(intervals, key=lambda interval: (-newness(interval)[0].value, interval.start)):
        wal = held_wal(repository, pieces, interval.path, segment_size)
        for segment, content in _stretches(wal, searched):
            for point in restore_points_in(content, segment, name):
                if _is_confirmed(wal, point, binaries):
                    return point
    raise errors.RC008.error(
        f"found no restore point {name!r} in {len(searched)} segments of WAL, expected one",
        hints=[
            errors.ask("is the name spelt as it was given to `pg_create_restore_point`, and was that after a backup?"),
            errors.run("restore to the time it was made at instead: `--to TIME`"),
        ],
    )


def restore_points_in(content: bytes, segment: WalSegment, name: str) -> Iterator[RestorePoint]:
    """Those whose record begins in the segment, newest first; `content` is its WAL and, behind it, more that follows.

    Page headers are in it; it begins with the segment's first page.
    """
    run = without_headers(content)
    wanted = name.encode() + b"\0"
    at = run.rfind(wanted)
    while at >= 0:
        start = at - _BEFORE_NAME
        if start >= 0 and _is_restore_point(run, start) and position(segment.start, start) < segment.end:
            last = position(segment.start, start + _RECORD_BYTES - 1)
            if last >= segment.end:  # where a page has the long header that was cut to a short one
                last += LONG_HEADER_BYTES - SHORT_HEADER.size
            end = Lsn(aligned(last.value + 1))
            yield RestorePoint(name=name, timeline=segment.timeline, start=position(segment.start, start), end=end)
        at = run.rfind(wanted, 0, at + len(wanted) - 1)


def without_headers(content: bytes) -> bytes:
    """The pages' contents in a row; the first page has a long header."""
    pages = range(PAGE, len(content), PAGE)
    return content[LONG_HEADER_BYTES:PAGE] + b"".join(content[page + SHORT_HEADER.size : page + PAGE] for page in pages)


def position(first: Lsn, offset: int) -> Lsn:
    """Where the byte of `without_headers` stands, in WAL that begins at `first` with a long header."""
    room = PAGE - LONG_HEADER_BYTES
    if offset < room:
        return first + LONG_HEADER_BYTES + offset
    page, within = divmod(offset - room, PAGE - SHORT_HEADER.size)
    return first + (page + 1) * PAGE + SHORT_HEADER.size + within


def _is_restore_point(run: bytes, start: int) -> bool:
    if start + _RECORD_BYTES > len(run):
        return False
    length, _, _, info, manager, _ = _HEADER.unpack_from(run, start)
    head = run[start + _HEADER.size : start + _HEADER.size + 2]
    is_ours = (length, manager, info & 0xF0) == (_RECORD_BYTES, _XLOG, _RESTORE_POINT)
    return is_ours and head == bytes([_SHORT_DATA, _DATA_BYTES])


def _stretches(wal: HeldWal, searched: set[WalSegment]) -> Iterator[tuple[WalSegment, bytes]]:
    """Each segment not searched yet, backwards, with the first page of the one that follows it in this way."""
    segments = [segment for segment in wal.segments() if segment not in searched]
    following = b""
    with ThreadPoolExecutor(_READERS, thread_name_prefix="safepoint-wal") as pool:
        for at in range(len(segments), 0, -_READERS):
            batch = segments[max(0, at - _READERS) : at][::-1]
            for segment, content in zip(batch, pool.map(wal.read, batch), strict=True):
                yield segment, content + following
                # The first page of a segment has a long header; cut to what a short one leaves.
                following = _as_short(content[:PAGE])
                searched.add(segment)


def _as_short(page: bytes) -> bytes:
    """The page as if its header were short: the contents keep their order and all but their length."""
    return page[: SHORT_HEADER.size] + page[LONG_HEADER_BYTES:]


def _is_confirmed(wal: HeldWal, point: RestorePoint, binaries: Binaries) -> bool:
    """What pg_waldump says; a server package without that program leaves it at the record's shape."""
    program = binaries.directory / "pg_waldump"
    if not program.exists():
        return True
    with tempfile.TemporaryDirectory(prefix="safepoint-") as folder:
        for segment in wal.segments():
            if segment.start < point.end and segment.end > point.start:
                # Where the record goes on behind a switch, its bytes are the same on both timelines.
                name = WalSegment(point.timeline, segment.number, segment.size).name
                (Path(folder) / name).write_bytes(wal.read(segment))
        command = [program, "--path", folder, "--timeline", str(point.timeline)]
        answer = run_program(current_user(), [*command, "--start", str(point.start), "--limit", "1"], check=False)
    return f"RESTORE_POINT {point.name}" in answer.stdout

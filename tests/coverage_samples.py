"""Backups, pieces of WAL and marks of a cluster with segments of 1 MiB, as coverage reads them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from safepoint.model.backup import BackupManifest, BlobRef
from safepoint.model.coverage import Gap, Mark, WalPiece
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.model.version import PgVersion

SEGMENT = 1 << 20
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ONE, TWO, THREE = TimelineId(1), TimelineId(2), TimelineId(3)


def at(minutes: float) -> datetime:
    """So many minutes after noon."""
    return NOON + timedelta(minutes=minutes)


def backup(name: str, segment: int, *, ended: float, timeline: TimelineId = ONE) -> BackupManifest:
    """A backup whose WAL begins 40 bytes into a segment and ends 400 into it."""
    return BackupManifest(
        id=name,
        database="shop",
        tier="daily",
        system_identifier="7",
        version=PgVersion(180006),
        segment_size=SEGMENT,
        timeline=timeline,
        start_lsn=Lsn(segment * SEGMENT + 40),
        stop_lsn=Lsn(segment * SEGMENT + 400),
        started_at=at(ended - 0.5),
        stopped_at=at(ended),
        has_checksums=True,
        root=BlobRef(id=bytes(32), pack=bytes(32), offset=0, length=0, raw_length=0),
        file_count=0,
        raw_bytes=1000 * SEGMENT,
        added_bytes=0,
    )


def segments(first: int, last: int, timeline: TimelineId = ONE) -> list[WalPiece]:
    """Whole segments [first, last)."""
    return [
        WalPiece(
            timeline=timeline,
            start=Lsn(number * SEGMENT),
            end=Lsn((number + 1) * SEGMENT),
            name=f"{timeline}:{number}",
            is_partial=False,
        )
        for number in range(first, last)
    ]


def marked(pieces: Iterable[WalPiece]) -> dict[str, Mark]:
    """A mark at the end of each piece, one minute a segment: segment 5 ends at 12:05."""
    return {piece.name: Mark(lsn=piece.end, clock=at(piece.end.value / SEGMENT - 1)) for piece in pieces}


def gap(first: int, last: int, timeline: TimelineId = ONE) -> Gap:
    """Segments [first, last) are missing."""
    return Gap(timeline=timeline, start=Lsn(first * SEGMENT), end=Lsn(last * SEGMENT))


def history(*switches: tuple[TimelineId, int]) -> bytes:
    """Left each of these timelines 500 bytes into that segment."""
    lines = (f"{timeline}\t{Lsn(segment * SEGMENT + 500)}\tno reason\n" for timeline, segment in switches)
    return "".join(lines).encode()

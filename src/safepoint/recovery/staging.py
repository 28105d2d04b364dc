"""The WAL of a pinned recovery, written into pg_wal before the server starts, and the script that guards its end.

All WAL a recovery may read is there: bytes behind what the path holds are zeros, which end recovery. The
`restore_command` only answers: "not there" for what lies beyond, and an exit that stops recovery for a file that must
be there and is not (a plain failure would read as the end of the archive, and promote).

Source: PostgreSQL 15-18, src/backend/access/transam/xlogarchive.c, RestoreArchivedFile: exit codes above 125 end
recovery; src/backend/access/transam/xlogrecovery.c, XLogFileReadAnyTLI: the archive is asked before pg_wal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from safepoint import errors
from safepoint.files import write_durably
from safepoint.model.coverage import WalPath, WalPiece
from safepoint.model.lsn import Lsn, TimelineId, WalSegment
from safepoint.recovery.files import disk_errors, sync_filesystem
from safepoint.recovery.targets import PinnedRecovery
from safepoint.recovery.wal_end import last_record_end
from safepoint.repository import Repository

GUARD_DIRECTORY = "safepoint.recovery"
GUARD_COMMAND = f"sh {GUARD_DIRECTORY}/guard %f"

_GUARD = """\
# PostgreSQL asks for the WAL file $1. Every file of this recovery was put into pg_wal beforehand and is listed in
# `staged`. 1 says: not in the archive, look into pg_wal; 200 stops recovery, because a file it needs has vanished.
if grep -qxF -- "$1" safepoint.recovery/staged && ! test -e "pg_wal/$1"; then
    echo "safepoint: $1 belongs to this recovery and is missing from pg_wal" >&2
    exit 200
fi
exit 1
"""


def stage_wal(
    repository: Repository, pinned: PinnedRecovery, segment_size: int, data: Path, tell: Callable[[int], None]
) -> Lsn:
    """All WAL and histories of the recovery are in pg_wal, durable, and the guard beside them.

    Returns the end of the last whole record: what must be replayed when no target stops recovery before. WL002 when
    WAL is missing, RP004 and RP005 when it is damaged, RC003 when no record ends in it.
    """
    pieces = repository.wal_pieces(pinned.system_identifier)
    staged: list[str] = []
    segments: list[WalSegment] = []
    done = 0
    with disk_errors(data):
        for leg, segment in _segments(pinned.path, segment_size):
            content = _assemble(repository, pieces, leg, segment)
            _write_segment(data / "pg_wal" / segment.name, content, segment.size)
            staged.append(segment.name)
            segments.append(segment)
            done += len(content)
            tell(done)
        newest = max((piece.timeline for piece in pieces), default=pinned.timeline)
        staged += _stage_histories(repository, pinned, newest, data)
        _write_guard(data, staged)
        sync_filesystem(data)
    return _end_of_records(data, segments, pinned.path[-1].end)


def _segments(path: Sequence[WalPath], size: int) -> Iterator[tuple[WalPath, WalSegment]]:
    for leg in path:
        segment = WalSegment.holding(leg.timeline, leg.start, size)
        while segment.start < leg.end:
            yield leg, segment
            segment = segment.next


def _assemble(repository: Repository, pieces: Sequence[WalPiece], leg: WalPath, segment: WalSegment) -> bytes:
    """The segment's bytes from its start up to the leg's end, from the whole segment or else from its ranges."""
    wanted = min(leg.end, segment.end)
    on_segment = [piece for piece in pieces if piece.timeline == segment.timeline and _overlaps(piece, segment)]
    whole = [piece for piece in on_segment if not piece.is_partial]
    content = bytearray()
    for piece in whole or sorted(on_segment, key=lambda piece: (piece.start, piece.end)):
        have = segment.start + len(content)
        if have >= wanted:
            break
        if piece.start <= have < piece.end:
            content += repository.read_wal(piece)[have - piece.start :]
    if segment.start + len(content) < wanted:
        raise errors.WL002.error(
            f"found WAL of timeline {segment.timeline} from {segment.start} up to {segment.start + len(content)}, "
            f"expected it up to {wanted}",
            hints=[errors.ask("was an object deleted from the repository since the plan was made?")],
        )
    return bytes(content[: wanted - segment.start])


def _overlaps(piece: WalPiece, segment: WalSegment) -> bool:
    return piece.start < segment.end and piece.end > segment.start


def _write_segment(path: Path, content: bytes, size: int) -> None:
    path.touch(mode=0o600)
    with path.open("r+b") as file:
        file.write(content)
        file.truncate(len(content))
        file.truncate(size)


def _stage_histories(repository: Repository, pinned: PinnedRecovery, newest: TimelineId, data: Path) -> list[str]:
    """Every history the repository holds is in pg_wal; WL002 when the recovery's own is missing.

    By the others the promoted copy sees which timelines are taken: PostgreSQL probes them upward until one is missing.
    """
    staged: list[str] = []
    for timeline in map(TimelineId, range(2, max(newest, pinned.timeline).value + 1)):
        content = repository.read_history(pinned.system_identifier, timeline)
        if content is not None:
            write_durably(data / "pg_wal" / timeline.history_name, content)
            staged.append(timeline.history_name)
        elif timeline == pinned.timeline:
            raise errors.WL002.error(
                f"found no {timeline.history_name} in the repository, expected the history of the timeline to recover",
                hints=[errors.run("let the WAL receiver run against the promoted server once: it stores the history")],
            )
    return staged


def _write_guard(data: Path, staged: Sequence[str]) -> None:
    folder = data / GUARD_DIRECTORY
    folder.mkdir(mode=0o700, exist_ok=True)
    write_durably(folder / "staged", "".join(f"{name}\n" for name in staged).encode())
    write_durably(folder / "guard", _GUARD.encode())


def _end_of_records(data: Path, segments: Sequence[WalSegment], end: Lsn) -> Lsn:
    """From the last segment, or from as many more before it, on its timeline, as a record that fills them takes."""
    wal, begin = b"", end
    for segment in _last_stretch(segments):
        wal = (data / "pg_wal" / segment.name).read_bytes()[: begin - segment.start] + wal
        begin = segment.start
        if (found := last_record_end(wal, begin)) is not None:
            return found
    raise errors.RC003.error(
        f"found no record that ends in the WAL from {begin} up to {end}, expected one: nothing would show that "
        "recovery reached its end",
        hints=[
            errors.ask("was this WAL written by a server built with another WAL block size?"),
            errors.run("choose an earlier target: `--to TARGET`"),
        ],
    )


def _last_stretch(segments: Sequence[WalSegment]) -> Iterator[WalSegment]:
    """The last segment and those before it, as far as each follows the other on one timeline, backwards."""
    later: WalSegment | None = None
    for segment in reversed(segments):
        if later is not None and segment.next != later:
            return
        yield segment
        later = segment

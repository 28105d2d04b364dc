"""The WAL of a pinned recovery: which segments it takes, their bytes, where their last record ends, their histories.

Bytes behind what the path holds are zeros, which end what can be replayed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from safepoint import errors
from safepoint.files import write_durably
from safepoint.model.coverage import WalPath, WalPiece
from safepoint.model.lsn import Lsn, TimelineId, WalSegment
from safepoint.recovery.files import disk_errors, sync_filesystem
from safepoint.recovery.targets import PinnedRecovery
from safepoint.recovery.wal_end import last_record_end
from safepoint.repository import Repository

_TAKEN = b"# This timeline exists. What led to it is not known here.\n"
_FIRST_WITH_HISTORY = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldWal:
    """What a repository holds of the WAL that a recovery takes. May be read from several threads.

    `pieces` are by timeline and the number of the segment that they are of, in the order of their start.
    """

    repository: Repository
    pieces: Mapping[tuple[TimelineId, int], Sequence[WalPiece]]
    path: tuple[WalPath, ...]
    segment_size: int

    def segments(self) -> Iterator[WalSegment]:
        """Every segment of the path, in the order of replay; that of a switch on the later timeline only."""
        for leg in self.path:
            segment = WalSegment.holding(leg.timeline, leg.start, self.segment_size)
            while segment.start < leg.end:
                yield segment
                segment = segment.next

    def require_listed(self) -> None:
        """Every byte of the path is listed; WL002 names the first that is not. Reads nothing."""
        for segment in self.segments():
            wanted = self._wanted(segment)
            have = segment.start
            for piece in self._pieces_of(segment):
                if piece.start <= have < piece.end:
                    have = min(piece.end, segment.end)
            if have < wanted:
                raise _missing(segment, have, wanted)

    def read(self, segment: WalSegment) -> bytes:
        """All bytes of the segment, zeros behind the path's end. WL002 when some are missing, RP004, RP005."""
        wanted = self._wanted(segment)
        pieces = self._pieces_of(segment)
        if wanted == segment.end and pieces and not pieces[0].is_partial:
            return self._whole(segment, pieces[0])
        content = bytearray()
        for piece in pieces:
            have = segment.start + len(content)
            if have >= wanted:
                break
            if piece.start <= have < piece.end:
                content += self.repository.read_wal(piece)[have - piece.start :]
        if segment.start + len(content) < wanted:
            raise _missing(segment, segment.start + len(content), wanted)
        return bytes(content[: wanted - segment.start]).ljust(segment.size, b"\0")

    def _whole(self, segment: WalSegment, piece: WalPiece) -> bytes:
        """As it was read, not copied once more: nearly all segments are such."""
        content = self.repository.read_wal(piece)
        if len(content) != segment.size:
            raise _missing(segment, segment.start + len(content), segment.end)
        return content

    def last_record_end(self) -> Lsn:
        """The end of the last whole record: what is replayed when no target stops recovery before.

        From the last segment, or from as many more before it, on its timeline, as a record that fills them takes.
        RC003 when none ends in them.
        """
        end = begin = self.path[-1].end
        wal = b""
        for segment in _last_stretch(tuple(self.segments())):
            wal = self.read(segment)[: begin - segment.start] + wal
            begin = segment.start
            if (found := last_record_end(wal, begin)) is not None:
                return found
        raise _without_end(begin, end)

    def _wanted(self, segment: WalSegment) -> Lsn:
        return max(
            min(leg.end, segment.end)
            for leg in self.path
            if leg.timeline == segment.timeline and leg.start < segment.end and leg.end > segment.start
        )

    def _pieces_of(self, segment: WalSegment) -> Sequence[WalPiece]:
        """The whole segment where it is held, else its ranges in order."""
        found = self.pieces.get((segment.timeline, segment.number), ())
        return [piece for piece in found if not piece.is_partial] or found


def held_wal(repository: Repository, pieces: Sequence[WalPiece], path: Sequence[WalPath], segment_size: int) -> HeldWal:
    """The WAL of a way through what the repository lists; a piece lies within one segment."""
    found: dict[tuple[TimelineId, int], list[WalPiece]] = {}
    for piece in sorted(pieces, key=lambda piece: (piece.start, piece.end)):
        found.setdefault((piece.timeline, piece.start.value // segment_size), []).append(piece)
    return HeldWal(repository=repository, pieces=found, path=tuple(path), segment_size=segment_size)


def stage_wal(wal: HeldWal, data: Path, tell: Callable[[int], None]) -> None:
    """All of it is in pg_wal, durable, and no other segment: for a directory that is to start by itself."""
    done = 0
    with disk_errors(data):
        clear_wal(data)
        for segment in wal.segments():
            path = data / "pg_wal" / segment.name
            path.touch(mode=0o600)
            path.write_bytes(wal.read(segment))
            done += segment.size
            tell(done)
        sync_filesystem(data)


def clear_wal(data: Path) -> None:
    """No file is in pg_wal: none that another attempt, or the cluster that stood here, had left."""
    folder = data / "pg_wal"
    (folder / "archive_status").mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in (*folder.iterdir(), *(folder / "archive_status").iterdir()):
        if not path.is_dir():
            path.unlink()


def stage_histories(repository: Repository, pinned: PinnedRecovery, data: Path) -> None:
    """The history of the recovery's timeline is in pg_wal; WL002 when it is missing. So is that of every later one.

    By those the promoted copy sees which timelines are taken: PostgreSQL probes them upward until one is missing, so
    that a later one without a history is given one that says no more than that.
    """
    pieces = repository.wal_pieces(pinned.system_identifier, pinned.lineages)
    newest = max((piece.timeline for piece in pieces), default=pinned.timeline)
    (data / "pg_wal").mkdir(mode=0o700, exist_ok=True)
    for number in range(_FIRST_WITH_HISTORY, max(newest, pinned.timeline).value + 1):
        timeline = TimelineId(number)
        content = repository.read_history(pinned.system_identifier, timeline, pinned.lineages)
        if content is None and timeline == pinned.timeline:
            raise errors.WL002.error(
                f"found no {timeline.history_name} in the repository, expected the history of the timeline to recover",
                hints=[errors.run("let the WAL receiver run against the promoted server once: it stores the history")],
            )
        if content is not None or timeline > pinned.timeline:
            write_durably(data / "pg_wal" / timeline.history_name, _TAKEN if content is None else content)


def _missing(segment: WalSegment, have: Lsn, wanted: Lsn) -> errors.SafepointError:
    return errors.WL002.error(
        f"found WAL of timeline {segment.timeline} from {segment.start} up to {have}, expected it up to {wanted}",
        hints=[errors.ask("was an object deleted from the repository since the plan was made?")],
    )


def _without_end(begin: Lsn, end: Lsn) -> errors.SafepointError:
    return errors.RC003.error(
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

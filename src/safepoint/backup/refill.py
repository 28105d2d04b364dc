"""WAL that one repository lacks, taken from another: pieces are opened there and sealed anew here.

Order: histories, then pieces by timeline and position, so that what is held never has a hole that was not there
before. A segment is put whole before the ranges that it replaces are deleted. Killed anywhere, it goes on at what is
still missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from safepoint.backup.coverage import Spans, spans_of
from safepoint.model.coverage import Mark, WalPiece
from safepoint.model.lsn import Lsn, TimelineId, WalSegment
from safepoint.repository import Repository

Place = tuple[TimelineId, Lsn]
"""A position in the history of a cluster; those of one history compare as they follow each other."""


def refill(
    source: Repository,
    target: Repository,
    cluster: str,
    *,
    since: Place | None = None,
    until: Place | None = None,
    may_go_on: Callable[[], bool] = lambda: True,
) -> int:
    """The target holds what the source does of [since, until), bounds of None being open; the bytes that were copied.

    Ranges at or beyond `until` are somebody else's business. Ends early, in good order, when it may not go on.
    Raises what either store raises, RP004 and RP005 for damage in the source, RP007 when both hold different bytes.
    """
    held = target.wal_pieces(cluster)
    wanted = lacking(source.wal_pieces(cluster), held, since=since, until=until)
    histories = _copied_histories(source, target, cluster, wanted)
    copied = 0
    for piece in wanted:
        if not may_go_on():
            break
        _copy(source, target, cluster, piece, histories.get(piece.timeline, b""))
        if not piece.is_partial:
            _delete_replaced(target, piece, held)
        copied += piece.end - piece.start
    return copied


def lacking(
    pieces: Sequence[WalPiece], held: Sequence[WalPiece], *, since: Place | None = None, until: Place | None = None
) -> list[WalPiece]:
    """The pieces to copy, in order: segments that are not held whole, ranges of which a byte is nowhere held. Pure."""
    whole = {(piece.timeline, piece.start) for piece in held if not piece.is_partial}
    spans = spans_of(held)
    source_whole = spans_of(piece for piece in pieces if not piece.is_partial)
    return [
        piece
        for piece in sorted(pieces, key=lambda piece: (piece.timeline, piece.start, piece.end))
        if (since is None or (piece.timeline, piece.end) > since)
        and (until is None or (piece.timeline, piece.start) < until)
        and not (_is_within(piece, source_whole) or _is_within(piece, spans) if piece.is_partial else False)
        and (piece.is_partial or (piece.timeline, piece.start) not in whole)
    ]


def _is_within(piece: WalPiece, spans: Spans) -> bool:
    return any(span.start <= piece.start and piece.end <= span.end for span in spans.get(piece.timeline, ()))


def _copied_histories(
    source: Repository, target: Repository, cluster: str, wanted: Iterable[WalPiece]
) -> dict[TimelineId, bytes]:
    found: dict[TimelineId, bytes] = {}
    for timeline in sorted({piece.timeline for piece in wanted if piece.timeline.has_history}):
        content = source.read_history(cluster, timeline)
        if content is not None:
            found[timeline] = content
            target.put_history(cluster, timeline, content)
    return found


def _copy(source: Repository, target: Repository, cluster: str, piece: WalPiece, history: bytes) -> None:
    data, mark = source.read_wal(piece), source.read_mark(piece)
    if piece.is_partial:
        target.put_wal_range(cluster, piece.timeline, piece.start, data, history=history, mark=mark)
    else:
        segment = WalSegment.holding(piece.timeline, piece.start, len(data))
        target.put_wal_segment(cluster, segment, data, history=history, mark=mark)


def _delete_replaced(target: Repository, segment: WalPiece, held: Iterable[WalPiece]) -> None:
    """The target's ranges of the segment go, but for those whose mark is newer than the segment's."""
    replaced = [piece for piece in held if piece.is_partial and segment.covers(piece)]
    if not replaced:
        return
    cluster = segment.name.split("/")[1]
    own = next(
        piece
        for piece in target.wal_pieces(cluster)
        if (piece.timeline, piece.start, piece.is_partial) == (segment.timeline, segment.start, False)
    )
    newest = target.read_mark(own)
    for piece in replaced:
        if _is_older(target.read_mark(piece), newest):
            target.delete_wal_range(piece)


def _is_older(mark: Mark | None, other: Mark | None) -> bool:
    return mark is None or (other is not None and mark.clock <= other.clock)

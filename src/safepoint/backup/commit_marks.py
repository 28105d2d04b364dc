"""What the commits in a piece of WAL say of instants: marks, as a server's clock gives them. Pure.

Each commit is a mark: whatever stands behind it in WAL was inserted later than the time it bears, so that everything
acknowledged by then lies before. It says more than a clock's reading does: a recovery to any earlier instant stops
before it, whatever WAL may follow. Times are not monotone in WAL, by milliseconds among sessions and by as much as a
clock is set back; of a piece only the first and the last are placed, and the greatest anywhere in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta

from safepoint.model.coverage import Commits, Mark, WalPiece
from safepoint.model.lsn import TimelineId

STEP = timedelta(seconds=1)
"""Sessions commit out of order by less; what goes back by more was set."""


def marks_of_commits(piece: WalPiece, commits: Commits) -> tuple[Mark, ...]:
    """The first, the last, and one at the end of the piece when another commit in it was later.

    Not when the clock was set back within the piece: that commit may lie before a backup which ended there, and then
    nothing stops a recovery from the backup at it.
    """
    placed = [Mark(lsn=commit.lsn, clock=commit.time, is_commit=True) for commit in (commits.first, commits.last)]
    if commits.last.time < commits.latest <= commits.last.time + STEP:
        placed.append(Mark(lsn=piece.end, clock=commits.latest, is_commit=True))
    return tuple(dict.fromkeys(placed))


def steps_of_commits(
    pieces: Iterable[WalPiece], commits: Mapping[str, Commits]
) -> Mapping[TimelineId, tuple[Mark, ...]]:
    """What clocks had said before they were set back within pieces, at the first place where that may have been."""
    found: dict[TimelineId, tuple[Mark, ...]] = {}
    for piece in pieces:
        of_piece = commits.get(piece.name)
        if of_piece is not None and of_piece.latest > of_piece.last.time + STEP:
            step = Mark(lsn=piece.start, clock=of_piece.latest)
            found[piece.timeline] = (*found.get(piece.timeline, ()), step)
    return found

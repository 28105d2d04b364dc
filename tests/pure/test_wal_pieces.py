"""Which piece of WAL makes another one superfluous."""

from __future__ import annotations

import pytest

from safepoint.model.coverage import WalPiece
from safepoint.model.lsn import Lsn, TimelineId


def piece(start: int, end: int, timeline: int = 1) -> WalPiece:
    """Bytes [start, end)."""
    return WalPiece(timeline=TimelineId(timeline), start=Lsn(start), end=Lsn(end), name="", is_partial=True)


@pytest.mark.parametrize(
    ("other", "is_covered"),
    [
        (piece(10, 20), True),
        (piece(10, 15), True),
        (piece(15, 20), True),
        (piece(9, 15), False),
        (piece(15, 21), False),
        (piece(20, 21), False),
        (piece(10, 20, timeline=2), False),
    ],
)
def test_a_piece_covers_what_lies_within_it_on_its_timeline(other: WalPiece, *, is_covered: bool) -> None:
    """Half-open ranges: the ends may touch; another timeline has other bytes."""
    assert piece(10, 20).covers(other) is is_covered

"""The union of what WAL summaries say, as it comes over the wire."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safepoint.model.changed_blocks import ROW, BlockCollector, RelationKey
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.postgres.basebackup import BackupPosition
from safepoint.postgres.wal_summaries import Doubt, SummaryRange, covering, needed_ranges, parse_rows

Row = tuple[int, int, int, int, bool]

ROWS = st.lists(
    st.tuples(st.integers(1, 2), st.integers(0, 1), st.integers(1, 3), st.integers(0, 2**32 - 1), st.booleans()),
    max_size=40,
)


@given(st.lists(ROWS, max_size=5))
def test_all_blocks_and_the_smallest_limit_of_each_relation_are_kept(summaries: list[list[Row]]) -> None:
    """In whatever order and however often they come."""
    collector = BlockCollector()
    for summary in summaries:
        collector.add(np.array(summary, ROW))

    found = collector.collected()

    rows = [row for summary in summaries for row in summary]
    for key in {row[:3] for row in rows} | {(9, 9, 9)}:
        changes = found.of(RelationKey(tablespace=key[0], database=key[1], relation=key[2]))
        limits = [row[3] for row in rows if row[:3] == key and row[4]]
        assert changes.limit == (min(limits) if limits else None)
        assert changes.blocks.tolist() == sorted({row[3] for row in rows if row[:3] == key and not row[4]})


def wire(*rows: Row) -> bytes:
    """Rows in the binary format of COPY."""
    layout = struct.Struct(">hiIiIiIiqi?")
    return b"".join(layout.pack(5, 4, s, 4, d, 4, r, 8, b, 1, is_limit) for s, d, r, b, is_limit in rows)


@given(ROWS)
def test_rows_are_read_as_they_are_sent(rows: list[Row]) -> None:
    """Every value of every column."""
    found = parse_rows(wire(*rows))

    assert found is not None
    assert found.tolist() == rows


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(wire((1, 2, 3, 4, True))[:-1], id="cut"),
        pytest.param(wire((1, 2, 3, -1, False)), id="a block below 0"),
        pytest.param(wire((1, 2, 3, 2**32, False)), id="a block beyond 32 bits"),
        pytest.param(b"\0\6" + wire((1, 2, 3, 4, True))[2:], id="six columns"),
        pytest.param(wire((1, 2, 3, 4, True))[:2] + b"\xff" * 4 + wire((1, 2, 3, 4, True))[6:], id="a NULL"),
    ],
)
def test_what_is_no_row_is_not_guessed_at(data: bytes) -> None:
    """None: the summary counts as not understood."""
    assert parse_rows(data) is None


def at(lsn: int, timeline: int = 1) -> BackupPosition:
    return BackupPosition(lsn=Lsn(lsn), timeline=TimelineId(timeline))


def span(start: int, end: int, timeline: int = 1) -> SummaryRange:
    return SummaryRange(TimelineId(timeline), Lsn(start), Lsn(end))


HISTORY = b"1\t0/64\tno reason\n2\t0/C8\tno reason\n"


def test_what_is_needed_follows_the_history() -> None:
    """From the base's start to this start, over two promotions; nothing of a timeline that was left before."""
    assert needed_ranges(b"", at(10), at(90)) == (span(10, 90),)
    assert needed_ranges(HISTORY, at(10), at(250, 3)) == (span(10, 100), span(100, 200, 2), span(200, 250, 3))
    assert needed_ranges(HISTORY, at(120, 2), at(250, 3)) == (span(120, 200, 2), span(200, 250, 3))
    assert needed_ranges(HISTORY, at(100), at(250, 3)) == (span(100, 200, 2), span(200, 250, 3))


def test_a_base_that_is_no_ancestor_is_doubt() -> None:
    """Another timeline, or this one's after it was left: nothing is known of what lies between."""
    assert isinstance(needed_ranges(HISTORY, at(150), at(250, 3)), Doubt)
    assert isinstance(needed_ranges(b"1\t0/64\tno reason\n", at(10, 2), at(250, 3)), Doubt)
    assert isinstance(needed_ranges(b"", at(10, 5), at(90)), Doubt)


def test_summaries_cover_only_without_a_hole() -> None:
    """They may overlap, and reach beyond; what is missing first is named."""
    assert covering([span(10, 90)], [span(0, 50), span(50, 95), span(95, 99)]) == (span(0, 50), span(50, 95))
    assert covering([span(10, 90)], [span(0, 50), span(40, 95)]) == (span(0, 50), span(40, 95))
    assert covering([span(10, 90)], [span(0, 50), span(51, 95)]) == span(50, 90)
    assert covering([span(10, 90)], [span(0, 50, 2)]) == span(10, 90)
    assert covering([span(10, 50), span(50, 90, 2)], [span(0, 50), span(50, 90, 2)]) == (span(0, 50), span(50, 90, 2))
    assert covering([span(10, 50), span(50, 90, 2)], [span(0, 95)]) == span(50, 90, 2)
    assert covering([], [span(0, 95)]) == ()

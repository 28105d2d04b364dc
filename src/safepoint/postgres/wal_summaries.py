"""What a server's WAL summaries say has changed between two positions; or, in words, why they cannot be believed.

Summaries are taken only where they cover the range without a hole, along the server's own timeline history. They are
fetched in binary, row by row of fixed width, so that their cost is that of the changed blocks.

Source: PostgreSQL documentation, "WAL Summarization Information Functions" (17 and later); the binary format of COPY.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import LiteralString

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql
from psycopg.rows import TupleRow

from safepoint.model.changed_blocks import ROW, BlockCollector, ChangedBlocks
from safepoint.model.history import parse_history
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.postgres.basebackup import BackupPosition

FIRST_MAJOR = 17

SUMMARIZER_SECONDS = 60.0
"""How long the summarizer may take to come to where a backup begins."""

_POLL_SECONDS = 0.05
_HEADER = b"PGCOPY\n\xff\r\n\0"
_HEADER_BYTES = len(_HEADER) + 8
_TRAILER = b"\xff\xff"
_ROW_ON_WIRE = np.dtype(
    [
        ("columns", ">i2"),
        ("tablespace_length", ">i4"),
        ("tablespace", ">u4"),
        ("database_length", ">i4"),
        ("database", ">u4"),
        ("relation_length", ">i4"),
        ("relation", ">u4"),
        ("block_length", ">i4"),
        ("block", ">i8"),
        ("is_limit_length", ">i4"),
        ("is_limit", "?"),
    ]
)
_LENGTHS = {"columns": 5, "tablespace_length": 4, "database_length": 4, "relation_length": 4, "block_length": 8}
_ROWS_AT_ONCE = 1 << 16
_CONTENTS: LiteralString = """
COPY (SELECT reltablespace, reldatabase, relfilenode, relblocknumber, is_limit_block
      FROM pg_wal_summary_contents({}, {}, {}) WHERE relforknumber = 0) TO STDOUT (FORMAT binary)
"""
_REACHED = """
SELECT summarized_tli, summarized_lsn::text, current_setting('summarize_wal') FROM pg_get_wal_summarizer_state()
"""
_MAY_ASK = """
SELECT bool_and(has_function_privilege(f, 'EXECUTE')) FROM unnest(ARRAY[
    'pg_available_wal_summaries()', 'pg_wal_summary_contents(bigint, pg_lsn, pg_lsn)',
    'pg_get_wal_summarizer_state()']) f
"""


@dataclass(frozen=True, slots=True, order=True)
class SummaryRange:
    """WAL [start, end) of one timeline."""

    timeline: TimelineId
    start: Lsn
    end: Lsn

    def __str__(self) -> str:
        return f"{self.start} to {self.end} on timeline {self.timeline}"


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why summaries do not say what has changed; a clause that can follow "because".

    `is_alarming`: they were found to be wrong, which somebody must look into.
    """

    why: str
    is_alarming: bool = False


def doubt_of(connection: psycopg.Connection[TupleRow]) -> Doubt | None:
    """Why this server's summaries need not be asked for; None when they may tell."""
    major = connection.info.server_version // 10_000
    if major < FIRST_MAJOR:
        return Doubt(f"PostgreSQL {major} has no WAL summaries, {FIRST_MAJOR} and later do")
    may_ask = connection.execute(_MAY_ASK).fetchone()
    if may_ask is None or not may_ask[0]:
        return Doubt("our role may not ask for WAL summaries")
    row = connection.execute("SELECT current_setting('summarize_wal', true)").fetchone()
    if row is None or row[0] != "on":
        return Doubt("summarize_wal is off")
    return None


def fetch_changed_blocks(
    connection: psycopg.Connection[TupleRow],
    *,
    history: bytes,
    base: BackupPosition,
    start: BackupPosition,
) -> ChangedBlocks | Doubt:
    """What WAL [base, start) changed in main forks; `history` is that of `start`'s timeline.

    Waits up to SUMMARIZER_SECONDS for the summarizer to come to `start`. psycopg.Error when the server fails meanwhile.
    """
    doubt = doubt_of(connection)
    if doubt is not None:
        return doubt
    needed = needed_ranges(history, base, start)
    if isinstance(needed, Doubt):
        return needed
    chosen = _wait_for(connection, needed)
    if isinstance(chosen, Doubt):
        return chosen
    collector = BlockCollector()
    for summary in chosen:
        doubt = _collect(connection, summary, collector)
        if doubt is not None:
            return doubt
    return collector.collected()


def needed_ranges(history: bytes, base: BackupPosition, start: BackupPosition) -> tuple[SummaryRange, ...] | Doubt:
    """The ranges from `base` to `start` along the history, oldest first; a doubt when `base` is not in it. Pure."""
    ancestors = [(found.timeline, found.switch) for found in parse_history(history)]
    lineage = [*((timeline, switch) for timeline, switch in ancestors if timeline < start.timeline)]
    lineage.append((start.timeline, start.lsn))
    path = [(timeline, end) for timeline, end in lineage if timeline >= base.timeline]
    if not path or path[0][0] != base.timeline:
        return Doubt(f"timeline {base.timeline} of the parent is not in the history of timeline {start.timeline}")
    if path[0][1] < base.lsn:
        return Doubt(f"the parent began at {base.lsn}, after {path[0][1]}, where timeline {base.timeline} was left")
    ranges: list[SummaryRange] = []
    begin = base.lsn
    for timeline, end in path:
        if begin < end:
            ranges.append(SummaryRange(timeline, begin, end))
        begin = end
    return tuple(ranges)


def covering(
    needed: Sequence[SummaryRange], available: Iterable[SummaryRange]
) -> tuple[SummaryRange, ...] | SummaryRange:
    """The summaries that cover all that is needed; or what is missing first. Pure."""
    chosen: list[SummaryRange] = []
    known = sorted(available)
    for wanted in needed:
        reached = wanted.start
        for found in known:
            if found.timeline == wanted.timeline and found.start <= reached < found.end and found.start < wanted.end:
                chosen.append(found)
                reached = found.end
        if reached < wanted.end:
            return SummaryRange(wanted.timeline, reached, wanted.end)
    return tuple(chosen)


def parse_rows(data: bytes | bytearray | memoryview) -> NDArray[np.void] | None:
    """Rows of type `changed_blocks.ROW` of whole rows in COPY's binary format; None when they are no such rows."""
    if len(data) % _ROW_ON_WIRE.itemsize:
        return None
    wire = np.frombuffer(data, _ROW_ON_WIRE)
    lengths = {**_LENGTHS, "is_limit_length": 1}
    if any(bool((wire[name] != length).any()) for name, length in lengths.items()):
        return None
    if bool(((wire["block"] < 0) | (wire["block"] >= 1 << 32)).any()):
        return None
    rows = np.empty(len(wire), ROW)
    for name in ROW.names or ():
        rows[name] = wire[name]
    return rows


def _wait_for(
    connection: psycopg.Connection[TupleRow], needed: Sequence[SummaryRange]
) -> tuple[SummaryRange, ...] | Doubt:
    """Summaries that cover what is needed. A hole that the summarizer has passed is not waited for."""
    deadline = time.monotonic() + SUMMARIZER_SECONDS
    while True:
        reached = _summarized(connection)  # first: what is missing from a list made later is missing for good
        found = covering(needed, _available(connection))
        if isinstance(found, tuple):
            return found
        if reached is None:
            return Doubt("summarize_wal is off, or its process is not running")
        if needed and (found.timeline, found.end) <= reached:
            return Doubt(f"WAL summaries do not cover {found}")
        if time.monotonic() >= deadline:
            return Doubt(f"the WAL summarizer did not come to {found.end} within {SUMMARIZER_SECONDS:.0f} s")
        time.sleep(_POLL_SECONDS)


def _summarized(connection: psycopg.Connection[TupleRow]) -> tuple[TimelineId, Lsn] | None:
    row = connection.execute(_REACHED).fetchone()
    return None if row is None or row[2] != "on" else (TimelineId(int(row[0])), Lsn.parse(row[1]))


def _available(connection: psycopg.Connection[TupleRow]) -> list[SummaryRange]:
    rows = connection.execute("SELECT tli, start_lsn::text, end_lsn::text FROM pg_available_wal_summaries()").fetchall()
    return [SummaryRange(TimelineId(int(row[0])), Lsn.parse(row[1]), Lsn.parse(row[2])) for row in rows]


def _collect(
    connection: psycopg.Connection[TupleRow], summary: SummaryRange, collector: BlockCollector
) -> Doubt | None:
    query = sql.SQL(_CONTENTS).format(
        sql.Literal(summary.timeline.value),
        sql.Literal(str(summary.start)),
        sql.Literal(str(summary.end)),
    )
    try:
        with connection.cursor().copy(query) as copy:
            is_understood = _collect_rows(copy, collector)
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        return Doubt(f"the WAL summary {summary} cannot be read ({' '.join(str(error).split())})")
    return None if is_understood else Doubt(f"the WAL summary {summary} was not understood")


def _collect_rows(copy: Iterable[bytes | bytearray | memoryview], collector: BlockCollector) -> bool:
    """Whether everything that came was header, rows and trailer. All of it is read."""
    pending = bytearray()
    is_understood = True
    has_header = False
    for message in copy:
        pending += message
        if not has_header and len(pending) >= _HEADER_BYTES:
            is_understood = pending.startswith(_HEADER)
            has_header = True
            del pending[:_HEADER_BYTES]
        if has_header and len(pending) > _ROWS_AT_ONCE * _ROW_ON_WIRE.itemsize:
            is_understood &= _take_rows(pending, collector)
    if not has_header or not pending.endswith(_TRAILER):
        return False
    del pending[-len(_TRAILER) :]
    is_understood &= _take_rows(pending, collector)
    return is_understood and not pending


def _take_rows(pending: bytearray, collector: BlockCollector) -> bool:
    """The whole rows at the beginning of `pending` are collected and gone from it."""
    whole = len(pending) - len(pending) % _ROW_ON_WIRE.itemsize
    rows = parse_rows(bytes(pending[:whole]))
    del pending[:whole]
    if rows is None:
        return False
    collector.add(rows)
    return True

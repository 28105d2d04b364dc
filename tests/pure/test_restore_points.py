"""Restore points in WAL: found by name wherever page headers cut them, and nothing else is taken for one."""

from __future__ import annotations

import struct

import pytest

from safepoint.model.lsn import Lsn, TimelineId, WalSegment
from safepoint.recovery.replay_position import position_in
from safepoint.recovery.restore_points import position, restore_points_in, without_headers
from safepoint.recovery.wal_end import PAGE

SIZE = 4 * PAGE
SEGMENT = WalSegment(TimelineId(1), 3, SIZE)


def record(name: str, *, manager: int = 0, info: int = 0x70) -> bytes:
    """As PostgreSQL writes it: header, main data of 72 bytes; what follows the name is whatever was there."""
    data = struct.pack("<q", 0) + (name.encode() + b"\0").ljust(64, b"\xee")
    return struct.pack("<IIQBB2xI", 98, 0, 0, info, manager, 0) + bytes([255, 72]) + data


def pages(run: bytes) -> bytes:
    """The run in pages with headers, the first one long."""
    found, rest = b"\xff" * 40 + run[: PAGE - 40], run[PAGE - 40 :]
    while rest:
        found, rest = found + b"\xff" * 24 + rest[: PAGE - 24], rest[PAGE - 24 :]
    return found.ljust(SIZE, b"\0")


@pytest.mark.parametrize("before", [0, 8, PAGE - 40 - 8, PAGE - 40 - 64, PAGE - 40 + 2 * (PAGE - 24) - 48])
def test_it_is_found_wherever_it_begins(before: int) -> None:
    """Also across a page's end; its end is where the next record may begin."""
    content = pages(b"\x01" * before + record("here"))

    (found,) = restore_points_in(content, SEGMENT, "here")

    assert found.start == position(SEGMENT.start, before)
    assert found.end == Lsn(-(-(position(SEGMENT.start, before + 97).value + 1) // 8) * 8)
    assert without_headers(content)[before : before + 98] == record("here")


def test_of_several_the_newest_comes_first() -> None:
    """In the order of WAL, backwards."""
    content = pages(record("twice") + b"\0" * 6 + record("other") + b"\0" * 6 + record("twice"))

    starts = [found.start for found in restore_points_in(content, SEGMENT, "twice")]

    assert len(starts) == 2
    assert starts[0] > starts[1]


@pytest.mark.parametrize("other", [record("nam"), record("names"), record("name", manager=10), record("name", info=0)])
def test_what_is_no_restore_point_of_that_name_is_passed_over(other: bytes) -> None:
    """A longer or shorter name, another kind of record, the name as data."""
    assert not list(restore_points_in(pages(other + b"name\0" * 9), SEGMENT, "name"))


def test_one_that_begins_behind_the_segment_is_left_to_the_next() -> None:
    """Each is found once."""
    room = PAGE - 40 + 3 * (PAGE - 24)
    content = pages(b"\x01" * (room - 50) + record("split")[:50]) + b"\xff" * 24 + record("split")[50:]
    (found,) = restore_points_in(content.ljust(SIZE + PAGE - 16, b"\0"), SEGMENT, "split")
    behind = pages(b"\x01" * room) + b"\xff" * 24 + record("split")

    assert found.end == SEGMENT.end + 40 + 48
    assert not list(restore_points_in(behind.ljust(SIZE + PAGE - 16, b"\0"), SEGMENT, "split"))


def test_a_title_says_where_recovery_reads() -> None:
    """Others say nothing."""
    assert position_in("postgres: shop: startup recovering 000000020000000A000000FE", 1 << 24) == Lsn.parse(
        "A/FE000000"
    )
    assert position_in("postgres: startup waiting for 000000020000000A000000FE", 1 << 24) is None
    assert position_in("postgres: checkpointer ", 1 << 24) is None

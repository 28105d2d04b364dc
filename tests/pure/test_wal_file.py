"""A file is archived only when its bytes are what its name says, for every way in which they can be others."""

from __future__ import annotations

import struct

import pytest

import wal_files
from safepoint import errors
from safepoint.backup.archive.wal_file import (
    FileKind,
    Origin,
    kind_of_file,
    require_pages,
    require_timeline,
    segment_of,
    timeline_of_file,
)
from safepoint.model.history import parse_history
from safepoint.model.lsn import TimelineId
from wal_files import MEBIBYTE, PAGE, history_bytes, segment, segment_bytes

ORIGIN = Origin(cluster=str(wal_files.CLUSTER), major=18)
FIVE = segment(5)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("000000010000000000000005", FileKind.SEGMENT),
        ("000000010000000000000005.partial", FileKind.PARTIAL),
        ("0000000A.history", FileKind.HISTORY),
        ("000000010000000000000005.00000028.backup", FileKind.LABEL),
    ],
)
def test_the_name_says_what_a_file_is(name: str, kind: FileKind) -> None:
    """As PostgreSQL names them; timelines in hexadecimal."""
    assert kind_of_file(name) is kind
    assert timeline_of_file("0000000A.history") == TimelineId(10)


@pytest.mark.parametrize("name", ["", "x", "000000010000000000000005.ready", "00000001000000000000000g", "../5", "5\n"])
def test_other_names_are_refused(name: str) -> None:
    """Nothing is archived under a name that nobody would look for."""
    with pytest.raises(errors.Damaged, match="WL007"):
        kind_of_file(name)


def test_a_sound_segment_is_taken() -> None:
    """By its own first page: position, size."""
    data = segment_bytes(FIVE)

    assert segment_of(FIVE.name, data, ORIGIN) == FIVE
    assert segment_of(f"{FIVE.name}.partial", data, ORIGIN) == FIVE
    require_pages(FIVE, data)
    require_timeline(FIVE, data, ())


@pytest.mark.parametrize("writer", [15, 16, 17, 18])
def test_each_major_has_its_own_pages(writer: int) -> None:
    """A segment of another major is refused, whatever its name."""
    data = segment_bytes(FIVE, major=writer)

    assert segment_of(FIVE.name, data, Origin(cluster=ORIGIN.cluster, major=writer)) == FIVE
    with pytest.raises(errors.Refused, match="WL001"):
        segment_of(FIVE.name, data, Origin(cluster=ORIGIN.cluster, major=15 if writer != 15 else 18))


def test_a_segment_of_another_cluster_is_refused() -> None:
    """By the system identifier on its first page."""
    with pytest.raises(errors.Refused, match=r"WL001: found WAL of cluster 42 .*expected cluster 73"):
        segment_of(FIVE.name, segment_bytes(FIVE, cluster=42), ORIGIN)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"short",
        bytes(MEBIBYTE),
        segment_bytes(FIVE)[:-PAGE],
        segment_bytes(FIVE) + bytes(PAGE),
        segment_bytes(segment(6)),
        b"\xff" + segment_bytes(FIVE)[1:],
        segment_bytes(FIVE)[:32] + struct.pack("<I", 12345) + segment_bytes(FIVE)[36:],
        segment_bytes(FIVE)[:36] + struct.pack("<I", 0) + segment_bytes(FIVE)[40:],
    ],
    ids=["empty", "short", "zeros", "cut", "longer", "another one", "magic", "size", "page size"],
)
def test_a_segment_that_is_not_what_its_name_says_is_refused(data: bytes) -> None:
    """Cut, zeroed, recycled under another name, or with a broken header."""
    with pytest.raises(errors.Damaged, match="WL007"):
        segment_of(FIVE.name, data, ORIGIN)


@pytest.mark.parametrize("page", [1, 77, 127])
def test_a_page_that_is_not_at_its_place_is_refused(page: int) -> None:
    """A page of another position, or zeros with something behind them."""
    data = bytearray(segment_bytes(FIVE))
    data[page * PAGE + 8] ^= 1

    with pytest.raises(errors.Damaged, match=f"WL007: .*{page * PAGE} bytes from its start"):
        require_pages(FIVE, bytes(data))
    data[(page - 1) * PAGE : page * PAGE] = bytes(PAGE)
    if page > 1:
        with pytest.raises(errors.Damaged, match="WL007"):
            require_pages(FIVE, bytes(data))


def test_the_zeros_behind_a_switch_are_sound() -> None:
    """pg_switch_wal leaves pages of zeros to the end of the segment."""
    data = segment_bytes(FIVE)[: 10 * PAGE] + bytes(MEBIBYTE - 10 * PAGE)

    require_pages(FIVE, data)


def test_the_first_segment_of_a_timeline_begins_with_its_ancestors_page() -> None:
    """A promotion copies the bytes before the switch; a switch on a boundary copies none."""
    within = parse_history(history_bytes((1, FIVE.start + 100)))
    before = parse_history(history_bytes((1, FIVE.start)))
    promoted = segment(5, timeline=2)

    require_timeline(promoted, segment_bytes(promoted, written_on=1), within)
    require_timeline(promoted, segment_bytes(promoted), before)
    with pytest.raises(errors.Damaged, match=r"WL007: found a first page of timeline 2 .*expected one of timeline 1"):
        require_timeline(promoted, segment_bytes(promoted), within)
    with pytest.raises(errors.Damaged, match="WL007"):
        require_timeline(promoted, segment_bytes(promoted, written_on=1), before)

"""Headers of WAL pages: what they say, and whole segments that lie in memory of any kind."""

from __future__ import annotations

import struct

import pytest

import wal_files
from safepoint import errors
from safepoint.backup.archive.wal_file import Origin, require_pages, segment_of
from safepoint.postgres.wal_page import LONG_HEADER_BYTES, SHORT_HEADER, aligned, long_header
from wal_files import MEBIBYTE, PAGE, segment, segment_bytes

ORIGIN = Origin(cluster=str(wal_files.CLUSTER), major=18)
FIVE = segment(5)
HALF = MEBIBYTE // 2


def test_the_first_page_says_whose_segment_it_is() -> None:
    """Cluster, address, sizes; a page without the flag says only the address."""
    data = segment_bytes(FIVE)
    header, second = long_header(data), long_header(data[PAGE:])

    assert (SHORT_HEADER.size, LONG_HEADER_BYTES) == (24, 40)
    assert (header.system_identifier, header.address) == (wal_files.CLUSTER, FIVE.start)
    assert (header.timeline, header.segment_size, header.page_size) == (FIVE.timeline, MEBIBYTE, PAGE)
    assert header.is_long
    assert second.address == FIVE.start + PAGE
    assert not second.is_long


def test_too_few_bytes_are_no_header() -> None:
    """Nothing is read behind their end."""
    with pytest.raises(ValueError, match="found 39 bytes, expected 40 at least"):
        long_header(segment_bytes(FIVE)[:39])


@pytest.mark.parametrize(("count", "expected"), [(0, 0), (1, 8), (8, 8), (9, 16)])
def test_records_begin_at_multiples_of_eight(count: int, expected: int) -> None:
    """MAXALIGN."""
    assert aligned(count) == expected


@pytest.mark.parametrize("as_lent", [bytes, memoryview, lambda data: memoryview(bytearray(data))])
def test_a_partly_filled_segment_is_sound_in_memory_of_any_kind(as_lent: type[memoryview]) -> None:
    """The pusher lends views of buffers that serve again; work inline has bytes."""
    content = as_lent(segment_bytes(FIVE)[:HALF] + bytes(HALF))

    assert segment_of(FIVE.name, content, ORIGIN) == FIVE
    require_pages(FIVE, content)


@pytest.mark.parametrize("at", [HALF, HALF + PAGE, MEBIBYTE - 1])
def test_one_byte_behind_the_zeros_is_refused_in_a_view_too(at: int) -> None:
    """Wherever it lies: in the first page of zeros, in the next one, at the very end."""
    data = bytearray(segment_bytes(FIVE)[:HALF] + bytes(HALF))
    data[at] = 1

    with pytest.raises(errors.Damaged, match="WL007"):
        require_pages(FIVE, memoryview(data))


@pytest.mark.parametrize("number", [1, 64, 127])
@pytest.mark.parametrize(("offset", "value"), [(0, b"\xd1\x10"), (8, struct.pack("<Q", 7))])
def test_a_page_that_is_another_is_found_wherever_it_lies(number: int, offset: int, value: bytes) -> None:
    """By its magic alone, and by its address alone."""
    data = bytearray(segment_bytes(FIVE))
    data[number * PAGE + offset : number * PAGE + offset + len(value)] = value

    with pytest.raises(errors.Damaged, match=f"WL007.*{number * PAGE} bytes from its start"):
        require_pages(FIVE, memoryview(data))


@pytest.mark.parametrize("size", [0, 1, 8, 24, 512, 1 << 20])
def test_a_page_size_that_no_server_has_is_refused(size: int) -> None:
    """XLOG_BLCKSZ is a power of two from 1 up to 64 KiB."""
    data = bytearray(segment_bytes(FIVE))
    struct.pack_into("<I", data, 36, size)

    with pytest.raises(errors.Damaged, match="WL007"):
        segment_of(FIVE.name, memoryview(data), ORIGIN)

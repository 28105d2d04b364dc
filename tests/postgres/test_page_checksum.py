"""Page checksums of real servers' files, and which wrong ones are damage."""

from __future__ import annotations

import random
import struct
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import servers
from safepoint.kernel import PAGE_BYTES, page_checksums
from safepoint.model.lsn import Lsn
from safepoint.postgres.cluster import Cluster, stop
from safepoint.postgres.connect import connect
from safepoint.postgres.control import read_control
from safepoint.postgres.page_checksum import are_pages_checkable, bad_pages

_RELATION = r"[0-9]*"
_BLOCKS_A_SEGMENT = 131_072
_START = Lsn.parse("1/A0000000")


@pytest.fixture(scope="module")
def stopped_server(major: int) -> Generator[Cluster]:
    """A server at rest with a table of a few megabytes, an index on it, and pages that UPDATE and VACUUM changed."""
    with servers.server_directory() as path, servers.serving(path, major) as cluster:
        with connect(cluster.url()) as connection:
            connection.execute(
                "CREATE TABLE parcel AS SELECT n AS id, repeat(n::text, 20) AS label FROM generate_series(1, 30000) n"
            )
            connection.execute("CREATE INDEX ON parcel (id)")
            connection.execute("UPDATE parcel SET label = label || '!' WHERE id % 7 = 0")
            connection.execute("VACUUM parcel")
        stop(cluster)
        yield cluster


def relation_files(data: Path) -> Iterator[Path]:
    """Every file with pages below base/ and global/."""
    for path in sorted([*data.glob(f"base/*/{_RELATION}"), *data.glob(f"global/{_RELATION}")]):
        if path.is_file():
            yield path


def page_with(content: bytes, block: int, lsn: Lsn = _START) -> bytes:
    """A page that holds `content`, an LSN, and the checksum it should have at `block`."""
    page = bytearray(struct.pack("<II", lsn.value >> 32, lsn.value & 0xFFFFFFFF) + b"\0\0\0\0" + content)
    page += bytes(PAGE_BYTES - len(page))
    struct.pack_into("<H", page, 8, int(page_checksums(page, block)[0]))
    return bytes(page)


def damaged(page: bytes) -> bytes:
    """The page with one bit of its last byte flipped."""
    return page[:-1] + bytes([page[-1] ^ 1])


def test_every_page_of_a_server_has_the_checksum_we_compute(stopped_server: Cluster) -> None:
    """All pages of all relations of a fresh server with some data hold, and they are many."""
    pages = 0
    for path in relation_files(stopped_server.data):
        content = path.read_bytes()
        assert bad_pages(content, 0, start_lsn=None) == (), path
        pages += len(content) // PAGE_BYTES
    assert pages > 1000


def test_a_flipped_byte_is_found_with_its_block(stopped_server: Cluster) -> None:
    """One bit of one byte of a real table: its block is named, whatever was read before it; elsewhere nothing is."""
    largest = max(relation_files(stopped_server.data), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[100 * PAGE_BYTES + 5000] ^= 4
    assert bad_pages(content, 0, start_lsn=None) == (100,)
    assert bad_pages(memoryview(content)[99 * PAGE_BYTES : 103 * PAGE_BYTES], 99, start_lsn=None) == (100,)
    assert bad_pages(memoryview(content)[101 * PAGE_BYTES :], 101, start_lsn=None) == ()


def test_a_page_in_another_place_is_found(stopped_server: Cluster) -> None:
    """Two pages of a real table that changed places are both bad: the block number is part of the checksum."""
    largest = max(relation_files(stopped_server.data), key=lambda path: path.stat().st_size)
    content = largest.read_bytes()
    first, second, rest = content[:PAGE_BYTES], content[PAGE_BYTES : 2 * PAGE_BYTES], content[2 * PAGE_BYTES :]
    assert bad_pages(second + first + rest, 0, start_lsn=None) == (0, 1)


def test_only_clusters_with_checksums_and_8_kib_pages_are_checkable(stopped_server: Cluster) -> None:
    """Without checksums, or with pages of another size, nothing can be said."""
    control = read_control(stopped_server.binaries, stopped_server.data)
    assert are_pages_checkable(control)
    assert not are_pages_checkable(replace(control, has_checksums=False))
    assert not are_pages_checkable(replace(control, block_size=16384))


def test_block_numbers_continue_across_segments() -> None:
    """The first page of a relation's second gigabyte is block 131,072, and is bad as block 0."""
    pages = b"".join(page_with(b"row", _BLOCKS_A_SEGMENT + index) for index in range(3))
    assert bad_pages(pages, _BLOCKS_A_SEGMENT, start_lsn=None) == ()
    assert bad_pages(pages, 0, start_lsn=None) == (0, 1, 2)
    broken = pages[: 2 * PAGE_BYTES] + damaged(pages[2 * PAGE_BYTES :])
    assert bad_pages(broken, _BLOCKS_A_SEGMENT, start_lsn=None) == (_BLOCKS_A_SEGMENT + 2,)


def test_pages_of_zeros_are_valid() -> None:
    """A page that was only allocated is valid, one with a single bit set is not, wherever the bit is."""
    assert bad_pages(bytes(5 * PAGE_BYTES), 7, start_lsn=None) == ()
    for position in (0, 8, 16, PAGE_BYTES - 1):
        page = bytearray(PAGE_BYTES)
        page[position] = 1
        assert bad_pages(bytes(PAGE_BYTES) + page, 7, start_lsn=None) == (8,)


def test_a_page_torn_by_the_copying_is_not_bad() -> None:
    """What was changed after the backup's start is mended by its WAL; at or before it, a wrong checksum is damage."""
    before, newer = page_with(b"row", 0, _START), page_with(b"row", 1, _START + 1)
    pages = damaged(before) + damaged(newer)
    assert bad_pages(pages, 0, start_lsn=_START) == (0,)
    assert bad_pages(pages, 0, start_lsn=None) == (0, 1)
    assert bad_pages(pages, 0, start_lsn=_START + 1) == (0, 1)


def test_an_lsn_that_no_wal_has_reached_is_damage() -> None:
    """A page of garbage claims an LSN from the future: it is bad where the end of WAL is known."""
    garbage = random.Random(3).randbytes(PAGE_BYTES)
    torn = damaged(page_with(b"row", 1, _START + 100))
    assert bad_pages(garbage + torn, 0, start_lsn=_START, end_lsn=_START + 100) == (0,)
    assert bad_pages(garbage + torn, 0, start_lsn=_START, end_lsn=_START + 99) == (0, 1)


def test_half_a_page_is_refused() -> None:
    """A buffer that ends within a page is refused: nothing is known of what is missing."""
    with pytest.raises(ValueError, match="multiple of 8192"):
        bad_pages(bytes(PAGE_BYTES + 100), 0, start_lsn=None)

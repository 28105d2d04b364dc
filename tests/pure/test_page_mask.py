"""What WAL need not tell of a page is put to zero, and nothing else."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safepoint.model.lsn import Lsn
from safepoint.postgres.page_mask import is_blank, masked, page_lsn, without_cache

PAGE = 8192
HEAP_AT = 8100
SPECIAL = {"btree": (16, 5), "hash": (16, 0xFF80), "gist": (16, 0xFF81), "spgist": (8, 0xFF82), "heap": (0, 0)}


def page(kind: str, *, lsn: int = 0x1_00000002) -> bytearray:
    """A page with one tuple at HEAP_AT, of this access method."""
    special, identity = SPECIAL[kind]
    found = bytearray(PAGE)
    struct.pack_into("<IIHHHHHHI", found, 0, lsn >> 32, lsn & 0xFFFFFFFF, 77, 0, 28, HEAP_AT, PAGE - special, 0x2004, 9)
    struct.pack_into("<I", found, 24, HEAP_AT | 1 << 15 | 60 << 17)
    found[HEAP_AT : PAGE - special] = bytes([0x33]) * (PAGE - special - HEAP_AT)
    if special:
        struct.pack_into("<H", found, PAGE - 2, identity)
    return found


def changed(before: bytearray, at: int, mask: int) -> bytes:
    after = bytearray(before)
    after[at] ^= mask
    return bytes(after)


@pytest.mark.parametrize(
    ("kind", "at", "mask"),
    [
        pytest.param("heap", 8, 0xFF, id="checksum"),
        pytest.param("heap", 10, 0x03, id="free lines, page full"),
        pytest.param("heap", 20, 0xFF, id="pruning hint"),
        pytest.param("heap", 29, 0xFF, id="the hole's begin"),
        pytest.param("heap", HEAP_AT - 1, 0xFF, id="the hole's end"),
        pytest.param("heap", HEAP_AT + 21, 0x0F, id="hint bits of a tuple"),
        pytest.param("btree", 25, 0x80, id="a dead line pointer of a B-tree, low bit"),
        pytest.param("btree", 26, 0x01, id="a dead line pointer of a B-tree, high bit"),
        pytest.param("btree", PAGE - 4, 0x40, id="a B-tree's garbage"),
        pytest.param("btree", PAGE - 2, 0x07, id="a B-tree's vacuum cycle"),
        pytest.param("hash", PAGE - 4, 0x80, id="a hash index's dead tuples"),
        pytest.param("gist", PAGE - 4, 0x10, id="a GiST page's garbage"),
    ],
)
def test_what_may_change_unlogged_is_masked(kind: str, at: int, mask: int) -> None:
    """Pages that differ in nothing else are alike."""
    before = page(kind)

    assert masked(changed(before, at, mask)) == masked(bytes(before))


@pytest.mark.parametrize(
    ("kind", "at", "mask"),
    [
        pytest.param("heap", 0, 0x01, id="LSN"),
        pytest.param("heap", 10, 0x04, id="all visible"),
        pytest.param("heap", 24, 0x01, id="a line pointer"),
        pytest.param("heap", 26, 0x01, id="a heap's dead line pointer"),
        pytest.param("heap", HEAP_AT, 0xFF, id="xmin"),
        pytest.param("heap", HEAP_AT + 20, 0xFF, id="infomask, lower half"),
        pytest.param("heap", HEAP_AT + 21, 0x10, id="infomask, beside the hints"),
        pytest.param("heap", PAGE - 1, 0xFF, id="a column"),
        pytest.param("btree", PAGE - 4, 0x01, id="another flag of a B-tree"),
        pytest.param("btree", HEAP_AT + 21, 0x0F, id="an index's tuple"),
        pytest.param("gist", PAGE - 4, 0x01, id="another flag of a GiST page"),
        pytest.param("hash", PAGE - 4, 0x40, id="another flag of a hash page"),
        pytest.param("spgist", 26, 0x01, id="a line pointer of an SP-GiST page"),
    ],
)
def test_what_must_be_logged_is_not_masked(kind: str, at: int, mask: int) -> None:
    """A difference there is one."""
    before = page(kind)

    assert masked(changed(before, at, mask)) != masked(bytes(before))


def test_the_cache_in_an_spgist_metapage_says_nothing() -> None:
    """It is neither logged nor a hint: with checksums, too, it changes unawares. In other pages those bytes count."""
    meta = page("spgist")
    struct.pack_into("<H", meta, PAGE - 8, 1)
    other = page("spgist")

    assert without_cache(changed(meta, 40, 0xFF)) == without_cache(bytes(meta))
    assert without_cache(changed(meta, 92, 0xFF)) != without_cache(bytes(meta))
    assert without_cache(changed(other, 40, 0xFF)) != without_cache(bytes(other))
    assert masked(changed(meta, 40, 0xFF)) == masked(bytes(meta))


@given(st.integers(0, 2**32))
def test_whatever_a_page_holds_it_can_be_masked(seed: int) -> None:
    """Torn and damaged pages, too: twice is the same as once, and the LSN stays."""
    content = random.Random(seed).randbytes(PAGE)

    once = masked(content)

    assert len(once) == PAGE
    assert once[:8] == content[:8]
    assert masked(once) == once


@given(st.integers(0, 2**32), st.integers(24, 8192), st.integers(24, 8192), st.sampled_from(sorted(SPECIAL)))
def test_line_pointers_may_lead_anywhere(seed: int, lower: int, upper: int, kind: str) -> None:
    """A sound header and special space around nonsense."""
    special, identity = SPECIAL[kind]
    lower, upper = sorted((min(lower, PAGE - special), min(upper, PAGE - special)))
    content = bytearray(random.Random(seed).randbytes(PAGE))
    struct.pack_into("<IIHHHHHHI", content, 0, 0, 1, 2, 3, lower, upper, PAGE - special, 0x2004, 9)
    struct.pack_into("<H", content, PAGE - 2, identity)

    once = masked(bytes(content))

    assert len(once) == PAGE
    assert masked(once) == once


def test_what_was_never_used_is_blank() -> None:
    """Zeros, or a header and special space alone, without an LSN; nothing with a tuple, or that WAL has touched."""
    made_ready = bytearray(page("btree", lsn=0))
    struct.pack_into("<HH", made_ready, 12, 24, PAGE - 16)
    made_ready[24 : PAGE - 16] = bytes(PAGE - 40)
    logged = bytearray(made_ready)
    logged[4] = 1

    assert is_blank(bytes(PAGE))
    assert is_blank(bytes(made_ready))
    assert not is_blank(bytes(logged))
    assert not is_blank(bytes(page("heap", lsn=0)))
    assert not is_blank(changed(made_ready, 5000, 1))


def test_the_lsn_has_its_high_half_first() -> None:
    """As the server prints it."""
    assert page_lsn(page("heap", lsn=0xA_0000_00B0)) == Lsn.parse("A/B0")

"""What of a page may change without a word in WAL, put to zero: two pages equal after that hold the same.

So it is where neither checksums nor wal_log_hints are on: hint bits of heap tuples, dead line pointers and garbage
flags of indexes, page flags and pruning hints. The page's LSN is not among them: it moves with WAL only. The hole
between pd_lower and pd_upper holds nothing. One thing WAL never tells of, with them or without: which pages SP-GiST
used last, a cache in its first page. Bytes in, bytes out; pages that are none of PostgreSQL's stay as they are.

Source: PostgreSQL 18, src/backend/access/common/bufmask.c; heap_mask, btree_mask, hash_mask, gist_mask in
src/backend/access/*; MarkBufferDirtyHint and its callers; SpGistUpdateMetaPage in src/backend/access/spgist/spgutils.c.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from safepoint.kernel import PAGE_BYTES
from safepoint.model.lsn import Lsn

HEADER_BYTES = 24

_CHECKSUM_AT = 8
_FLAGS_AT = 10
_LOWER_AT, _UPPER_AT, _SPECIAL_AT = 12, 14, 16
_PRUNE_XID_AT = 20
_HINTS_IN_PAGE_FLAGS = 0x0003  # PD_HAS_FREE_LINES, PD_PAGE_FULL
_LINE_BYTES = 4
_LINE_OFFSET = np.uint32(0x7FFF)
_LINE_FLAGS = np.uint32(0x18000)
_LINE_NORMAL = np.uint32(0x8000)
_INFOMASK_AT = 20
_TUPLE_HEADER_BYTES = 23
_HINTS_IN_INFOMASK = np.uint16(0x0F00)  # HEAP_XMIN_COMMITTED … HEAP_XMAX_INVALID
_LAST_BTREE_CYCLE = 0xFF7F
_HASH_PAGE = 0xFF80
_GIST_PAGE = 0xFF81
_SPGIST_PAGE = 0xFF82
_SPGIST_META = 0x0001
_SPGIST_SPECIAL_BYTES = 8
_SPGIST_CACHE = slice(28, 92)
_INDEX_SPECIAL_BYTES = 16
_INDEX_FLAGS_AT = 12
_BTREE_CYCLE_AT = 14


@dataclass(frozen=True, slots=True)
class _Bounds:
    lower: int
    upper: int
    special: int


def page_lsn(page: bytes | bytearray | memoryview) -> Lsn:
    """pd_lsn: the end of the last WAL record that changed the page."""
    high, low = int.from_bytes(page[:4], "little"), int.from_bytes(page[4:8], "little")
    return Lsn(high << 32 | low)


def is_blank(page: bytes) -> bool:
    """Whether the page holds nothing and never did: zeros, or made ready by an extension that came to nothing."""
    if not any(page):
        return True
    bounds = _bounds(page)
    if bounds is None or page_lsn(page) != Lsn(0) or bounds.lower != HEADER_BYTES:
        return False
    return bounds.upper == bounds.special and not any(page[HEADER_BYTES : bounds.special])


def without_cache(page: bytes) -> bytes:
    """The page without what changes with no word in WAL even where hint bits are logged."""
    bounds = _bounds(page)
    if bounds is None or PAGE_BYTES - bounds.special != _SPGIST_SPECIAL_BYTES:
        return page
    flags, kind = (int.from_bytes(page[at : at + 2], "little") for at in (bounds.special, PAGE_BYTES - 2))
    if kind != _SPGIST_PAGE or not flags & _SPGIST_META:
        return page
    found = bytearray(page)
    found[_CHECKSUM_AT : _CHECKSUM_AT + 2] = bytes(2)
    found[_SPGIST_CACHE] = bytes(_SPGIST_CACHE.stop - _SPGIST_CACHE.start)
    return bytes(found)


def masked(page: bytes) -> bytes:
    """The page, with all that may change without WAL put to zero."""
    page = without_cache(page)
    bounds = _bounds(page)
    if bounds is None:
        return page
    found = bytearray(page)
    found[_CHECKSUM_AT : _CHECKSUM_AT + 2] = bytes(2)
    found[_FLAGS_AT] &= 0xFF & ~_HINTS_IN_PAGE_FLAGS
    found[_PRUNE_XID_AT : _PRUNE_XID_AT + 4] = bytes(4)
    if bounds.lower > HEADER_BYTES:  # an index's first page may keep content behind a header alone
        found[bounds.lower : bounds.upper] = bytes(bounds.upper - bounds.lower)
    if bounds.special == PAGE_BYTES:
        _mask_heap(found, bounds)
    elif PAGE_BYTES - bounds.special == _INDEX_SPECIAL_BYTES:
        _mask_index(found, bounds)
    return bytes(found)


def _bounds(page: bytes) -> _Bounds | None:
    """Where the page's parts lie; None for what is no page of ours."""
    if len(page) != PAGE_BYTES:
        return None
    lower, upper, special = (int.from_bytes(page[at : at + 2], "little") for at in (_LOWER_AT, _UPPER_AT, _SPECIAL_AT))
    is_sound = HEADER_BYTES <= lower <= upper <= special <= PAGE_BYTES
    return _Bounds(lower, upper, special) if is_sound else None


def _mask_heap(page: bytearray, bounds: _Bounds) -> None:
    """Hint bits of every tuple that a line pointer leads to."""
    lines = np.frombuffer(page, "<u4", count=(bounds.lower - HEADER_BYTES) // _LINE_BYTES, offset=HEADER_BYTES)
    offsets = (lines[(lines & _LINE_FLAGS) == _LINE_NORMAL] & _LINE_OFFSET).astype(np.int64)
    is_within = (offsets >= bounds.upper) & (offsets + _TUPLE_HEADER_BYTES <= PAGE_BYTES)
    words = np.frombuffer(page, "<u2")
    aligned = offsets[is_within & (offsets % 2 == 0)]
    words[(aligned + _INFOMASK_AT) // 2] &= ~_HINTS_IN_INFOMASK


def _mask_index(page: bytearray, bounds: _Bounds) -> None:
    """Dead line pointers and what says that there are any; of a B-tree also VACUUM's cycle."""
    kind = int.from_bytes(page[-2:], "little")
    flags_at = bounds.special + _INDEX_FLAGS_AT
    if kind <= _LAST_BTREE_CYCLE:
        page[flags_at] &= 0xFF & ~0x40  # BTP_HAS_GARBAGE
        page[bounds.special + _BTREE_CYCLE_AT :] = bytes(2)
    elif kind == _HASH_PAGE:
        page[flags_at] &= 0xFF & ~0x80  # LH_PAGE_HAS_DEAD_TUPLES
    elif kind == _GIST_PAGE:
        page[flags_at] &= 0xFF & ~0x10  # F_HAS_GARBAGE
    else:
        return
    lines = np.frombuffer(page, "<u4", count=(bounds.lower - HEADER_BYTES) // _LINE_BYTES, offset=HEADER_BYTES)
    lines &= ~_LINE_FLAGS

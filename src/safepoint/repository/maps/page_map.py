"""The page map of a chunk: which blob holds each page, as extents; whole, or the changes to another.

An extent says that pages [first, first + pages) of the chunk are pages q, q + 1, … of one blob. A whole map and
changes to one are the same kind of value; laying changes over a map is exact, whatever they split. In every map made
here extents are as long as they can be, and blobs and packs stand in the order of their first use: so the same content
is the same bytes, and nothing is listed that no page uses. The decoder holds every node to that order.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from safepoint.model.backup import BlobRef
from safepoint.repository.maps.refs import Cursor, check_ids, encode_start
from safepoint.repository.maps.shape import CHUNK_GROUPS, CHUNK_PAGES, GROUP_PAGES, Node, pages_of
from safepoint.repository.sealing.seal import ID_BYTES

_COUNTS = struct.Struct(">III")
_BLOB = struct.Struct(">32sIIII")
_NUMBER = np.dtype(">u4")
_FIRST, _PAGES, _BLOB_INDEX, _PAGE_IN_BLOB = range(4)
_COLUMNS = 4
_NO_BLOB = -1

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PageMap:
    """`extents` has a row (first page, pages, index into `blobs`, first page in that blob) each; sorted, disjoint.

    Column by column in memory, so that looking for a page does not copy the first column.
    """

    blobs: tuple[BlobRef, ...]
    extents: Numbers


EMPTY = PageMap(blobs=(), extents=np.empty((0, _COLUMNS), dtype=np.int64))


def page_map(rows: Iterable[tuple[int, int, BlobRef, int]]) -> PageMap:
    """The map of rows (first page, pages, blob, first page in the blob) in any order; ValueError where they overlap."""
    numbers: dict[BlobRef, int] = {}
    table = [(first, pages, numbers.setdefault(blob, len(numbers)), start) for first, pages, blob, start in rows]
    extents = np.array(sorted(table), dtype=np.int64).reshape(-1, _COLUMNS)
    blobs = tuple(numbers)
    _check_extents(blobs, extents)
    return _tidied(blobs, extents)


def overlay(base: PageMap, changes: PageMap) -> PageMap:
    """What both say, where both speak of a page what the changes say. `base` may be whole, or older changes."""
    blobs = np.full(CHUNK_PAGES, _NO_BLOB, dtype=np.int64)
    starts = np.zeros(CHUNK_PAGES, dtype=np.int64)
    _paint(base.extents, 0, blobs, starts)
    _paint(changes.extents, len(base.blobs), blobs, starts)
    pages = np.flatnonzero(blobs != _NO_BLOB)
    one_page = np.column_stack((pages, np.ones_like(pages), blobs[pages], starts[pages]))
    return _tidied(base.blobs + changes.blobs, one_page)


def cut(pages_by_blob: PageMap, pages: int) -> PageMap:
    """The map of the first `pages` pages: the file ends there."""
    extents = pages_by_blob.extents[pages_by_blob.extents[:, _FIRST] < pages]
    extents[:, _PAGES] = np.minimum(extents[:, _PAGES], pages - extents[:, _FIRST])
    return _tidied(pages_by_blob.blobs, extents)


def end(pages_by_blob: PageMap) -> int:
    """The page after the last one that the map speaks of."""
    extents = pages_by_blob.extents
    return int(extents[-1, _FIRST] + extents[-1, _PAGES]) if len(extents) else 0


def is_whole(pages_by_blob: PageMap, pages: int) -> bool:
    """Does the map speak of the first `pages` pages of the chunk, all of them and no others?"""
    return end(pages_by_blob) == pages == int(pages_by_blob.extents[:, _PAGES].sum())


def has_all(pages_by_blob: PageMap, pages: int) -> bool:
    """Does the map speak of each of the first `pages` pages of the chunk? Cheaper than to cut it."""
    extents = pages_by_blob.extents
    return int(np.clip(pages - extents[:, _FIRST], 0, extents[:, _PAGES]).sum()) == pages


def blob_counts(pages_by_blob: PageMap) -> Numbers:
    """By group, CHUNK_GROUPS of them: how many different blobs hold its pages."""
    blobs = np.full(CHUNK_PAGES, _NO_BLOB, dtype=np.int64)
    _paint(pages_by_blob.extents, 0, blobs, np.zeros(CHUNK_PAGES, dtype=np.int64))
    by_group = np.sort(blobs.reshape(CHUNK_GROUPS, GROUP_PAGES), axis=1)
    is_first = np.ones(by_group.shape, dtype=np.bool_)
    is_first[:, 1:] = by_group[:, 1:] != by_group[:, :-1]
    return (is_first & (by_group != _NO_BLOB)).sum(axis=1)


def slices(pages_by_blob: PageMap, first_page: int, pages: int) -> Iterator[tuple[int, int, BlobRef, int]]:
    """Pages [first_page, first_page + pages) in order, as (first page, pages, blob, first page in the blob).

    ValueError, before the first of them, when the map does not speak of one of the pages.
    """
    firsts = pages_by_blob.extents[:, _FIRST]
    low = max(int(np.searchsorted(firsts, first_page, side="right")) - 1, 0)
    high = int(np.searchsorted(firsts, first_page + pages))
    rows: list[list[int]] = pages_by_blob.extents[low:high].tolist()
    clipped = [
        (max(first, first_page), min(first + count, first_page + pages), blob, start + max(first_page - first, 0))
        for first, count, blob, start in rows
    ]
    found = sum(max(end - first, 0) for first, end, _, _ in clipped)
    if found != pages:
        raise ValueError(
            f"found {found} of pages {first_page} to {first_page + pages - 1} in the page map, expected {pages}"
        )
    for first, end, blob, start in clipped:
        yield first, end - first, pages_by_blob.blobs[blob], start


def encode(pages_by_blob: PageMap, base: BlobRef | None) -> bytes:
    """The node: a whole map, or changes to the node `base`."""
    packs: dict[bytes, int] = {}
    blobs = bytearray()
    for blob in pages_by_blob.blobs:
        check_ids(blob)
        pack = packs.setdefault(blob.pack, len(packs))
        blobs += _BLOB.pack(blob.id, pack, blob.offset, blob.length, blob.raw_length)
    counts = _COUNTS.pack(len(packs), len(pages_by_blob.blobs), len(pages_by_blob.extents))
    extents = pages_by_blob.extents.astype(_NUMBER).tobytes()
    return b"".join((encode_start(Node.PAGE_MAP, base), counts, *packs, blobs, extents))


def decode(data: bytes | memoryview) -> tuple[PageMap, BlobRef | None]:
    """What `encode` was given; ValueError for anything that it cannot have written."""
    cursor = Cursor(data)
    base = cursor.start(Node.PAGE_MAP)
    packs, blobs, extents = cursor.unpack(_COUNTS)
    cursor.expect_left(packs * ID_BYTES + blobs * _BLOB.size + extents * _COLUMNS * _NUMBER.itemsize)
    names = [bytes(cursor.take(ID_BYTES)) for _ in range(packs)]
    refs = _decode_blobs(names, cursor.take(blobs * _BLOB.size))
    table = np.frombuffer(cursor.take(cursor.left), dtype=_NUMBER).astype(np.int64).reshape(-1, _COLUMNS)
    _expect_first_use_order("blob", table[:, _BLOB_INDEX], blobs)
    _check_extents(refs, table)
    return PageMap(blobs=refs, extents=np.asfortranarray(table)), base


def _decode_blobs(packs: Sequence[bytes], data: memoryview) -> tuple[BlobRef, ...]:
    rows: list[tuple[bytes, int, int, int, int]] = list(_BLOB.iter_unpack(data))
    _expect_first_use_order("pack", np.array([row[1] for row in rows], dtype=np.int64), len(packs))
    return tuple(
        BlobRef(id=blob, pack=packs[pack], offset=offset, length=length, raw_length=raw_length)
        for blob, pack, offset, length, raw_length in rows
    )


def _expect_first_use_order(what: str, indexes: Numbers, count: int) -> None:
    """ValueError unless `indexes` use `count` numbers from 0 on, each for the first time in ascending order."""
    highest = np.maximum.accumulate(np.concatenate(([_NO_BLOB], indexes)))
    jumps = np.flatnonzero(indexes > highest[:-1] + 1)
    if len(jumps):
        at = int(jumps[0])
        raise ValueError(
            f"found {what} {indexes[at]} used first after {what} {highest[at]}, expected {highest[at] + 1}"
        )
    if int(highest[-1]) + 1 != count:
        raise ValueError(f"found {int(highest[-1]) + 1} {what}s used, expected the {count} that are listed")


def _check_extents(blobs: Sequence[BlobRef], extents: Numbers) -> None:
    """ValueError unless extents are sorted, disjoint, not empty, and lie within the chunk and within their blobs."""
    sizes = np.array([pages_of(blob.raw_length) for blob in blobs], dtype=np.int64)
    ends = extents[:, _FIRST] + extents[:, _PAGES]
    _expect_none("no page", extents, extents[:, _PAGES] < 1)
    _expect_none("overlaps or precedes the extent before it", extents[1:], extents[1:, _FIRST] < ends[:-1])
    _expect_none(f"outside the chunk of {CHUNK_PAGES} pages", extents, (ends > CHUNK_PAGES) | (extents[:, _FIRST] < 0))
    within = extents[:, _PAGE_IN_BLOB] + extents[:, _PAGES]
    is_outside = (within > sizes[extents[:, _BLOB_INDEX]]) | (extents[:, _PAGE_IN_BLOB] < 0)
    _expect_none("outside the blob", extents, is_outside)


def _expect_none(what: str, extents: Numbers, is_wrong: NDArray[np.bool_]) -> None:
    wrong = np.flatnonzero(is_wrong)
    if len(wrong):
        first, pages, blob, start = extents[int(wrong[0])].tolist()
        raise ValueError(
            f"found {pages} pages from {first} on, at page {start} of blob {blob}: {what}, expected no such extent"
        )


def _paint(extents: Numbers, first_blob: int, blobs: Numbers, starts: Numbers) -> None:
    """Writes for each page its blob's number, counted from `first_blob`, and which page of the blob it is."""
    counts = extents[:, _PAGES]
    within = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    pages = np.repeat(extents[:, _FIRST], counts) + within
    blobs[pages] = np.repeat(extents[:, _BLOB_INDEX] + first_blob, counts)
    starts[pages] = np.repeat(extents[:, _PAGE_IN_BLOB], counts) + within


def _tidied(blobs: Sequence[BlobRef], extents: Numbers) -> PageMap:
    """The map of sorted, disjoint extents: neighbours joined, equal blobs made one, blobs numbered by first use."""
    numbers: dict[BlobRef, int] = {}
    used, first_rows = np.unique(extents[:, _BLOB_INDEX], return_index=True)
    by_first_use: list[int] = used[np.argsort(first_rows)].tolist()
    renumbered = np.zeros(len(blobs), dtype=np.int64)
    for old in by_first_use:
        renumbered[old] = numbers.setdefault(blobs[old], len(numbers))
    extents = extents.copy()
    extents[:, _BLOB_INDEX] = renumbered[extents[:, _BLOB_INDEX]]
    return PageMap(blobs=tuple(numbers), extents=np.asfortranarray(_joined(extents)))


def _joined(extents: Numbers) -> Numbers:
    """The same extents, each as long as it can be."""
    before, after = extents[:-1], extents[1:]
    continues = (
        (before[:, _FIRST] + before[:, _PAGES] == after[:, _FIRST])
        & (before[:, _BLOB_INDEX] == after[:, _BLOB_INDEX])
        & (before[:, _PAGE_IN_BLOB] + before[:, _PAGES] == after[:, _PAGE_IN_BLOB])
    )
    heads = np.flatnonzero(np.concatenate(([len(extents) > 0], ~continues))[: len(extents)])
    joined = extents[heads]
    joined[:, _PAGES] = np.add.reduceat(extents[:, _PAGES], heads) if len(heads) else 0
    return joined

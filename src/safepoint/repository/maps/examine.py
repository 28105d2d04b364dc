"""What becomes of a batch of pages: nothing for those the parent has, patches for few changes, whole groups for many.

Runs in worker threads and decides by values alone: the batch, what the parent has there, and the keys of fingerprints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from safepoint.kernel import page_fingerprints
from safepoint.model.backup import BlobRef
from safepoint.repository.maps.chunk import ParentChunk, Row, page_size
from safepoint.repository.maps.shape import GROUP_BYTES, GROUP_PAGES, PAGE_BYTES

Patch = tuple[int, bytes]
"""A page's number in its chunk, and its bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Bytes of one chunk from `first_page` on, which begins a group; whole groups but for the last."""

    data: memoryview
    first_page: int
    parent: ParentChunk | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """Groups that were stored whole, pages to be patched, and the fingerprints of all pages that changed."""

    rows: list[Row]
    patches: list[Patch]
    pages: NDArray[np.int64]
    values: NDArray[np.uint64]


def examine(batch: Batch, keys: bytes, put_blob: Callable[[memoryview], BlobRef]) -> Examined:
    """Compares the batch with the parent and stores the groups that are to be stored whole."""
    values = page_fingerprints(batch.data, keys)
    is_changed = _changed(batch, values)
    rows: list[Row] = []
    patches: list[Patch] = []
    for first, pages in _changed_groups(is_changed):
        if _is_patched(batch, first, is_changed[first : first + pages]):
            changed = first + np.flatnonzero(is_changed[first : first + pages])
            patches += [(batch.first_page + int(page), _page(batch.data, int(page))) for page in changed]
        else:
            start = first * PAGE_BYTES
            ref = put_blob(batch.data[start : start + GROUP_BYTES])
            rows.append((batch.first_page + first, pages, ref, 0))
    found = np.flatnonzero(is_changed)
    return Examined(rows=rows, patches=patches, pages=found + batch.first_page, values=values[found])


def _changed(batch: Batch, values: NDArray[np.uint64]) -> NDArray[np.bool_]:
    is_changed = np.ones(len(values), np.bool_)
    parent = batch.parent
    if parent is None:
        return is_changed
    known = parent.known[batch.first_page : batch.first_page + len(values)]
    is_changed[: len(known)] = values[: len(known)] != known
    # A fingerprint takes a short page as if zeros followed: only its length tells it from a full one.
    last = parent.pages - 1 - batch.first_page
    for page in {last, len(values) - 1} & set(range(len(known))):
        ours = min(len(batch.data) - page * PAGE_BYTES, PAGE_BYTES)
        is_changed[page] |= ours != page_size(parent.size, batch.first_page + page)
    return is_changed


def _changed_groups(is_changed: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """First page and number of pages of each group in which anything changed."""
    starts = np.arange(0, len(is_changed), GROUP_PAGES)
    for first in starts[np.logical_or.reduceat(is_changed, starts)] if len(starts) else ():
        yield int(first), min(GROUP_PAGES, len(is_changed) - int(first))


def _is_patched(batch: Batch, first: int, is_changed: NDArray[np.bool_]) -> bool:
    """Few enough pages of the group changed, and it is not spread over too many blobs yet."""
    parent = batch.parent
    page = batch.first_page + first
    if parent is None or page >= parent.pages:
        return False
    return 2 * int(is_changed.sum()) <= len(is_changed) and parent.has_room_in(page // GROUP_PAGES)


def _page(data: memoryview, page: int) -> bytes:
    return bytes(data[page * PAGE_BYTES : (page + 1) * PAGE_BYTES])

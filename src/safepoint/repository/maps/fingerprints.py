"""The fingerprints of a chunk's pages as nodes: all of them, or those that changed.

A fingerprint decides only whether a page counts as changed; it proves nothing. Its keys come from the repository's
master, so that nobody without it can make a page that looks unchanged. A whole list and changes to one are the same
kind of value: pages, and the fingerprint of each.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from safepoint.kernel import FINGERPRINT_KEY_BYTES
from safepoint.model.backup import BlobRef
from safepoint.repository.maps.refs import Cursor, encode_start
from safepoint.repository.maps.shape import CHUNK_PAGES, Node

_COUNT = struct.Struct(">I")
_VALUE = np.dtype(">u8")
_CHANGE = np.dtype([("page", ">u4"), ("value", ">u8")])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fingerprints:
    """`values[i]` is the fingerprint of page `pages[i]` of a chunk; pages ascend, each once."""

    pages: NDArray[np.int64]
    values: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.pages)


def fingerprint_keys(key: bytes) -> bytes:
    """The keys of both rows of the hash, little-endian u64, from the 32 bytes derived for page fingerprints."""
    return blake3(b"", key=key).digest(length=FINGERPRINT_KEY_BYTES)


def whole(values: NDArray[np.uint64]) -> Fingerprints:
    """The fingerprints of pages 0, 1, … of a chunk."""
    return Fingerprints(pages=np.arange(len(values), dtype=np.int64), values=values)


def changed(before: Fingerprints, values: NDArray[np.uint64]) -> Fingerprints:
    """Those of `values`, the fingerprints of pages 0, 1, … now, that are not what the page had before."""
    is_changed = np.ones(len(values), dtype=np.bool_)
    known = before.pages[before.pages < len(values)]
    is_changed[known] = values[known] != before.values[: len(known)]
    pages = np.flatnonzero(is_changed)
    return Fingerprints(pages=pages, values=values[pages])


def overlay(base: Fingerprints, changes: Fingerprints) -> Fingerprints:
    """What both say, where both speak of a page what the changes say. `base` may be whole, or older changes."""
    is_known = np.zeros(CHUNK_PAGES, dtype=np.bool_)
    values = np.empty(CHUNK_PAGES, dtype=np.uint64)
    for fingerprints in (base, changes):
        is_known[fingerprints.pages] = True
        values[fingerprints.pages] = fingerprints.values
    pages = np.flatnonzero(is_known)
    return Fingerprints(pages=pages, values=values[pages])


def cut(fingerprints: Fingerprints, pages: int) -> Fingerprints:
    """Those of the first `pages` pages: the file ends there."""
    count = int(np.searchsorted(fingerprints.pages, pages))
    return Fingerprints(pages=fingerprints.pages[:count], values=fingerprints.values[:count])


def dense(fingerprints: Fingerprints, pages: int) -> NDArray[np.uint64]:
    """Those of pages 0 … `pages`, half-open, by page; ValueError where one of them has none."""
    first = cut(fingerprints, pages)
    if len(first) != pages:
        raise ValueError(f"found fingerprints of {len(first)} of the first {pages} pages, expected all")
    return first.values


def encode(fingerprints: Fingerprints, base: BlobRef | None) -> bytes:
    """The node: whole, or changes to the node `base`."""
    start = encode_start(Node.FINGERPRINTS, base) + _COUNT.pack(len(fingerprints))
    if base is None:
        return start + _without_gaps(fingerprints).astype(_VALUE).tobytes()
    changes = np.empty(len(fingerprints), dtype=_CHANGE)
    changes["page"] = fingerprints.pages
    changes["value"] = fingerprints.values
    return start + changes.tobytes()


def decode(data: bytes | memoryview) -> tuple[Fingerprints, BlobRef | None]:
    """What `encode` was given; ValueError for anything that it cannot have written."""
    cursor = Cursor(data)
    base = cursor.start(Node.FINGERPRINTS)
    (count,) = cursor.unpack(_COUNT)
    cursor.expect_left(count * (_VALUE if base is None else _CHANGE).itemsize)
    rows = cursor.take(cursor.left)
    found = whole(np.frombuffer(rows, dtype=_VALUE).astype(np.uint64)) if base is None else _decode_changes(rows)
    _expect_in_chunk(found)
    return found, base


def _decode_changes(data: memoryview) -> Fingerprints:
    rows = np.frombuffer(data, dtype=_CHANGE)
    pages = rows["page"].astype(np.int64)
    falls = np.flatnonzero(pages[1:] <= pages[:-1])
    if len(falls):
        at = int(falls[0])
        raise ValueError(
            f"found the fingerprint of page {pages[at + 1]} after that of page {pages[at]}, expected pages to ascend"
        )
    return Fingerprints(pages=pages, values=rows["value"].astype(np.uint64))


def _expect_in_chunk(fingerprints: Fingerprints) -> None:
    if len(fingerprints) and int(fingerprints.pages[-1]) >= CHUNK_PAGES:
        raise ValueError(f"found a fingerprint of page {fingerprints.pages[-1]}, expected pages below {CHUNK_PAGES}")


def _without_gaps(fingerprints: Fingerprints) -> NDArray[np.uint64]:
    return dense(fingerprints, int(fingerprints.pages[-1]) + 1 if len(fingerprints) else 0)

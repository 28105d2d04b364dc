"""How much WAL a repository holds of each cluster. Names say what is in it; sizes are asked of a sample alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from safepoint.repository.commit.parallel import in_threads
from safepoint.stores.port import NotFound, Store

SAMPLE = 200
_MEBIBYTE = 1024 * 1024
_SEGMENT = re.compile(r"wal/([0-9]+)/[^/]+/[0-9A-F]{24}\.([0-9]{1,4})MB")
_RANGE = re.compile(r"tmp/wal/([0-9]+)/[^/]+/([0-9A-F]{16})-([0-9A-F]{16})")


@dataclass(frozen=True, slots=True, kw_only=True)
class WalFigures:
    """WAL of one cluster: `raw_bytes` of it (exact), in objects of `stored_bytes`.

    With `is_estimate` the latter is what `SAMPLE` of the objects, evenly spread, have on average.
    """

    cluster: str
    segments: int
    ranges: int
    raw_bytes: int
    stored_bytes: int
    is_estimate: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    name: str
    cluster: str
    raw_bytes: int
    is_range: bool


def wal_figures(store: Store) -> tuple[WalFigures, ...]:
    """Of each cluster, by its name: two listings, and at most `SAMPLE` questions for a size."""
    pieces = [piece for prefix in ("wal/", "tmp/wal/") for name in store.list(prefix) if (piece := _piece(name))]
    clusters = sorted({piece.cluster for piece in pieces})
    return tuple(_figures(store, name, [piece for piece in pieces if piece.cluster == name]) for name in clusters)


def _piece(name: str) -> _Piece | None:
    """None for timeline histories and whatever else lies there."""
    if match := _SEGMENT.fullmatch(name):
        return _Piece(name=name, cluster=match[1], raw_bytes=int(match[2]) * _MEBIBYTE, is_range=False)
    if match := _RANGE.fullmatch(name):
        size = int(match[3], 16) - int(match[2], 16)
        return _Piece(name=name, cluster=match[1], raw_bytes=size, is_range=True)
    return None


def _figures(store: Store, cluster: str, pieces: Sequence[_Piece]) -> WalFigures:
    def size(piece: _Piece) -> int | None:
        try:
            return store.size(piece.name)
        except NotFound:  # a range that was replaced since it was listed
            return None

    step = max(1, -(-len(pieces) // SAMPLE))
    sizes = [found for found in in_threads(size, pieces[::step]) if found is not None]
    stored = sum(sizes) if step == 1 else round(sum(sizes) / max(len(sizes), 1) * len(pieces))
    return WalFigures(
        cluster=cluster,
        segments=sum(not piece.is_range for piece in pieces),
        ranges=sum(piece.is_range for piece in pieces),
        raw_bytes=sum(piece.raw_bytes for piece in pieces),
        stored_bytes=stored,
        is_estimate=step > 1,
    )

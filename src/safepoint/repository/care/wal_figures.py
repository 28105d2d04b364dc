"""How much WAL a repository holds of each cluster. Names say what is in it; sizes are asked of a sample alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from safepoint.repository.care.stored_sizes import stored_size
from safepoint.repository.names import WAL_PREFIXES, wal_place
from safepoint.stores.port import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class WalFigures:
    """WAL of one cluster: `raw_bytes` of it (exact), in objects of `stored_bytes`.

    With `is_estimate` the latter is what a sample of the objects has on average.
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
    pieces = [piece for prefix in WAL_PREFIXES for name in store.list(prefix) if (piece := _piece(name))]
    clusters = sorted({piece.cluster for piece in pieces})
    return tuple(_figures(store, name, [piece for piece in pieces if piece.cluster == name]) for name in clusters)


def _piece(name: str) -> _Piece | None:
    """None for timeline histories and whatever else lies there."""
    place = wal_place(name)
    if place is None:
        return None
    if (segment := place.segment) is not None:
        return _Piece(name=name, cluster=place.cluster, raw_bytes=segment.size, is_range=False)
    if (found := place.range) is not None:
        return _Piece(name=name, cluster=place.cluster, raw_bytes=found[1] - found[0], is_range=True)
    return None


def _figures(store: Store, cluster: str, pieces: Sequence[_Piece]) -> WalFigures:
    stored = stored_size(store, [piece.name for piece in pieces])
    return WalFigures(
        cluster=cluster,
        segments=sum(not piece.is_range for piece in pieces),
        ranges=sum(piece.is_range for piece in pieces),
        raw_bytes=sum(piece.raw_bytes for piece in pieces),
        stored_bytes=stored.bytes,
        is_estimate=stored.is_estimate,
    )

"""WAL in the repository: complete segments, ranges of the open one, and timeline histories.

    wal/<cluster>/<timeline>-<digest of its history>/<segment>.<size>MB     a complete segment
    wal/<cluster>/<timeline>-<digest of its history>/<timeline>.history     the history itself
    tmp/wal/<cluster>/<timeline>-<digest>/<start>-<end>                     a range, by LSN in 16 digits

A name says which bytes of which timeline an object holds, so that coverage needs a listing only. The digest keeps the
WAL of two servers apart that were promoted from one cluster and both claim a timeline number: this version lets only
the first of them in (RP007), because a mixture restores to neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from blake3 import blake3

from safepoint import errors
from safepoint.model.coverage import Mark, WalPiece
from safepoint.model.json_value import Json
from safepoint.model.lsn import Lsn, TimelineId, WalSegment
from safepoint.repository.names import (
    RANGES_PREFIX,
    WAL_PREFIX,
    WAL_PREFIXES,
    WalPlace,
    cluster_of,
    is_cluster,
    range_leaf,
    segment_leaf,
    wal_place,
)
from safepoint.repository.sealing.objects import Opened, broken, read_facts, read_object, seal_object
from safepoint.repository.sealing.seal import Keyring, Kind
from safepoint.stores.port import NotFound, Store

_RANGES_FIRST = (RANGES_PREFIX, WAL_PREFIX)
"""A segment is put before its ranges are deleted, so that one of the two listings shows the bytes."""


class WalArchive:
    """The WAL of all clusters in one repository. Everything put is durable on return."""

    def __init__(self, store: Store, keyring: Keyring) -> None:
        self._store = store
        self._keyring = keyring
        self._history_key = keyring.derive("history digest")
        self._content_key = keyring.derive("wal digest")
        self._only_lineages: set[str] = set()

    def put_segment(self, cluster: str, segment: WalSegment, data: bytes, *, history: bytes, mark: Mark | None) -> str:
        """The segment is stored; the name of its lineage's folder. RP007 when other bytes already have its name."""
        if len(data) != segment.size:
            raise ValueError(f"found {len(data)} bytes for segment {segment.name}, expected {segment.size}")
        folder = self._folder(cluster, segment.timeline, history)
        name = f"{WAL_PREFIX}{folder}/{segment_leaf(segment)}"
        self._put(name, folder, data, _facts(cluster, segment.timeline, segment.start, mark))
        return folder.rpartition("/")[2]

    def put_range(
        self, cluster: str, timeline: TimelineId, start: Lsn, data: bytes, *, history: bytes, mark: Mark | None
    ) -> None:
        """The range [start, start + len(data)) is stored; RP007 when other bytes already have its name."""
        if not data:
            raise ValueError(f"found an empty range at {start}, expected WAL")
        folder = self._folder(cluster, timeline, history)
        name = f"{RANGES_PREFIX}{folder}/{range_leaf(start, start + len(data))}"
        self._put(name, folder, data, _facts(cluster, timeline, start, mark))

    def pieces(self, cluster: str) -> tuple[WalPiece, ...]:
        """Everything held of the cluster, by timeline, start, end; two lineages of one timeline are RP007."""
        names = (name for prefix in _RANGES_FIRST for name in self._store.list(f"{prefix}{_checked(cluster)}/"))
        lineages: dict[TimelineId, str] = {}
        pieces: list[WalPiece] = []
        for name in names:
            if (place := wal_place(name)) is not None:
                known = lineages.setdefault(place.timeline, place.lineage)
                _require_one_lineage(cluster, place.timeline, known, place.lineage)
                pieces += pieces_at(name, place)
        return tuple(sorted(pieces, key=lambda piece: (piece.timeline, piece.start, piece.end, piece.is_partial)))

    def read(self, piece: WalPiece) -> bytes:
        """The WAL bytes, of a range that was deleted since from what replaced it; RP004, RP005."""
        try:
            return self._read_body(piece)
        except errors.Damaged as error:
            held = self._replacement(piece, error)
        return self._read_body(held)[piece.start - held.start : piece.end - held.start]

    def read_mark(self, piece: WalPiece) -> Mark | None:
        """The newest mark that was known when the piece, or what replaced it since, was put; RP004, RP005."""
        try:
            return self._read_mark(piece.name)
        except errors.Damaged as error:
            held = self._replacement(piece, error)
        return self._read_mark(held.name)

    def _read_body(self, piece: WalPiece) -> bytes:
        body = read_object(self._store, self._keyring, Kind.WAL, piece.name).body
        if len(body) != piece.end - piece.start:
            raise broken(piece.name, Kind.WAL, len(body))
        return body

    def _read_mark(self, name: str) -> Mark | None:
        facts = read_facts(self._store, self._keyring, Kind.WAL, name)
        try:
            return _mark_of(facts["mark"])
        except (KeyError, TypeError, ValueError, OverflowError):
            raise broken(name, Kind.WAL, self._store.size(name)) from None

    def _replacement(self, piece: WalPiece, error: errors.Damaged) -> WalPiece:
        """What holds all bytes of a range that is gone: a receiver at work replaces ranges. Else raises the error."""
        if error.spec is errors.RP004 and piece.is_partial:
            for other in sorted(self.pieces(cluster_of(piece.name)), key=lambda other: other.is_partial):
                if other.covers(piece):
                    return other
        raise error

    def delete_range(self, piece: WalPiece) -> None:
        """The range is gone, or was already."""
        if not piece.is_partial:
            raise ValueError(f"found the complete segment {piece.name}, expected a range")
        try:
            self._store.delete(piece.name)
        except NotFound:
            return

    def put_history(self, cluster: str, timeline: TimelineId, content: bytes) -> None:
        """The history is stored; RP007 when the timeline has another one."""
        folder = self._folder(cluster, timeline, content)
        self._require_only_lineage(cluster, timeline, folder)
        name = f"{WAL_PREFIX}{folder}/{timeline.history_name}"
        sealed = seal_object(self._keyring, Kind.HISTORY, name, content)
        if not self._store.put_if_absent(name, sealed):
            self._read_history(name)

    def read_history(self, cluster: str, timeline: TimelineId) -> bytes | None:
        """The history, None when none is held; RP005, RP007 when two are."""
        prefix = f"{WAL_PREFIX}{_checked(cluster)}/{timeline.hexadecimal}-"
        found = [name for name in self._store.list(prefix) if name.endswith(f"/{timeline.history_name}")]
        for name in found[1:]:
            _require_one_lineage(cluster, timeline, found[0], name)
        return self._read_history(found[0]) if found else None

    def _read_history(self, name: str) -> bytes:
        return read_object(self._store, self._keyring, Kind.HISTORY, name).body

    def _put(self, name: str, folder: str, data: bytes, facts: dict[str, Json]) -> None:
        self._require_only_lineage(*_cluster_and_timeline(folder), folder)
        digest = blake3(data, key=self._content_key).hexdigest()
        sealed = seal_object(self._keyring, Kind.WAL, name, data, {**facts, "digest": digest, "length": len(data)})
        if not self._store.put_if_absent(name, sealed):
            self._require_same(name, data)

    def _require_same(self, name: str, data: bytes) -> None:
        """Success means the stored bytes can be read back, so they are: this is the rare path after a crash."""
        found: Opened = read_object(self._store, self._keyring, Kind.WAL, name)
        if found.body != data:
            raise errors.RP007.error(
                f"found {name} stored with digest {str(found.facts.get('digest'))[:16]}, "
                f"expected {blake3(data, key=self._content_key).hexdigest()[:16]}",
                hints=[
                    errors.ask("do two servers, one of them perhaps a restored clone, archive under one identity?"),
                    errors.run("stop archiving on the server that was cloned: `ALTER SYSTEM SET archive_mode = off`"),
                ],
            )

    def _folder(self, cluster: str, timeline: TimelineId, history: bytes) -> str:
        digest = blake3(history, key=self._history_key).hexdigest(length=16)
        return f"{_checked(cluster)}/{timeline.hexadecimal}-{digest}"

    def _require_only_lineage(self, cluster: str, timeline: TimelineId, folder: str) -> None:
        """One listing per timeline and process. Two that arrive at once both pass; readers then refuse to mix."""
        if folder in self._only_lineages:
            return
        for prefix in WAL_PREFIXES:
            for name in self._store.list(f"{prefix}{cluster}/{timeline.hexadecimal}-"):
                if (place := wal_place(name)) is not None:
                    _require_one_lineage(cluster, timeline, place.lineage, folder.rpartition("/")[2])
        self._only_lineages.add(folder)


def _facts(cluster: str, timeline: TimelineId, start: Lsn, mark: Mark | None) -> dict[str, Json]:
    return {
        "cluster": cluster,
        "timeline": timeline.value,
        "start": str(start),
        "mark": None if mark is None else {"lsn": str(mark.lsn), "clock": mark.clock.isoformat()},
    }


def _mark_of(found: Any) -> Mark | None:
    """KeyError, TypeError, ValueError or OverflowError unless it is one."""
    if found is None:
        return None
    clock = datetime.fromisoformat(found["clock"])
    if clock.tzinfo is None:
        raise ValueError(f"found the clock {clock}, expected a zone with it")
    return Mark(lsn=Lsn.parse(found["lsn"]), clock=clock)


def _checked(cluster: str) -> str:
    if not is_cluster(cluster):
        raise ValueError(f"found the cluster {cluster!r}, expected a system identifier in decimal")
    return cluster


def _cluster_and_timeline(folder: str) -> tuple[str, TimelineId]:
    cluster, _, lineage = folder.partition("/")
    return cluster, TimelineId(int(lineage[:8], 16))


def pieces_at(name: str, place: WalPlace) -> Iterator[WalPiece]:
    """What the name says; nothing of histories and whatever else lies there."""
    if (found := place.range) is not None:
        yield WalPiece(timeline=place.timeline, start=found[0], end=found[1], name=name, is_partial=True)
    elif (segment := place.segment) is not None:
        yield WalPiece(timeline=place.timeline, start=segment.start, end=segment.end, name=name, is_partial=False)


def _require_one_lineage(cluster: str, timeline: TimelineId, one: str, other: str) -> None:
    if one != other:
        raise errors.RP007.error(
            f"found WAL of timeline {timeline} of cluster {cluster} under {one} and {other}, expected one history",
            hints=[
                errors.ask("were two copies of this cluster promoted, and do both archive?"),
                errors.run("stop archiving on the copy that is not production: `ALTER SYSTEM SET archive_mode = off`"),
            ],
        )

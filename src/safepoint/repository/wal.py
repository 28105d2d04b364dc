"""WAL in the repository: complete segments, ranges of the open one, and timeline histories.

    wal/<cluster>/<timeline>-<digest of its history>/<segment>.<size>MB     a complete segment
    wal/<cluster>/<timeline>-<digest of its history>/<timeline>.history     the history itself
    tmp/wal/<cluster>/<timeline>-<digest>/<start>-<end>                     a range, by LSN in 16 digits

A name says which bytes of which timeline an object holds, so that coverage needs a listing only. The digest keeps the
WAL of two servers apart that were promoted from one cluster and both claim a timeline number: the first one stored is
let in, another one only when it was adopted (RP007), because a mixture restores to neither.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from blake3 import blake3

from safepoint import errors
from safepoint.model.coverage import Mark, PieceTimes, WalPiece
from safepoint.model.history import Ancestor, parse_history
from safepoint.model.json_value import Json, JsonObject
from safepoint.model.lsn import Lsn, TimelineId, WalSegment
from safepoint.repository.names import (
    RANGES_PREFIX,
    WAL_PREFIX,
    WalPlace,
    cluster_of,
    is_cluster,
    range_leaf,
    segment_leaf,
    wal_folder,
    wal_place,
)
from safepoint.repository.sealing.objects import Opened, broken, read_facts, read_object, seal_object
from safepoint.repository.sealing.seal import Keyring, Kind
from safepoint.repository.wal_commits import commits_fact, commits_of
from safepoint.repository.wal_lineages import Followed, Lineages, StoredLineage, by_timeline
from safepoint.stores.port import Data, NotFound, Store

_RANGES_FIRST = (RANGES_PREFIX, WAL_PREFIX)
"""A segment is put before its ranges are deleted, so that one of the two listings shows the bytes."""

_REMEMBERED_SECONDS = 60.0
"""How long a process writes on before it looks again whether its lineage is the one that is followed."""

_NEXT_TIMELINES = 3
"""A promoted server takes the first number that it does not know to be taken: of how many it is looked for."""


class WalArchive:
    """The WAL of all clusters in one repository. Everything put is durable on return."""

    def __init__(self, store: Store, keyring: Keyring) -> None:
        self._store = store
        self._keyring = keyring
        self._content_key = keyring.derive("wal digest")
        self._lineages = Lineages(store, keyring)
        self._followed_until: dict[str, float] = {}

    def put_segment(self, cluster: str, segment: WalSegment, data: Data, *, history: bytes, mark: Mark | None) -> str:
        """The segment is stored; the name of its lineage's folder. RP007 when other bytes already have its name."""
        if len(data) != segment.size:
            raise ValueError(f"found {len(data)} bytes for segment {segment.name}, expected {segment.size}")
        self._require_only_lineage(cluster, segment.timeline, history)
        name = self._segment_name(cluster, segment, history)
        self._put(name, data, _facts(cluster, segment.timeline, segment.start, data, mark))
        return self._lineages.name(segment.timeline, history)

    def holds_segment(self, cluster: str, segment: WalSegment, data: Data, *, history: bytes) -> bool:
        """Whether the segment is stored now, by the digest sealed in it: one short read. RP007 for other bytes, RP005.

        That the body, too, could be read back was seen when it was put; here it is not read.
        """
        name, digest = self._segment_name(cluster, segment, history), self._digest(data)
        try:
            facts = read_facts(self._store, self._keyring, Kind.WAL, name)
        except errors.Damaged as error:
            if error.spec is errors.RP004:
                return False
            raise
        if (facts.get("digest"), facts.get("length")) != (digest, len(data)):
            raise _other_bytes(name, facts.get("digest"), digest)
        return True

    def put_range(
        self, cluster: str, timeline: TimelineId, start: Lsn, data: bytes, *, history: bytes, mark: Mark | None
    ) -> None:
        """The range [start, start + len(data)) is stored; RP007 when other bytes already have its name."""
        if not data:
            raise ValueError(f"found an empty range at {start}, expected WAL")
        self._require_only_lineage(cluster, timeline, history)
        lineage = self._lineages.name(timeline, history)
        name = f"{RANGES_PREFIX}{cluster}/{lineage}/{range_leaf(start, start + len(data))}"
        self._put(name, data, _facts(cluster, timeline, start, data, mark))

    def pieces(self, cluster: str, lineages: Collection[str] = ()) -> tuple[WalPiece, ...]:
        """What is held of the cluster, by timeline, start, end: of each timeline the lineage that is followed.

        Of those named in `lineages`, by name or by how their digests begin, these instead. RP007 for two lineages of
        which none was adopted or named; RP016 for one that is named and not held.
        """
        names = (name for prefix in _RANGES_FIRST for name in self._store.list(f"{prefix}{_checked(cluster)}/"))
        places = [(name, place) for name in names if (place := wal_place(name)) is not None]
        found = by_timeline(place.lineage for _, place in places)
        followed = self._lineages.followed(cluster, found, lineages)
        pieces = [
            piece
            for name, place in places
            if followed[place.timeline] == place.lineage
            for piece in pieces_at(name, place)
        ]
        return tuple(sorted(pieces, key=lambda piece: (piece.timeline, piece.start, piece.end, piece.is_partial)))

    def lineages(self, cluster: str) -> tuple[StoredLineage, ...]:
        """All lineages of which anything is stored, and which of them are followed."""
        return self._lineages.all_stored(_checked(cluster))

    def lineage_of(self, timeline: TimelineId, history: bytes) -> str:
        """As in the name of its folder."""
        return self._lineages.name(timeline, history)

    def adoption(self, cluster: str, timeline: TimelineId, history: bytes, *, by: str, at: datetime) -> JsonObject:
        """The record that makes this lineage, and those of its ancestors, the one that is followed.

        Later timelines of which WAL is held by now are abandoned with it.
        """
        held = by_timeline(stored.name for stored in self.lineages(cluster))
        return {
            "cluster": _checked(cluster),
            "timeline": timeline.value,
            "lineage": self._lineages.name(timeline, history),
            "history": history.decode(),
            "abandoned": sorted(later.value for later in held if later > timeline),
            "at": at.astimezone(UTC).isoformat(),
            "by": by,
        }

    def newest_adoption(self, cluster: str) -> Followed:
        """Whom the cluster's newest adoption follows."""
        return self._lineages.newest_adoption(_checked(cluster))

    def abandoned(self, cluster: str, timelines: Collection[TimelineId]) -> frozenset[TimelineId]:
        """Those of the timelines that the newest adoption took production from; RP005 when one does not open."""
        return self._lineages.abandoned(_checked(cluster), timelines)

    def forget_followed(self) -> None:
        """The next put looks again which lineage is followed."""
        self._followed_until.clear()

    def switch_from(self, cluster: str, timeline: TimelineId) -> tuple[TimelineId, Lsn] | None:
        """Which later timeline that is followed left this one first, and where; None when none is known that did."""
        adopted: dict[TimelineId, str] | None = None
        newest = self.newest_adoption(cluster)
        switches = [
            (each.switch, newest.timeline)
            for each in _ancestors(newest.history)
            if newest.timeline is not None and each.timeline == timeline
        ]
        for number in range(timeline.value + 1, timeline.value + 1 + _NEXT_TIMELINES):
            later = TimelineId(number)
            first = next(iter(self._store.list(f"{WAL_PREFIX}{_checked(cluster)}/{later.hexadecimal}-")), None)
            place = None if first is None else wal_place(first)
            if place is None or later in newest.abandoned:
                continue
            adopted = dict(self._lineages.adopted(cluster)) if adopted is None else adopted
            content = self._history_of(cluster, adopted.get(later, place.lineage), later)
            switches += [(each.switch, later) for each in _ancestors(content) if each.timeline == timeline]
        if not switches:
            return None
        switch, later = min(switches)
        return later, switch

    def read(self, piece: WalPiece) -> bytes:
        """The WAL bytes, of a range that was deleted since from what replaced it; RP004, RP005."""
        try:
            return self._read_body(piece)
        except errors.Damaged as error:
            held = self._replacement(piece, error)
        return self._read_body(held)[piece.start - held.start : piece.end - held.start]

    def read_mark(self, piece: WalPiece) -> Mark | None:
        """The newest mark that was known when the piece, or what replaced it since, was put; RP004, RP005."""
        return self.read_times(piece).mark

    def read_times(self, piece: WalPiece) -> PieceTimes:
        """What the piece, or what replaced it since, says of time; RP004, RP005."""
        try:
            return self._read_times(piece.name)
        except errors.Damaged as error:
            held = self._replacement(piece, error)
        return self._read_times(held.name)

    def _read_body(self, piece: WalPiece) -> bytes:
        body = read_object(self._store, self._keyring, Kind.WAL, piece.name).body
        if len(body) != piece.end - piece.start:
            raise broken(piece.name, Kind.WAL, len(body))
        return body

    def _read_times(self, name: str) -> PieceTimes:
        facts = read_facts(self._store, self._keyring, Kind.WAL, name)
        try:
            return PieceTimes(mark=_mark_of(facts["mark"]), commits=commits_of(facts.get("commits")))
        except (KeyError, TypeError, ValueError, OverflowError):
            raise broken(name, Kind.WAL, self._store.size(name)) from None

    def _replacement(self, piece: WalPiece, error: errors.Damaged) -> WalPiece:
        """What holds all bytes of a range that is gone: a receiver at work replaces ranges. Else raises the error."""
        if error.spec is errors.RP004 and piece.is_partial:
            place = wal_place(piece.name)
            lineages = () if place is None else (place.lineage,)
            others: tuple[WalPiece, ...] = ()
            with suppress(errors.Misconfigured):  # RP016: nothing of its lineage is left
                others = self.pieces(cluster_of(piece.name), lineages)
            for other in sorted(others, key=lambda other: other.is_partial):
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
        self._require_only_lineage(cluster, timeline, content)
        name = self._history_name(cluster, self._lineages.name(timeline, content), timeline)
        sealed = seal_object(self._keyring, Kind.HISTORY, name, content)
        if not self._store.put_if_absent(name, sealed):
            self._read_history(name)

    def holds_history(self, cluster: str, timeline: TimelineId, content: bytes) -> bool:
        """Whether the history is stored now; RP005."""
        return self._history_of(cluster, self._lineages.name(timeline, content), timeline) == content

    def read_history(self, cluster: str, timeline: TimelineId, lineages: Collection[str] = ()) -> bytes | None:
        """The history of the lineage that `pieces` would take, None when none is held; RP005, RP007, RP016."""
        # What is asked for may be a descendant, whose history says which lineage of this timeline it left.
        prefix = f"{WAL_PREFIX}{_checked(cluster)}/{'' if lineages else f'{timeline.hexadecimal}-'}"
        places = (wal_place(name) for name in self._store.list(prefix))
        found = by_timeline(place.lineage for place in places if place is not None)
        chosen = self._lineages.followed(cluster, found, lineages).get(timeline)
        return None if chosen is None else self._history_of(cluster, chosen, timeline)

    def _history_of(self, cluster: str, lineage: str, timeline: TimelineId) -> bytes | None:
        try:
            return self._read_history(self._history_name(cluster, lineage, timeline))
        except errors.Damaged as error:
            if error.spec is errors.RP004:
                return None
            raise

    def _history_name(self, cluster: str, lineage: str, timeline: TimelineId) -> str:
        return f"{wal_folder(_checked(cluster), lineage)}/{timeline.history_name}"

    def _read_history(self, name: str) -> bytes:
        return read_object(self._store, self._keyring, Kind.HISTORY, name).body

    def _segment_name(self, cluster: str, segment: WalSegment, history: bytes) -> str:
        lineage = self._lineages.name(segment.timeline, history)
        return f"{wal_folder(_checked(cluster), lineage)}/{segment_leaf(segment)}"

    def _digest(self, data: Data) -> str:
        return blake3(data, key=self._content_key).hexdigest()

    def _put(self, name: str, data: Data, facts: dict[str, Json]) -> None:
        sealed = seal_object(
            self._keyring, Kind.WAL, name, data, {**facts, "digest": self._digest(data), "length": len(data)}
        )
        if not self._store.put_if_absent(name, sealed):
            self._require_same(name, data)

    def _require_same(self, name: str, data: Data) -> None:
        """Success means the stored bytes can be read back, so they are: this is the rare path after a crash."""
        found: Opened = read_object(self._store, self._keyring, Kind.WAL, name)
        if found.body != data:
            raise _other_bytes(name, found.facts.get("digest"), self._digest(data))

    def _require_only_lineage(self, cluster: str, timeline: TimelineId, history: bytes) -> None:
        """Looked up once a minute. Two that arrive at once both pass; readers then refuse to mix."""
        folder = f"{_checked(cluster)}/{self._lineages.name(timeline, history)}"
        now = time.monotonic()
        if now >= self._followed_until.get(folder, 0.0):
            self._lineages.require_followed(cluster, timeline, history)
            self._followed_until[folder] = now + _REMEMBERED_SECONDS


def _other_bytes(name: str, stored: object, expected: str) -> errors.SafepointError:
    return errors.RP007.error(
        f"found {name} stored with digest {str(stored)[:16]}, expected {expected[:16]}",
        hints=[
            errors.ask("do two servers, one of them perhaps a restored clone, archive under one identity?"),
            errors.run("stop archiving on the server that was cloned: `ALTER SYSTEM SET archive_mode = off`"),
        ],
    )


def _ancestors(history: bytes | None) -> tuple[Ancestor, ...]:
    """None of a history that is not there or cannot be read: it forbids nothing."""
    try:
        return () if history is None else parse_history(history)
    except ValueError:
        return ()


def _facts(cluster: str, timeline: TimelineId, start: Lsn, data: Data, mark: Mark | None) -> dict[str, Json]:
    return {
        "cluster": cluster,
        "timeline": timeline.value,
        "start": str(start),
        "mark": None if mark is None else {"lsn": str(mark.lsn), "clock": mark.clock.isoformat()},
        "commits": commits_fact(data, start),
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


def pieces_at(name: str, place: WalPlace) -> Iterator[WalPiece]:
    """What the name says; nothing of histories and whatever else lies there."""
    if (found := place.range) is not None:
        yield WalPiece(timeline=place.timeline, start=found[0], end=found[1], name=name, is_partial=True)
    elif (segment := place.segment) is not None:
        yield WalPiece(timeline=place.timeline, start=segment.start, end=segment.end, name=name, is_partial=False)

"""Which WAL of a timeline is followed, where two servers that were promoted apart both claim its number.

A lineage is a timeline and the digest of its history, as in the name of its folder. The first one stored is followed;
an adoption (a record) names another. A history begins with those of all its ancestors, so that whoever follows it
follows their lineages, too. Two lineages and no adoption: nobody can say which one is meant, and readers refuse.

Source: PostgreSQL 17, src/backend/access/transam/timeline.c, writeTimeLineHistory.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from blake3 import blake3

from safepoint import errors
from safepoint.model.json_value import JsonObject
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.repository import records
from safepoint.repository.names import RANGES_PREFIX, WAL_PREFIX, WAL_PREFIXES, wal_folder, wal_place
from safepoint.repository.sealing.objects import broken, read_object
from safepoint.repository.sealing.seal import Keyring, Kind
from safepoint.stores.port import Store

ADOPTIONS = "adoptions"
"""The kind of the records {"cluster", "timeline", "lineage", "history", "abandoned", "at", "by"}.

`abandoned` are the later timelines of which WAL was held then: production went on without them. Older records lack it.
"""

_LINE = re.compile(rb"^[ \t]*([0-9]+)[ \t]+[0-9A-Fa-f]+/[0-9A-Fa-f]+", re.MULTILINE)

Found = Mapping[TimelineId, AbstractSet[str]]
"""Per timeline the lineages of which anything is stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLineage:
    """A lineage of which something is stored: WAL from `start` to `end` (None: its history alone), maybe with holes.

    `is_followed`: coverage and restores take this one unless told otherwise. `is_abandoned`: an earlier timeline was
    adopted since, and production went on there.
    """

    timeline: TimelineId
    name: str
    is_followed: bool
    has_history: bool
    start: Lsn | None
    end: Lsn | None
    is_abandoned: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """What the newest adoption says: its timeline with its history, and which later ones it took production from.

    Without any adoption it is timeline None.
    """

    timeline: TimelineId | None = None
    history: bytes = b""
    abandoned: frozenset[TimelineId] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Adoption:
    """What its record says: the timeline, its history, and the later timelines that were held."""

    timeline: TimelineId
    history: bytes
    abandoned: frozenset[TimelineId]


def ancestral_histories(history: bytes) -> Mapping[TimelineId, bytes]:
    """The histories of the ancestors above timeline 1, as this one repeats them at its beginning."""
    lines = {TimelineId(int(line[1])): line.start() for line in _LINE.finditer(history)}
    return {timeline: _before(history, start) for timeline, start in lines.items() if timeline.has_history}


class Lineages:
    """The lineages of all clusters in one repository."""

    def __init__(self, store: Store, keyring: Keyring) -> None:
        self._store = store
        self._keyring = keyring
        self._key = keyring.derive("history digest")

    def name(self, timeline: TimelineId, history: bytes) -> str:
        """The lineage of a timeline with this history; timeline 1 has none."""
        return f"{timeline.hexadecimal}-{blake3(history, key=self._key).hexdigest(length=16)}"

    def ancestry(self, timeline: TimelineId, history: bytes) -> Mapping[TimelineId, str]:
        """The lineage of the timeline and those of its ancestors above timeline 1."""
        above = {each: self.name(each, content) for each, content in ancestral_histories(history).items()}
        return {**above, timeline: self.name(timeline, history)}

    def stored(self, cluster: str, timeline: TimelineId) -> frozenset[str]:
        """Those of the timeline of which anything is stored; two listings."""
        prefixes = (f"{prefix}{cluster}/{timeline.hexadecimal}-" for prefix in WAL_PREFIXES)
        places = (wal_place(name) for prefix in prefixes for name in self._store.list(prefix))
        return frozenset(place.lineage for place in places if place is not None)

    def adopted(self, cluster: str) -> Mapping[TimelineId, str]:
        """What the adoptions of the cluster say, later ones last; RP005 when one does not open: it is unknown then."""
        found: dict[TimelineId, str] = {}
        for said in self._adoptions(cluster):
            found |= self.ancestry(said.timeline, said.history)
        return found

    def newest_adoption(self, cluster: str) -> Followed:
        """Whom the cluster's newest adoption follows; RP005 as `adopted`."""
        adoptions = self._adoptions(cluster)
        if not adoptions:
            return Followed()
        newest = adoptions[-1]
        earlier = {said.timeline for said in adoptions if said.timeline > newest.timeline}
        return Followed(timeline=newest.timeline, history=newest.history, abandoned=newest.abandoned | earlier)

    def followed(self, cluster: str, found: Found, asked: Collection[str] = ()) -> Mapping[TimelineId, str]:
        """The one lineage of each timeline in `found`, by `asked` (names, or how their digests begin), else adoption.

        RP007 when two are stored and neither says which is meant; RP004 when one that was asked for is not stored.
        """
        chosen = {timeline: next(iter(names)) for timeline, names in found.items() if len(names) == 1}
        wanted = self._asked(cluster, found, asked)
        doubtful = found.keys() - chosen.keys() - wanted.keys()
        adopted = self._adopted_if(cluster, is_needed=bool(doubtful))
        for timeline in sorted(doubtful):
            if adopted.get(timeline) not in found[timeline]:
                raise two_lineages(cluster, timeline, *sorted(found[timeline])[:2])
        return {**chosen, **{timeline: adopted[timeline] for timeline in doubtful}, **wanted}

    def abandoned(self, cluster: str, found: Collection[TimelineId]) -> frozenset[TimelineId]:
        """Those of the timelines that the newest adoption took production from; RP005 as `adopted`."""
        return self.newest_adoption(cluster).abandoned & frozenset(found) if len(found) > 1 else frozenset()

    def require_followed(self, cluster: str, timeline: TimelineId, history: bytes) -> None:
        """RP007 when another lineage is followed of the timeline, or of one of its ancestors."""
        adopted = self.adopted(cluster)
        for each, lineage in self.ancestry(timeline, history).items():
            expected = {adopted[each]} if each in adopted else self.stored(cluster, each)
            for other in sorted(expected - {lineage}):
                raise two_lineages(cluster, each, other, lineage)

    def read_history(self, cluster: str, lineage: str) -> bytes:
        """The history of this lineage; RP004, RP005."""
        name = f"{wal_folder(cluster, lineage)}/{_timeline_of(lineage).history_name}"
        return read_object(self._store, self._keyring, Kind.HISTORY, name).body

    def all_stored(self, cluster: str) -> tuple[StoredLineage, ...]:
        """All that is stored, by timeline and digest. No lineage of a timeline is followed when that is in doubt."""
        places = [
            place
            for prefix in (RANGES_PREFIX, WAL_PREFIX)
            for name in self._store.list(f"{prefix}{cluster}/")
            if (place := wal_place(name)) is not None
        ]
        found = by_timeline(place.lineage for place in places)
        adopted = self._adopted_if(cluster, is_needed=any(len(names) > 1 for names in found.values()))
        abandoned = self.abandoned(cluster, found)
        result: list[StoredLineage] = []
        for lineage in sorted({place.lineage for place in places}):
            timeline = _timeline_of(lineage)
            own = [place for place in places if place.lineage == lineage]
            spans = [place.range or (place.segment and (place.segment.start, place.segment.end)) for place in own]
            ends = [span for span in spans if span]
            is_chosen = len(found[timeline]) == 1 or adopted.get(timeline) == lineage
            result.append(
                StoredLineage(
                    timeline=timeline,
                    name=lineage,
                    is_followed=is_chosen and timeline not in abandoned,
                    is_abandoned=is_chosen and timeline in abandoned,
                    has_history=any(place.leaf == timeline.history_name for place in own),
                    start=min((start for start, _ in ends), default=None),
                    end=max((end for _, end in ends), default=None),
                )
            )
        return tuple(result)

    def _adopted_if(self, cluster: str, *, is_needed: bool) -> Mapping[TimelineId, str]:
        """What adoptions say, where they are needed: almost always a listing saved."""
        return self.adopted(cluster) if is_needed else dict[TimelineId, str]()

    def _adoptions(self, cluster: str) -> list[_Adoption]:
        """Later ones last."""
        found = records.read_records(self._store, self._keyring, ADOPTIONS)
        return [self._said_by(record) for record in found if record.get("cluster") == cluster]

    def _said_by(self, record: JsonObject) -> _Adoption:
        """By the history it holds, which names ancestors and holds in a repository with other keys, too."""
        try:
            fields: Any = record
            timeline, history = TimelineId(int(fields["timeline"])), str(fields["history"]).encode()
            _ = self.ancestry(timeline, history)
            abandoned = frozenset(TimelineId(int(number)) for number in fields.get("abandoned", ()))
        except (KeyError, TypeError, ValueError):
            raise broken(f"a record of kind {ADOPTIONS}", Kind.RECORD, 0) from None
        return _Adoption(timeline=timeline, history=history, abandoned=abandoned)

    def _asked(self, cluster: str, found: Found, asked: Collection[str]) -> Mapping[TimelineId, str]:
        named = {_timeline_of(lineage): lineage for text in asked for lineage in [_matching(found, text)]}
        implied: dict[TimelineId, str] = {}
        for timeline, lineage in sorted(named.items()):
            if any(len(names) > 1 for other, names in found.items() if other.has_history and other < timeline):
                implied |= self.ancestry(timeline, self.read_history(cluster, lineage))
        return {timeline: name for timeline, name in {**implied, **named}.items() if timeline in found}


def by_timeline(lineages: Iterable[str]) -> dict[TimelineId, set[str]]:
    """The lineages, sorted into their timelines."""
    found: dict[TimelineId, set[str]] = {}
    for lineage in set(lineages):
        found.setdefault(_timeline_of(lineage), set()).add(lineage)
    return found


def two_lineages(cluster: str, timeline: TimelineId, one: str, other: str) -> errors.SafepointError:
    """RP007."""
    return errors.RP007.error(
        f"found WAL of timeline {timeline} of cluster {cluster} under {one} and {other}, expected one history",
        hints=[
            errors.ask("were two copies of this cluster promoted, and do both archive?"),
            errors.run("stop archiving on the copy that is not production: `ALTER SYSTEM SET archive_mode = off`"),
            errors.run("if the later one is production from now on, say so: `safepoint wal adopt DATABASE --data DIR`"),
        ],
    )


def _matching(found: Found, text: str) -> str:
    """The one lineage that is named so, or whose digest begins so."""
    every = [lineage for names in found.values() for lineage in names]
    matching = [lineage for lineage in every if text and (lineage == text or lineage.split("-")[1].startswith(text))]
    if len(matching) != 1:
        raise errors.RP016.error(
            f"found {len(matching)} lineages that begin with {text!r}, expected one of {', '.join(sorted(every))}",
            hints=[
                errors.run("see where each begins and ends: `safepoint coverage`"),
                errors.run("or leave `--lineage` out: then those are taken that are followed"),
            ],
        )
    return matching[0]


def _before(history: bytes, start: int) -> bytes:
    """An ancestor's history: PostgreSQL appends a line break, and then the line that begins at `start`."""
    return history[: max(0, start - 1)]


def _timeline_of(lineage: str) -> TimelineId:
    return TimelineId(int(lineage[:8], 16))

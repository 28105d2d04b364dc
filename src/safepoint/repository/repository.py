"""A repository: what is in it, read and written under one set of keys.

Everything here is durable when it returns. A backup exists when its manifest is there and its writer's lease ended
with it. Opening and reading write nothing to the store.

What reads and writes pages stands on numpy and is imported where it is asked for: who opens a repository to store one
WAL segment, or to list what is there, waits for none of it.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from safepoint import errors
from safepoint.model.backup import BackupManifest, BlobRef
from safepoint.model.coverage import Mark, PieceTimes, WalPiece
from safepoint.model.json_value import JsonObject
from safepoint.model.lsn import Lsn, TimelineId, WalSegment
from safepoint.model.measures import Clock
from safepoint.repository import records
from safepoint.repository.commit.backups import (
    Backups,
    CommittedBackup,
    existing_backups,
    expire,
    require_expirable,
)
from safepoint.repository.commit.journal import Journal
from safepoint.repository.commit.journal_entry import digest_of
from safepoint.repository.commit.journal_event import expired, record_put
from safepoint.repository.commit.manifest import open_manifest
from safepoint.repository.names import BACKUPS_PREFIX
from safepoint.repository.places import NOWHERE, Places
from safepoint.repository.sealing import keys, objects
from safepoint.repository.sealing.seal import DEFAULT_LEVEL, Keyring, Kind
from safepoint.repository.wal import WalArchive
from safepoint.repository.wal_journal import WalJournal
from safepoint.repository.wal_lineages import ADOPTIONS, Followed, StoredLineage
from safepoint.stores.port import Data, Store

if TYPE_CHECKING:
    from safepoint.repository.maps.comparison import Comparison
    from safepoint.repository.maps.files import BackupFiles, OpenFile
    from safepoint.repository.maps.nodes import NodeReader
    from safepoint.repository.packs.index_cache import IndexCache
    from safepoint.repository.packs.reader import BlobReader
    from safepoint.repository.packs.relocation import Relocation
    from safepoint.repository.writing import BackupWriter


class Repository:
    """An open repository; `create_repository` and `open_repository` make it. May be used from several threads."""

    def __init__(
        self, store: Store, description: keys.Description, keyring: Keyring, clock: Clock, places: Places = NOWHERE
    ) -> None:
        self.id = description.id
        self.store = store
        self.description = description
        self.keyring = keyring
        self.places = places
        self.clock = clock
        state = places.journal_of(self.id, str(store))
        self.journal = Journal(store, keyring, repository=self.id, clock=clock, state=state)
        self._wal = WalArchive(store, keyring)
        self._wal_journal = WalJournal(self.journal.note, clock)
        self._last_record: datetime | None = None
        self._relocation: Relocation | None = None
        self._scratch: Path | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Repository({self.id!r}, {self.store!r})"

    @cached_property
    def blobs(self) -> BlobReader:
        """Reads blobs, wherever they lie by now."""
        from safepoint.repository.packs.reader import BlobReader  # noqa: PLC0415 - as the head of this module says

        return BlobReader(self.store, self.keyring, relocate=self._relocate, elsewhere=self.find_blob)

    @property
    def is_encrypted(self) -> bool:
        """Whether only who has a key can read it."""
        return self.keyring.is_encrypted

    def through(self, store: Store) -> Repository:
        """The same repository through another way to its store."""
        return Repository(store, self.description, self.keyring, self.clock, self.places)

    def write_backup(
        self,
        *,
        database: str,
        cluster: str,
        parent: BackupManifest | None = None,
        level: int = DEFAULT_LEVEL,
        avoid: AbstractSet[bytes] = frozenset(),
    ) -> AbstractContextManager[BackupWriter]:
        """A context in which a backup is written on top of `parent`; left without `commit`, there is no backup.

        A parent of which anything is missing is not built upon, nor is anything in the packs to `avoid`. RP010 for a
        second writer of a store without conditional put.
        """
        from safepoint.repository.writing import begin_backup  # noqa: PLC0415

        return begin_backup(self, database=database, cluster=cluster, parent=parent, level=level, avoid=avoid)

    def backup_state(self) -> Backups:
        """The names of all manifests that are backups, and of what is missing, unreadable or left over."""
        return existing_backups(self.store, self.keyring)

    def clusters_backed_up(self) -> frozenset[str]:
        """The clusters of which manifests are listed, whether or not they are backups: one listing, nothing read."""
        return frozenset(name.split("/")[1] for name in self.store.list(BACKUPS_PREFIX))

    def backups(self) -> tuple[BackupManifest, ...]:
        """All backups, that which ended first first; RP005 names the first that cannot be read, RP004 a missing one."""
        found, unreadable = self.readable_backups()
        for name in unreadable:
            self.read_manifest(name)
        return found

    def readable_backups(self) -> tuple[tuple[BackupManifest, ...], tuple[str, ...]]:
        """All backups that open, that which ended first first, and the names of what does not or is missing.

        For those who restore: one damaged manifest must not hide what the others hold.
        """
        state = self.backup_state()
        found: list[BackupManifest] = []
        unreadable = [*state.unreadable, *(backup.manifest for backup in state.missing)]
        for backup in state.existing:
            try:
                found.append(self.read_manifest(backup.manifest, digest=backup.digest))
            except errors.Damaged:
                unreadable.append(backup.manifest)
        return tuple(sorted(found, key=lambda manifest: (manifest.stopped_at, manifest.id))), tuple(unreadable)

    def backup(self, backup_id: str) -> BackupManifest:
        """One backup; BK003 when there is none of this id among those that can be read."""
        found, unreadable = self.readable_backups()
        for manifest in found:
            if manifest.id == backup_id:
                return manifest
        raise errors.BK003.error(
            f"found no backup {backup_id!r} among {len(found)}, {len(unreadable)} more unreadable, expected one",
            hints=[errors.run("list them: `safepoint backups`")],
        )

    def needed_packs(
        self,
        backups: Sequence[CommittedBackup] | None = None,
        nodes: NodeReader | None = None,
        *,
        damaged: AbstractSet[bytes] = frozenset(),
    ) -> frozenset[bytes]:
        """The packs that these backups need, of all that exist unless told, once what was replaced is not counted.

        Behind a `damaged` pack also what it replaced counts. RP011 when it is unknown which backups exist or what was
        replaced, or when a pack that one needs is gone; RP004, RP005 when a node of one cannot be read. `nodes` reads
        faster than one by one for who has such a reader.
        """
        from safepoint.repository.maps.marking import packs_needed_by, require_known, surviving_packs  # noqa: PLC0415
        from safepoint.repository.maps.nodes import NodeReader  # noqa: PLC0415
        from safepoint.repository.packs.replacements import read_replacements  # noqa: PLC0415

        if backups is None:
            state = self.backup_state()
            require_known(state.unknown)
            backups = state.existing
        kept = surviving_packs(self.store, self.keyring)  # first: what is gone by then, was replaced before
        replacements = read_replacements(self.store, self.keyring)
        require_known(replacements.unreadable)
        roots = (self.read_manifest(backup.manifest, digest=backup.digest).root for backup in backups)
        return packs_needed_by(
            roots, nodes or NodeReader(self.blobs.read_blob), replacements, kept.__contains__, damaged
        )

    def expire_backup(self, backup_id: str, *, reason: str) -> None:
        """The backup does not exist any more, durably; what only it needed is left to a collection. BK003.

        By the name of its manifest also one that is hidden, and that the journal alone still tells of.
        """
        name = self._manifest_name(backup_id)
        claimed = self.claimed_backups()
        require_expirable(self.store, self.keyring, name, claimed)
        self.journal.append([expired(name)])
        expire(self.store, self.keyring, name, reason, self.clock, claimed)

    def claimed_backups(self) -> frozenset[str]:
        """The names of all manifests that the journal calls backups and not expired; reads what is new of it."""
        from safepoint.repository.commit.journal_audit import claimed_backups  # noqa: PLC0415

        return claimed_backups(self.store, self.keyring, self.id, self.journal.keeper)

    def read_manifest(self, name: str, *, digest: str | None = None) -> BackupManifest:
        """The manifest of this name, whether or not it is a backup; RP004, RP005, also when its digest is another."""
        data = objects.fetch(self.store, name, Kind.MANIFEST)
        manifest = open_manifest(self.keyring, name, data)
        if digest is not None and digest_of(data) != digest:
            raise errors.RP005.error(
                f"found {name} with digest {digest_of(data)[:16]}, expected {digest[:16]}, which was committed"
            )
        return manifest

    def files(self, manifest: BackupManifest) -> BackupFiles:
        """The files of a backup, to be read."""
        from safepoint.repository.maps.files import BackupFiles  # noqa: PLC0415

        return BackupFiles(self.blobs, manifest.root)

    def comparison(self) -> Comparison:
        """Tells whether bytes that stand elsewhere are those of a backup here."""
        from safepoint.repository.maps.comparison import Comparison  # noqa: PLC0415

        return Comparison(self.keyring)

    def open_file(self, manifest: BackupManifest, path: str) -> OpenFile:
        """One file of a backup, to be read at random; BK003 when the backup has none of this path."""
        return self.files(manifest).open(path)

    def find_blob(self, identity: bytes) -> tuple[BlobRef, ...]:
        """Where indexes say that the blob lies, of the packs that are there."""
        from safepoint.repository.packs.relocation import Relocation  # noqa: PLC0415

        if self._relocation is None:
            self._relocation = Relocation(self.store, self.keyring, self._cache_directory(), self.id)
        return self._relocation.find_all(identity, self.blobs.gone)

    def index_cache(self, cluster: str) -> IndexCache:
        """What is known of where blobs of this cluster lie; to be refreshed before the first look-up."""
        from safepoint.repository.packs.index_cache import IndexCache  # noqa: PLC0415

        return IndexCache(self._cache_directory(), self.id, cluster)

    def put_wal_segment(
        self, cluster: str, segment: WalSegment, data: Data, *, history: bytes, mark: Mark | None
    ) -> None:
        """The complete segment is durable; the same bytes again are success, others RP007."""
        lineage = self._wal.put_segment(cluster, segment, data, history=history, mark=mark)
        self._wal_journal.note(cluster, lineage, segment)

    def flush_journal(self) -> None:
        """The journal speaks of all WAL stored so far, as far as the store answers. Not needed for its durability."""
        self._wal_journal.flush()

    def put_wal_range(
        self, cluster: str, timeline: TimelineId, start: Lsn, data: bytes, *, history: bytes, mark: Mark | None
    ) -> None:
        """WAL [start, start + len(data)), a piece of one segment, is durable; the same again is success, else RP007."""
        self._wal.put_range(cluster, timeline, start, data, history=history, mark=mark)

    def wal_pieces(self, cluster: str, lineages: Collection[str] = ()) -> tuple[WalPiece, ...]:
        """The segments and ranges of the cluster, sorted by timeline and start, from listings alone.

        Of each timeline the lineage that is followed, or that is named in `lineages` (or whose digest begins so).
        RP007 when two are stored and none was adopted or named.
        """
        return self._wal.pieces(cluster, lineages)

    def wal_lineages(self, cluster: str) -> tuple[StoredLineage, ...]:
        """Every lineage of the cluster's timelines of which anything is stored."""
        return self._wal.lineages(cluster)

    def lineage_of(self, timeline: TimelineId, history: bytes) -> str:
        """What this repository calls the lineage of a timeline with this history."""
        return self._wal.lineage_of(timeline, history)

    def holds_wal_segment(self, cluster: str, segment: WalSegment, data: Data, *, history: bytes) -> bool:
        """Whether the segment is there now with these bytes, by what is sealed in its head; RP005, RP007."""
        return self._wal.holds_segment(cluster, segment, data, history=history)

    def wal_switch_from(self, cluster: str, timeline: TimelineId) -> tuple[TimelineId, Lsn] | None:
        """The later timeline that left this one first, of those that are followed, and where it did."""
        return self._wal.switch_from(cluster, timeline)

    def adopt_lineage(self, cluster: str, timeline: TimelineId, history: bytes, *, by: str) -> None:
        """From now on WAL with this history is followed, and put, whatever else claims its timeline; durable."""
        self.append_record(ADOPTIONS, self._wal.adoption(cluster, timeline, history, by=by, at=self.clock()))
        self._wal.forget_followed()

    def newest_adoption(self, cluster: str) -> Followed:
        """Which timeline the newest adoption of the cluster follows; RP005 when one does not open: it is unknown."""
        return self._wal.newest_adoption(cluster)

    def abandoned_timelines(self, cluster: str, timelines: Collection[TimelineId]) -> frozenset[TimelineId]:
        """Those of the timelines that the newest adoption took production from; RP005 when one does not open."""
        return self._wal.abandoned(cluster, timelines)

    def read_wal(self, piece: WalPiece) -> bytes:
        """The bytes of a piece that `wal_pieces` gave, checked; RP004, RP005."""
        return self._wal.read(piece)

    def read_mark(self, piece: WalPiece) -> Mark | None:
        """The newest mark known when the piece was put, by one short read; RP004, RP005."""
        return self._wal.read_mark(piece)

    def read_wal_times(self, piece: WalPiece) -> PieceTimes:
        """That mark, and the first and the last commit in the piece, by one short read; RP004, RP005."""
        return self._wal.read_times(piece)

    def delete_wal_range(self, piece: WalPiece) -> None:
        """The range is gone, or was already; complete segments are refused (ValueError)."""
        self._wal.delete_range(piece)

    def put_history(self, cluster: str, timeline: TimelineId, content: bytes) -> None:
        """The timeline's history file is durable; RP007 when the timeline has another one."""
        self._wal.put_history(cluster, timeline, content)

    def read_history(self, cluster: str, timeline: TimelineId, lineages: Collection[str] = ()) -> bytes | None:
        """The history file of the lineage that `wal_pieces` takes, None when none is held; RP005, RP007, RP016."""
        return self._wal.read_history(cluster, timeline, lineages)

    def holds_history(self, cluster: str, timeline: TimelineId, content: bytes) -> bool:
        """Whether this history is stored now; RP005."""
        return self._wal.holds_history(cluster, timeline, content)

    def append_record(self, kind: str, record: JsonObject) -> None:
        """The record is durable, behind those this repository object appended before, whatever the clock did."""
        with self._lock:
            now = self.clock()
            if self._last_record is not None:
                now = max(now, self._last_record + timedelta(microseconds=1))
            self._last_record = now
        name = records.append_record(self.store, self.keyring, kind, record, now)
        self.journal.note([record_put(name)])

    def records(self, kind: str) -> tuple[JsonObject, ...]:
        """All records of the kind, oldest first; RP005 names the first that does not open."""
        return records.read_records(self.store, self.keyring, kind)

    def _manifest_name(self, backup_id: str) -> str:
        """Where the backup of this id lies; what is no id of a readable backup is taken for a name."""
        for found in self.backup_state().existing:
            with contextlib.suppress(errors.Damaged):
                if self.read_manifest(found.manifest).id == backup_id:
                    return found.manifest
        return backup_id

    def _relocate(self, identity: bytes) -> BlobRef | None:
        return next(iter(self.find_blob(identity)), None)

    def _cache_directory(self) -> Path:
        kept = self.places.cache_of(self.id)
        if kept is not None:
            return kept
        if self._scratch is None:
            import shutil  # noqa: PLC0415 - with every compression there is: only who has no home needs it
            import tempfile  # noqa: PLC0415

            self._scratch = Path(tempfile.mkdtemp(prefix="safepoint-"))
            weakref.finalize(self, shutil.rmtree, self._scratch, ignore_errors=True)
        return self._scratch

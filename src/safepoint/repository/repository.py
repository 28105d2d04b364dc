"""A repository: what is in it, read and written under one set of keys.

Everything here is durable when it returns, except blobs, which are durable when their writer's `finish()` returns.
A backup exists when its manifest does, and the manifest is put last. Opening and reading write nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from safepoint import errors
from safepoint.model.backup import BackupManifest, BlobRef
from safepoint.model.coverage import Mark, WalPiece
from safepoint.model.json_value import JsonObject
from safepoint.model.lsn import Lsn, TimelineId, WalSegment
from safepoint.model.measures import Clock
from safepoint.repository import records
from safepoint.repository.commit.manifest import manifest_from_json, manifest_to_json, packs_of
from safepoint.repository.packs import pack
from safepoint.repository.packs.reader import BlobReader
from safepoint.repository.packs.writer import Writer
from safepoint.repository.sealing import keys, objects
from safepoint.repository.sealing.seal import Keyring, Kind
from safepoint.repository.wal import WalArchive
from safepoint.stores.port import NotFound, Store

_BACKUPS = "backups/"


class Repository:
    """An open repository; `create_repository` and `open_repository` make it. May be used from several threads."""

    def __init__(self, store: Store, description: keys.Description, keyring: Keyring, clock: Clock) -> None:
        self.id = description.id
        self.is_encrypted = keyring.is_encrypted
        self._store = store
        self._keyring = keyring
        self._clock = clock
        self._id_key = keyring.derive("blob id")
        self._reader = BlobReader(store, keyring, self._id_key)
        self._wal = WalArchive(store, keyring)
        self._last_record: datetime | None = None

    def __repr__(self) -> str:
        return f"Repository({self.id!r}, {self._store!r})"

    def writer(self) -> Writer:
        """A context in which blobs are added: durable after its `finish()`, withdrawn without."""
        return Writer(self._store, self._keyring, self._id_key)

    def read_blob(self, ref: BlobRef) -> bytes:
        """The raw data of one blob, checked; RP004, RP005."""
        return self._reader.read_blob(ref)

    def read_blobs(self, refs: Iterable[BlobRef]) -> Iterator[bytes]:
        """The raw data of many blobs, checked, in order; fastest in the order they were added. RP004, RP005."""
        return self._reader.read_blobs(refs)

    def check_pack(self, pack_id: str) -> tuple[BlobRef, ...]:
        """The blobs of a pack, after each of its bytes was checked; RP004, RP005."""
        return pack.check_pack(self._store, self._keyring, self._id_key, pack_id)

    def put_backup(self, manifest: BackupManifest) -> None:
        """The backup exists, durably. RP004 when a pack it names is not there; RP007 for a taken id."""
        for pack_id, least in packs_of(manifest).items():
            self._require_pack(pack_id, least)
        name = f"{_BACKUPS}{manifest.system_identifier}/{manifest.id}"
        body = manifest_to_json(manifest)
        if self._store.put_if_absent(name, objects.seal_object(self._keyring, Kind.MANIFEST, name, body)):
            return
        if self._read_manifest(name) != manifest:
            raise errors.RP007.error(
                f"found another backup stored as {name}, expected the name free or the same backup"
            )

    def backup_names(self) -> tuple[str, ...]:
        """The names of all manifests, `backups/<cluster>/<id>`, without opening them."""
        return tuple(self._store.list(_BACKUPS))

    def backups(self) -> tuple[BackupManifest, ...]:
        """All backups, that which ended first first; RP005 names the first manifest that does not open."""
        found, unreadable = self.readable_backups()
        for name in unreadable:
            self._read_manifest(name)
        return found

    def readable_backups(self) -> tuple[tuple[BackupManifest, ...], tuple[str, ...]]:
        """All backups that open, that which ended first first, and the names of manifests that do not.

        For those who restore: one damaged manifest must not hide what the others hold.
        """
        found: list[BackupManifest] = []
        unreadable: list[str] = []
        for name in self.backup_names():
            try:
                found.append(self._read_manifest(name))
            except errors.Damaged:
                unreadable.append(name)
        return tuple(sorted(found, key=lambda manifest: (manifest.stopped_at, manifest.id))), tuple(unreadable)

    def backup(self, backup_id: str) -> BackupManifest:
        """One backup; BK003 when there is none of this id, RP005."""
        for name in self.backup_names():
            if name.rpartition("/")[2] == backup_id:
                return self._read_manifest(name)
        raise errors.BK003.error(
            f"found no backup {backup_id!r} among {len(self.backup_names())}, expected one",
            hints=[errors.run("list them: `safepoint backups`")],
        )

    def put_wal_segment(
        self, cluster: str, segment: WalSegment, data: bytes, *, history: bytes, mark: Mark | None
    ) -> None:
        """The complete segment is durable; the same bytes again are success, others RP007."""
        self._wal.put_segment(cluster, segment, data, history=history, mark=mark)

    def put_wal_range(
        self, cluster: str, timeline: TimelineId, start: Lsn, data: bytes, *, history: bytes, mark: Mark | None
    ) -> None:
        """WAL [start, start + len(data)), a piece of one segment, is durable; the same again is success, else RP007."""
        self._wal.put_range(cluster, timeline, start, data, history=history, mark=mark)

    def wal_pieces(self, cluster: str) -> tuple[WalPiece, ...]:
        """All segments and ranges of the cluster, sorted by timeline and start, from listings alone."""
        return self._wal.pieces(cluster)

    def read_wal(self, cluster: str, piece: WalPiece) -> bytes:
        """The bytes of a piece that `wal_pieces(cluster)` gave, checked; RP004, RP005."""
        del cluster
        return self._wal.read(piece)

    def read_mark(self, cluster: str, piece: WalPiece) -> Mark | None:
        """The newest mark known when the piece was put, by one short read; RP004, RP005."""
        del cluster
        return self._wal.read_mark(piece)

    def delete_wal_range(self, cluster: str, piece: WalPiece) -> None:
        """The range is gone, or was already; complete segments are refused (ValueError)."""
        del cluster
        self._wal.delete_range(piece)

    def put_history(self, cluster: str, timeline: TimelineId, content: bytes) -> None:
        """The timeline's history file is durable; RP007 when the timeline has another one."""
        self._wal.put_history(cluster, timeline, content)

    def read_history(self, cluster: str, timeline: TimelineId) -> bytes | None:
        """The timeline's history file, None when none is held; RP005, RP007."""
        return self._wal.read_history(cluster, timeline)

    def append_record(self, kind: str, record: JsonObject) -> None:
        """The record is durable, behind those this repository object appended before, whatever the clock did."""
        now = self._clock()
        if self._last_record is not None:
            now = max(now, self._last_record + timedelta(microseconds=1))
        self._last_record = now
        records.append_record(self._store, self._keyring, kind, record, now)

    def records(self, kind: str) -> tuple[JsonObject, ...]:
        """All records of the kind, oldest first; RP005 names the first that does not open."""
        return records.read_records(self._store, self._keyring, kind)

    def _read_manifest(self, name: str) -> BackupManifest:
        body = objects.read_object(self._store, self._keyring, Kind.MANIFEST, name).body
        try:
            return manifest_from_json(body)
        except ValueError as error:
            raise errors.RP005.error(f"cannot use the manifest {name}: {error}") from error

    def _require_pack(self, pack_id: str, least: int) -> None:
        name = pack.pack_name(pack_id)
        try:
            size = self._store.size(name)
        except NotFound:
            raise objects.missing(name) from None
        if size < least:
            raise objects.broken(name, Kind.PACK, size)

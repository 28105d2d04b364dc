"""Writing a backup: a lease, files on top of a parent, a manifest, an end. The order is docs/FORMAT.md's."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from collections.abc import Set as AbstractSet
from typing import Protocol

from safepoint import errors
from safepoint.model.backup import BackupManifest, BlobRef
from safepoint.model.measures import Clock
from safepoint.repository.commit.journal import Journal
from safepoint.repository.commit.journal_entry import digest_of
from safepoint.repository.commit.journal_event import backup_made, index_put
from safepoint.repository.commit.leases import HeldLease, begin_lease
from safepoint.repository.commit.manifest import manifest_to_json
from safepoint.repository.maps.files import BackupFiles
from safepoint.repository.maps.fingerprints import fingerprint_keys
from safepoint.repository.maps.ingest import Ingest, IngestKeys
from safepoint.repository.maps.references import References
from safepoint.repository.names import manifest_name
from safepoint.repository.packs.index import put_indexes
from safepoint.repository.packs.index_cache import IndexCache
from safepoint.repository.packs.pack import blob_id_key
from safepoint.repository.packs.usable import UsableBlobs
from safepoint.repository.packs.writer import PackWriter
from safepoint.repository.reserve import keep_reserve
from safepoint.repository.sealing import objects
from safepoint.repository.sealing.key_listing import require_newest
from safepoint.repository.sealing.seal import Keyring, Kind
from safepoint.stores.port import NotFound, Store


class Home(Protocol):
    """What a backup needs of the repository that it is written into."""

    store: Store
    keyring: Keyring
    clock: Clock
    journal: Journal

    def files(self, manifest: BackupManifest) -> BackupFiles:
        """The files of a backup."""
        ...

    def readable_backups(self) -> tuple[tuple[BackupManifest, ...], tuple[str, ...]]:
        """All backups that open, and the names of those that do not."""
        ...

    def index_cache(self, cluster: str) -> IndexCache:
        """What is known of where blobs of this cluster lie."""
        ...

    def flush_journal(self) -> None:
        """The journal speaks of all WAL stored so far."""
        ...


class BackupWriter:
    """A backup being written: its files through `ingest`, then its manifest. `Repository.write_backup()` makes it."""

    def __init__(self, repository: Home, lease: HeldLease, cluster: str, level: int, avoid: AbstractSet[bytes]) -> None:
        self._repository = repository
        self._lease = lease
        self._usable = UsableBlobs(repository.store, repository.keyring, lease, avoid)
        self._indexes: list[str] = []
        self._sealed: tuple[BackupManifest, bytes] | None = None
        self._packs = self._pack_writer(cluster, level)
        self.is_committed = False
        self.ingest: Ingest
        self.built_upon: BackupManifest | None = None
        """The parent, where it is there under the lease and all of it may be referred to."""

    def begin(self, parent: BackupManifest | None) -> Ingest:
        """Takes files in, on top of the parent when that is there under the lease."""
        keyring = self._repository.keyring
        keys = IngestKeys(
            blob_ids=blob_id_key(keyring), fingerprints=fingerprint_keys(keyring.derive("page fingerprint"))
        )
        files = self._usable_files(parent)
        self.built_upon = None if files is None else parent
        self.ingest = Ingest(self._packs, keys, files, self._lease.renew)
        return self.ingest

    def commit(self, manifest: BackupManifest) -> None:
        """The backup exists, durably. BK001 when the lease was revoked meanwhile; RP004 when a pack it needs is gone.

        `ingest` must be finished. After ST001, the same call again settles whether the backup exists.
        """
        self._require_whole(manifest)
        repository, name = self._repository, manifest_name(manifest.system_identifier, self._lease.id)
        if self._sealed is None or self._sealed[0] != manifest:
            body = manifest_to_json(manifest)
            self._sealed = manifest, objects.seal_object(repository.keyring, Kind.MANIFEST, name, body)
        sealed = self._sealed[1]
        self._lease.commit(name, sealed)
        self.is_committed = True
        # Killed here, or no answer? The backup exists, and a check says that no journal speaks of it.
        repository.journal.note([*map(index_put, self._indexes), backup_made(name, digest_of(sealed))])
        repository.flush_journal()

    def _require_whole(self, manifest: BackupManifest) -> None:
        files = self._repository.files(manifest)
        references = (ref for ref, _ in References(files.nodes).of(manifest.root))
        gone = self._usable.first_unusable(references, frozenset(self._packs.put_packs))
        if gone is not None:
            raise errors.RP004.error(
                f"found pack {gone.pack.hex()[:16]} gone or about to be deleted, expected it: {manifest.id} needs it",
                changed="no backup was made",
                hints=[errors.run("take the backup again; then `safepoint repository check`")],
            )

    def _pack_writer(self, cluster: str, level: int) -> PackWriter:
        store, keyring = self._repository.store, self._repository.keyring
        cache = self._repository.index_cache(cluster)
        has_known = cache.refresh(store, keyring).places > 0

        def find_known(identity: bytes) -> BlobRef | None:
            return next(filter(self._usable.is_usable, cache.lookup_all(identity)), None)

        return PackWriter(
            store,
            keyring,
            level=level,
            tag=self._lease.tag,
            find_known=find_known if has_known else None,
            on_packs=lambda packs: self._indexes.extend(put_indexes(store, keyring, cluster, packs)),
            keeps_packs=True,
        )

    def _usable_files(self, parent: BackupManifest | None) -> BackupFiles | None:
        """The parent, when it still exists under the lease and every blob it needs may be referred to."""
        repository = self._repository
        if parent is None or all(found.id != parent.id for found in repository.readable_backups()[0]):
            return None
        files = repository.files(parent)
        try:
            references = (ref for ref, _ in References(files.nodes).of(parent.root))
            return files if self._usable.first_unusable(references) is None else None
        except errors.Damaged:
            return None


@contextlib.contextmanager
def begin_backup(
    repository: Home,
    *,
    database: str,
    cluster: str,
    parent: BackupManifest | None,
    level: int,
    avoid: AbstractSet[bytes],
) -> Generator[BackupWriter]:
    """See `Repository.write_backup`."""
    store, keyring = repository.store, repository.keyring
    require_newest(store, keyring)
    lease = begin_lease(store, keyring, purpose="backup", database=database, clock=repository.clock)
    writer: BackupWriter | None = None
    try:
        writer = BackupWriter(repository, lease, cluster, level, avoid)
        with writer.begin(parent):
            yield writer
        if parent is None and writer.is_committed:
            keep_reserve(store)
    finally:
        if writer is None or not writer.is_committed:
            # Killed here, or no answer? The lease stays open until a collection finds it stale.
            with contextlib.suppress(NotFound, errors.SafepointError):
                lease.abandon()

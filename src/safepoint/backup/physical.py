"""Physical backups over the replication protocol: checked, copied, followed by their WAL, committed.

A backup is done when its manifest is in the repository, and its manifest is put last: after every blob, and after the
WAL [start, stop) without which the files are no backup. Until then there is nothing to restore, and what was stored
is withdrawn. A temporary slot, made before the copy begins, keeps that WAL on the server: when no receiver brings it,
it is fetched through the slot. Nothing is written to a local disk.

Source: PostgreSQL documentation, "Streaming Replication Protocol", BASE_BACKUP; src/backend/backup/basebackup.c.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from safepoint import errors
from safepoint.backup.durable import durable_up_to
from safepoint.backup.physical_checks import ServerForBackup, check_server, read_clock
from safepoint.backup.receiver_start import require_same_cluster, segment_size
from safepoint.backup.shipping import WalShipper, WalStreamId
from safepoint.model.backup import BackupManifest
from safepoint.model.lsn import Lsn
from safepoint.postgres.basebackup import BackupPosition, BaseBackup, Checkpoint
from safepoint.postgres.connect import replication_connection
from safepoint.postgres.replication import ReplicationSession, SystemIdentity, slot_name
from safepoint.postgres.tar_stream import EntryKind, TarEntry
from safepoint.postgres.url import DatabaseUrl
from safepoint.postgres.walstream import EndOfStream, WalData, WalStream
from safepoint.repository import BackupWriter, Ingest, Repository, Taken
from safepoint.repository.care.verification_memory import damaged_packs
from safepoint.steps.execute import Progress

PIECE_BYTES = 4 * 1024 * 1024
"""Files are handed on in pieces of this size."""

SERVER_MANIFEST = "backup_manifest"
"""The file that holds the server's own list of files."""

RECEIVER_PATIENCE_SECONDS = 30.0
"""How long a running receiver may make no headway before the WAL is fetched by the backup itself."""

_POLL_SECONDS = 0.2
_REPORT_EVERY = 4 * 1024 * 1024

Report = Callable[[Progress], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupRequest:
    """What to back up, as which backup."""

    backup_id: str
    database: str
    tier: str
    checkpoint: Checkpoint
    compression: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """Everything about a copy that is not its content."""

    identity: SystemIdentity
    server: ServerForBackup
    segment_size: int
    history: bytes
    start: BackupPosition
    stop: BackupPosition
    started_at: datetime
    stopped_at: datetime
    taken: Taken


@contextmanager
def open_backup(url: DatabaseUrl, repository: Repository, request: BackupRequest) -> Generator[PhysicalBackup]:
    """A backup about to be taken. Leaving the context without `commit()` leaves no backup, no slot and no session."""
    with ExitStack() as stack:
        yield PhysicalBackup(url=url, repository=repository, request=request, stack=stack)


@dataclass(slots=True, kw_only=True)
class PhysicalBackup:
    """One backup under way: `check`, `copy`, `fetch_wal`, `commit`, in this order."""

    url: DatabaseUrl
    repository: Repository
    request: BackupRequest
    stack: ExitStack
    copied: Copied | None = None
    _writer: BackupWriter | None = None
    _wal_session: ReplicationSession | None = field(default=None)

    def check(self) -> ServerForBackup:
        """The server can be backed up: see `check_server`; and it is the cluster this name has always meant (BK002)."""
        server = check_server(self.url)
        session = self._session()
        identity = session.identify_system()
        session.close()
        require_same_cluster(identity.system_identifier, self.repository, self.request.database, errors.BK002)
        return server

    def copy(self, report: Report) -> Copied:
        """Every file is with the writer, and the WAL the backup needs is reserved on the server. BK005, BK006."""
        server = check_server(self.url)
        self._wal_session = self._session()
        self._wal_session.create_slot(self._slot, is_temporary=True)
        session = self._session()
        self.copied = self._copy(session, server, report)
        session.close()
        return self.copied

    def fetch_wal(self, report: Report) -> Lsn:
        """WAL [start, stop) is durable in the repository, brought by the receiver or fetched here; how far it is."""
        copied, session = self._require_copied()
        start, stop = copied.start.lsn, copied.stop.lsn
        if copied.history:
            self.repository.put_history(copied.identity.system_identifier, copied.start.timeline, copied.history)
        total = stop - start
        durable = self._wait_for_receiver(copied, lambda lsn: report(_progress(lsn - start, total)))
        if durable < stop:
            stream = WalStreamId(
                cluster=copied.identity.system_identifier,
                timeline=copied.start.timeline,
                history=copied.history,
                segment_size=copied.segment_size,
            )
            self._fetch(session, stream, start, stop, lambda lsn: report(_progress(min(lsn - start, total), total)))
            durable = self._durable(copied)
        if durable < stop:
            raise errors.BK001.error(
                f"found WAL in the repository from {start} up to {durable}, expected it up to {stop}",
                changed="no backup was made",
            )
        return durable

    def commit(self) -> BackupManifest:
        """The backup exists."""
        copied, session = self._require_copied()
        if self._writer is None:
            raise errors.IN001.error("found a copied backup without a writer, expected one")
        manifest = BackupManifest(
            id=self.request.backup_id,
            database=self.request.database,
            tier=self.request.tier,
            system_identifier=copied.identity.system_identifier,
            version=copied.server.version,
            segment_size=copied.segment_size,
            timeline=copied.start.timeline,
            start_lsn=copied.start.lsn,
            stop_lsn=copied.stop.lsn,
            started_at=copied.started_at,
            stopped_at=copied.stopped_at,
            has_checksums=copied.server.has_checksums,
            root=copied.taken.root,
            file_count=copied.taken.files,
            raw_bytes=copied.taken.raw_bytes,
            added_bytes=copied.taken.added_bytes,
        )
        self._writer.commit(manifest)
        session.close()
        return manifest

    @property
    def _slot(self) -> str:
        return slot_name(f"tmp_{time.time_ns():x}")

    def _session(self) -> ReplicationSession:
        session = ReplicationSession(replication_connection(self.url))
        self.stack.callback(session.close)
        return session

    def _require_copied(self) -> tuple[Copied, ReplicationSession]:
        if self.copied is None or self._wal_session is None:
            raise errors.BK001.error("found no copy under way in this process, expected one: the backup was voided")
        return self.copied, self._wal_session

    def _copy(self, session: ReplicationSession, server: ServerForBackup, report: Report) -> Copied:
        identity = session.identify_system()
        self._writer = self.stack.enter_context(
            self.repository.write_backup(
                database=self.request.database,
                cluster=identity.system_identifier,
                parent=self._parent(identity.system_identifier),
                level=self.request.compression,
                avoid=damaged_packs(self.repository),
            )
        )
        ingest = self._writer.ingest
        history = session.fetch_history(identity.timeline)
        size = segment_size(session)
        started_at = read_clock(self.url)
        backup = BaseBackup(session)
        label = f"safepoint {self.request.backup_id} superuser={server.superuser}"
        start, estimate = backup.begin(label=label, checkpoint=self.request.checkpoint)
        _take_files(backup, ingest, lambda done: report(_progress(done, max(done, estimate))))
        stop = backup.finish()
        _require_one_timeline(identity, start, stop)
        with ingest.file(SERVER_MANIFEST, mode=0o600) as file:
            file.write(backup.manifest)
        return Copied(
            identity=identity,
            server=server,
            segment_size=size,
            history=history,
            start=start,
            stop=stop,
            started_at=started_at,
            stopped_at=read_clock(self.url),
            taken=ingest.finish(),
        )

    def _parent(self, cluster: str) -> BackupManifest | None:
        """The newest backup of the cluster: what it has is not stored again."""
        backups = self.repository.readable_backups()[0]
        return next((found for found in reversed(backups) if found.system_identifier == cluster), None)

    def _durable(self, copied: Copied) -> Lsn:
        return durable_up_to(
            self.repository, copied.identity.system_identifier, copied.start.timeline, copied.start.lsn
        )

    def _wait_for_receiver(self, copied: Copied, tell: Callable[[Lsn], None]) -> Lsn:
        """How far the receiver has brought the WAL once it has all, makes no headway any more, or does not run."""
        durable, moved_at = self._durable(copied), time.monotonic()
        while durable < copied.stop.lsn and self._is_receiver_at_work():
            if time.monotonic() - moved_at > RECEIVER_PATIENCE_SECONDS:
                break
            time.sleep(_POLL_SECONDS)
            now_durable = self._durable(copied)
            moved_at = time.monotonic() if now_durable > durable else moved_at
            durable = now_durable
            tell(durable)
        return durable

    def _is_receiver_at_work(self) -> bool:
        return check_server(self.url).has_active_slot(slot_name(self.request.database))

    def _fetch(
        self, session: ReplicationSession, stream: WalStreamId, start: Lsn, stop: Lsn, tell: Callable[[Lsn], None]
    ) -> None:
        """Ships whole segments: the server switched to the next one when it ended the backup."""
        position = start.segment_start(stream.segment_size)
        shipper = WalShipper(
            repository=self.repository, stream=stream, position=position, durable=position, keeps_ranges=True
        )
        wal = WalStream(session)
        wal.begin(slot=None, timeline=stream.timeline, start=position)
        while shipper.durable < stop:
            message = wal.receive(_POLL_SECONDS)
            if isinstance(message, WalData):
                shipper.take(message.start, message.data)
            elif isinstance(message, EndOfStream):
                shipper.ship_open()
                break
            if shipper.has_whole_segments:
                shipper.ship_whole()
                wal.report(shipper.durable)
                tell(shipper.durable)
            wal.ask_for_life(shipper.durable)
        wal.stop()


def _take_files(backup: BaseBackup, ingest: Ingest, tell: Callable[[int], None]) -> None:
    done = told = 0
    for entry, pieces in backup.entries(PIECE_BYTES):
        if entry.kind is EntryKind.DIRECTORY:
            if entry.path:
                ingest.directory(entry.path, entry.mode)
            continue
        _require_file(entry)
        with ingest.file(entry.path, mode=entry.mode) as file:
            for piece in pieces:
                file.write(piece)
                done += len(piece)
                if done - told >= _REPORT_EVERY:
                    told = done
                    tell(done)
    tell(done)


def _require_file(entry: TarEntry) -> None:
    if entry.kind is not EntryKind.FILE:
        raise errors.BK006.error(
            f"found the symbolic link {entry.path}, expected only files and directories",
            hints=[errors.run("move what it points to into the data directory, or drop the tablespace")],
        )


def _require_one_timeline(identity: SystemIdentity, start: BackupPosition, stop: BackupPosition) -> None:
    found = {identity.timeline, start.timeline, stop.timeline}
    if len(found) != 1:
        raise errors.BK001.error(
            f"found the backup to begin on timeline {start.timeline} and to end on {stop.timeline}, expected one",
            changed="no backup was made",
            hints=[errors.ask("was the server promoted meanwhile?"), errors.run("take the backup again")],
        )


def _progress(done: int, total: int) -> Progress:
    return Progress(done=done, total=total, unit="bytes")

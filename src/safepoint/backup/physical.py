"""Physical backups: checked, copied from one of two sources, followed by their WAL, committed.

A backup is done when its manifest is in the repository, and its manifest is put last: after every blob, and after the
WAL [start, stop) without which the files are no backup. Until then there is nothing to restore; what was stored is
found again by the next backup, or collected. A temporary slot, made before the copy begins, keeps that WAL on the
server: when no receiver brings it, it is fetched through the slot. Nothing is written to a local disk.

Source: PostgreSQL documentation, "Making a Base Backup Using the Low Level API", "Streaming Replication Protocol".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from safepoint import errors
from safepoint.backup.physical_checks import ServerForBackup, check_server, read_clock
from safepoint.backup.rate_limit import RateLimit
from safepoint.backup.receiver_start import segment_size
from safepoint.backup.same_cluster import require_same_cluster
from safepoint.backup.shipping import WalStreamId
from safepoint.backup.sources.choice import require_local
from safepoint.backup.sources.expected_detection import newest_backup
from safepoint.backup.sources.files import FilesSource
from safepoint.backup.sources.port import Source, SourceRequest, TakenFiles
from safepoint.backup.sources.stream import StreamSource
from safepoint.backup.wal_of_backup import NeededWal, bring_wal
from safepoint.model.backup import BackupManifest, BackupSource, ClusterFacts
from safepoint.model.json_value import Json, JsonObject
from safepoint.model.lsn import Lsn
from safepoint.postgres.basebackup import BackupPosition, Checkpoint
from safepoint.postgres.cluster_facts import fetch_cluster_facts, fetch_next_xid
from safepoint.postgres.connect import replication_connection
from safepoint.postgres.replication import ReplicationSession, SystemIdentity, slot_name
from safepoint.postgres.url import DatabaseUrl
from safepoint.repository import BackupWriter, Repository, Taken
from safepoint.repository.care.verification_memory import damaged_packs
from safepoint.steps.execute import Progress

Report = Callable[[Progress], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupRequest:
    """What to back up, from which source, as which backup.

    `data` is the data directory that the *files* source reads; `rate_limit` is in bytes a second.
    """

    backup_id: str
    database: str
    tier: str
    checkpoint: Checkpoint
    compression: int
    source: BackupSource
    data: Path | None
    rate_limit: int | None

    def to_json(self) -> dict[str, Json]:
        """As the steps of a plan hold it."""
        return {
            "backup": self.backup_id,
            "database": self.database,
            "tier": self.tier,
            "checkpoint": self.checkpoint.value,
            "compression": self.compression,
            "source": self.source.value,
            "data": None if self.data is None else str(self.data),
            "rate_limit": self.rate_limit,
        }

    @classmethod
    def from_json(cls, value: JsonObject) -> BackupRequest:
        """The request that `to_json` was asked of."""
        data, rate_limit = value["data"], value["rate_limit"]
        return cls(
            backup_id=str(value["backup"]),
            database=str(value["database"]),
            tier=str(value["tier"]),
            checkpoint=Checkpoint(value["checkpoint"]),
            compression=int(str(value["compression"])),
            source=BackupSource(value["source"]),
            data=None if data is None else Path(str(data)),
            rate_limit=None if rate_limit is None else int(str(rate_limit)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """Everything about a copy that is not its content; `warnings` are sentences for whoever runs the backup."""

    identity: SystemIdentity
    server: ServerForBackup
    segment_size: int
    history: bytes
    start: BackupPosition
    stop: BackupPosition
    started_at: datetime
    stopped_at: datetime
    next_xid: int
    files: TakenFiles
    facts: ClusterFacts
    taken: Taken
    warnings: tuple[str, ...] = ()


@contextmanager
def open_backup(
    url: DatabaseUrl, repository: Repository, request: BackupRequest, *, primary: DatabaseUrl, strategy: str
) -> Generator[PhysicalBackup]:
    """A backup about to be taken. Leaving the context without `commit()` leaves no backup, no slot and no session.

    `url` leads to the server that is copied, `primary` to the one whose WAL a receiver may be storing: the same, or
    its primary. `strategy` is the text of the strategy file.
    """
    with ExitStack() as stack:
        yield PhysicalBackup(
            url=url, primary=primary, repository=repository, request=request, strategy=strategy, stack=stack
        )


@dataclass(slots=True, kw_only=True)
class PhysicalBackup:
    """One backup under way: `check`, `copy`, `fetch_wal`, `commit`, in this order."""

    url: DatabaseUrl
    primary: DatabaseUrl
    repository: Repository
    request: BackupRequest
    strategy: str = field(repr=False)
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
        self._require_source(server, identity.system_identifier)
        return server

    def copy(self, report: Report) -> Copied:
        """Every file is with the writer, and the WAL the backup needs is reserved on the server."""
        server = check_server(self.url)
        self._wal_session = self._session()
        identity = self._wal_session.identify_system()
        self._require_source(server, identity.system_identifier)
        self._wal_session.create_slot(slot_name(f"tmp_{time.time_ns():x}"), is_temporary=True)
        self._writer = self.stack.enter_context(
            self.repository.write_backup(
                database=self.request.database,
                cluster=identity.system_identifier,
                parent=newest_backup(self.repository, identity.system_identifier),
                level=self.request.compression,
                avoid=damaged_packs(self.repository),
            )
        )
        self.copied = self._copy(self._writer, self._wal_session, server, identity, report)
        return self.copied

    def fetch_wal(self, report: Report) -> Lsn:
        """WAL [start, stop) is durable in the repository, brought by the receiver or fetched here; how far it is."""
        copied, session = self._require_copied()
        cluster, start, stop = copied.identity.system_identifier, copied.start.lsn, copied.stop.lsn
        if copied.history:
            self.repository.put_history(cluster, copied.start.timeline, copied.history)
        stream = WalStreamId(
            cluster=cluster,
            timeline=copied.start.timeline,
            history=copied.history,
            segment_size=copied.segment_size,
        )
        needed = NeededWal(stream=stream, start=start, stop=stop, is_closed=not copied.server.is_in_recovery)
        return bring_wal(
            self.repository,
            needed,
            session,
            self._is_receiver_at_work,
            lambda done: report(_progress(done, stop - start)),
        )

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
            source=self.request.source,
            is_from_standby=copied.server.is_in_recovery,
            next_xid=copied.next_xid,
            detection=copied.files.detection,
            detection_reason=copied.files.detection_reason,
            share=copied.files.share,
            tablespaces=copied.files.tablespaces,
            outside=copied.files.outside,
            damaged_pages=copied.files.damaged_pages,
            facts=copied.facts,
        )
        self._writer.commit(manifest)
        session.close()
        return manifest

    def _session(self) -> ReplicationSession:
        session = ReplicationSession(replication_connection(self.url))
        self.stack.callback(session.close)
        return session

    def _require_source(self, server: ServerForBackup, system_identifier: str) -> None:
        """The *files* source reads the very directory the server runs on: BK008."""
        if self.request.source is BackupSource.FILES:
            require_local(self.url, server, system_identifier, self.request.data)

    def _require_copied(self) -> tuple[Copied, ReplicationSession]:
        if self.copied is None or self._wal_session is None:
            raise errors.BK001.error("found no copy under way in this process, expected one: the backup was voided")
        return self.copied, self._wal_session

    def _source(self, server: ServerForBackup, parent: BackupManifest | None) -> Source:
        request = SourceRequest(
            url=self.url,
            server=server,
            repository=self.repository,
            label=f"safepoint {self.request.backup_id} superuser={server.superuser}",
            checkpoint=self.request.checkpoint,
            limit=RateLimit(self.request.rate_limit),
            parent=parent,
        )
        if self.request.source is BackupSource.STREAM or self.request.data is None:
            source: Source = StreamSource(request)
        else:
            source = FilesSource(request, self.request.data)
        self.stack.callback(source.close)
        return source

    def _copy(
        self,
        writer: BackupWriter,
        session: ReplicationSession,
        server: ServerForBackup,
        identity: SystemIdentity,
        report: Report,
    ) -> Copied:
        history = session.fetch_history(identity.timeline)
        size = segment_size(session)
        started_at = read_clock(self.url)
        source = self._source(server, writer.built_upon)
        begun = source.begin()
        files = source.take(writer.ingest, lambda done: report(_progress(done, max(done, begun.estimate))))
        stop = source.end()
        source.close()
        _require_one_timeline(identity, begun.position, stop)
        stopped_at = read_clock(self.url)
        next_xid = fetch_next_xid(self.url, stop.lsn)
        facts, unreachable = fetch_cluster_facts(self.url, strategy=self.strategy)
        return Copied(
            identity=identity,
            server=server,
            segment_size=size,
            history=history,
            start=begun.position,
            stop=stop,
            started_at=started_at,
            stopped_at=stopped_at,
            next_xid=next_xid,
            files=files,
            facts=facts,
            taken=writer.ingest.finish(),
            warnings=(*files.warnings, *unreachable),
        )

    def _is_receiver_at_work(self) -> bool:
        try:
            return check_server(self.primary).has_active_slot(slot_name(self.request.database))
        except errors.SafepointError:
            if self.primary == self.url:
                raise
            return False  # a standby outlives its primary, and so does a backup of it


def _require_one_timeline(identity: SystemIdentity, start: BackupPosition, stop: BackupPosition) -> None:
    found = {identity.timeline, start.timeline, stop.timeline}
    if len(found) != 1:
        raise errors.BK001.error(
            f"found the backup to begin on timeline {start.timeline} and to end on {stop.timeline}, expected one",
            changed="no backup was made",
            hints=[errors.ask("was the server promoted meanwhile?"), errors.run("take the backup again")],
        )


def _progress(done: int, total: int) -> Progress:
    return Progress(done=min(done, total), total=total, unit="bytes")

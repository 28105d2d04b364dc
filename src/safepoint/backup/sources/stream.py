"""The *stream* source: the files as the server sends them over the replication protocol, from anywhere.

The server checks its own pages while it reads, and so do we as they pass: damage marks the backup and is told, for all
else of it is good. What came is held against the server's own list of files, which is then dropped: a restore makes its
own.

Where WAL summaries can be believed, the server is told of the main forks that the parent backup has, and sends only
their changed blocks; all else it sends whole, and with it a share of those, to be compared.

Source: PostgreSQL documentation, "Streaming Replication Protocol", BASE_BACKUP; src/backend/backup/basebackup.c.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import psycopg

from safepoint import errors
from safepoint.backup.sources.damage import Damage, ServerVerdict, damage_sent
from safepoint.backup.sources.detected import detected, record_findings
from safepoint.backup.sources.port import PIECE_BYTES, Begun, SourceRequest, TakenFiles
from safepoint.backup.sources.sent_files import SentFileTaker
from safepoint.backup.sources.sent_incremental import Incremental, Offer, prepare_incremental
from safepoint.backup.sources.sent_pages import SentPageCheck, read_page_now
from safepoint.kernel import PAGE_BYTES
from safepoint.model.backup import DamagedPage, Tablespace
from safepoint.postgres.basebackup import BackupPosition, BaseBackup
from safepoint.postgres.connect import connect, replication_connection
from safepoint.postgres.page_warnings import pages_named
from safepoint.postgres.replication import ReplicationSession
from safepoint.postgres.wal_summaries import Doubt
from safepoint.repository import Ingest

_NAMES = "SELECT oid::int8, spcname::text FROM pg_tablespace"


class StreamSource:
    """BASE_BACKUP on a session of its own."""

    def __init__(self, request: SourceRequest) -> None:
        self._request = request
        self._changes: Incremental | Doubt = Doubt("the backup has not begun")
        self._taker: SentFileTaker | None = None
        self._begun: Begun | None = None
        self._stop: BackupPosition | None = None
        self._open()

    def begin(self) -> Begun:
        """BASE_BACKUP has begun, an incremental one where the server and we agree on it, else a full one."""
        offer = prepare_incremental(self._request)
        if isinstance(offer, Doubt):
            self._changes = offer
            return self._begin(is_incremental=False)
        begun = self._begin_incremental(offer)
        if not isinstance(self._changes, Doubt) and begun is not None:
            return begun
        self.close()
        self._open()
        return self._begin(is_incremental=False)

    def take(self, ingest: Ingest, tell: Callable[[int], None]) -> TakenFiles:
        """Every entry of the server's archives is with the ingest, and is what the server says it sent.

        The server has ended the backup by then. When a page had changed that no WAL summary told of, the server is
        asked for everything once more.
        """
        self._take_all(ingest, tell)
        if not isinstance(self._changes, Doubt):
            doubt = record_findings(self._request.repository, self._changes.reread)
            if doubt is not None:
                self._take_again(ingest, tell, doubt)
        damage = self._finish()
        found = detected(self._changes if isinstance(self._changes, Doubt) else self._changes.known)
        return TakenFiles(
            tablespaces=self._tablespaces(),
            damaged_pages=damage.pages,
            detection=found.detection,
            detection_reason=found.reason,
            share=found.share,
            warnings=(*damage.warnings, *found.warnings),
        )

    def end(self) -> BackupPosition:
        """Where the server had ended the backup."""
        if self._stop is None:
            raise errors.IN001.error("found a base backup ended before its files were taken, expected them first")
        return self._stop

    def close(self) -> None:
        """The session is over, and with it the backup on the server."""
        self._session.close()

    def _open(self) -> None:
        self._session = ReplicationSession(replication_connection(self._request.url))
        self._backup = BaseBackup(self._session)

    def _begin(self, *, is_incremental: bool) -> Begun:
        position, estimate = self._backup.begin(
            label=self._request.label, checkpoint=self._request.checkpoint, is_incremental=is_incremental
        )
        self._begun = begun = Begun(position=position, estimate=estimate)
        return begun

    def _begin_incremental(self, offer: Offer) -> Begun | None:
        """None, and a doubt in its place, when the server refuses or its summaries do not tell all."""
        try:
            self._backup.upload_manifest(offer.manifest())
            begun = self._begin(is_incremental=True)
        except errors.SafepointError as error:
            self._changes = Doubt(f"the server takes no incremental backup: {error.message}")
            return None
        self._changes = offer.begun_at(begun.position)
        return begun

    def _take_all(self, ingest: Ingest, tell: Callable[[int], None]) -> None:
        changes = None if isinstance(self._changes, Doubt) else self._changes
        self._taker = taker = SentFileTaker(
            ingest=ingest, limit=self._request.limit, tell=tell, changes=changes, check=self._page_check()
        )
        for entry, pieces in self._backup.entries(PIECE_BYTES):
            taker.take(entry, pieces)
        taker.finish()

    def _page_check(self) -> SentPageCheck | None:
        server = self._request.server
        if self._begun is None or not server.has_checksums or server.block_size != PAGE_BYTES:
            return None
        return SentPageCheck(start=self._begun.position.lsn, segment_blocks=server.segment_blocks)

    def _finish(self) -> Damage:
        """The server has ended the backup, what came is what it lists, and what is damaged of it is known."""
        if self._taker is None:
            raise errors.IN001.error("found a base backup ended before its files were taken, expected them first")
        self._stop = stop = self._backup.finish()
        self._taker.sent.require_equal(self._backup.manifest)
        check = self._taker.check
        if check is None:
            return damage_sent(None, (), self._verdict())
        found = check.damage(stop.lsn, lambda path, page: read_page_now(self._request.url, path, page))
        return damage_sent(found, check.mended, self._verdict())

    def _verdict(self) -> ServerVerdict:
        server = self._request.server
        named = pages_named(
            self._backup.warnings,
            tablespaces=self._backup.tablespaces,
            major=server.version.major,
            segment_blocks=server.segment_blocks,
            block_size=server.block_size,
        )
        return ServerVerdict(
            is_damaged=self._backup.is_damaged,
            named=frozenset(DamagedPage(path=path, block=block) for path, block in named),
        )

    def _take_again(self, ingest: Ingest, tell: Callable[[int], None], doubt: Doubt) -> None:
        """A full backup that begins anew in place of this one: it needs no WAL from before this one's start."""
        if self._taker is not None:
            for path in self._taker.paths:
                ingest.forget(path)
        self.close()
        self._open()
        self._changes = doubt
        self._begin(is_incremental=False)
        self._take_all(ingest, tell)

    def _tablespaces(self) -> tuple[Tablespace, ...]:
        """Those of which the server sent an archive; one that was dropped meanwhile has no name any more."""
        names: dict[int, str] = {}
        with suppress(psycopg.Error), connect(self._request.url) as connection:
            names = {int(row[0]): str(row[1]) for row in connection.execute(_NAMES)}
        return tuple(
            Tablespace(oid=oid, name=names.get(oid, str(oid)), location=location)
            for oid, location in sorted(self._backup.tablespaces)
        )

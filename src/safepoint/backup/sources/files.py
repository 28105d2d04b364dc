"""The *files* source: the data directory read where it lies, while the server is in backup mode.

Files that grow, shrink or vanish are taken as they are found: WAL from the backup's start on mends them. Where WAL
summaries can be believed, only what they say has changed since the parent is read of main forks. `pg_control`
is read last, so that it is no older than anything else; `backup_label` comes from `pg_backup_stop()` and never stands
in the live directory.

Source: PostgreSQL documentation, "Making a Base Backup Using the Low Level API".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from safepoint import errors
from safepoint.backup.sources.damage import damage_of
from safepoint.backup.sources.incremental import ChangedFiles, DiskFile, detected_by, open_changed_files
from safepoint.backup.sources.meter import Meter
from safepoint.backup.sources.outside import configuration_outside, take_outside
from safepoint.backup.sources.page_check import PageCheck
from safepoint.backup.sources.port import Begun, SourceRequest, TakenFiles
from safepoint.kernel import PAGE_BYTES
from safepoint.model.backup import Tablespace
from safepoint.postgres.backup_mode import BackupMode
from safepoint.postgres.basebackup import BackupPosition
from safepoint.postgres.data_walk import CONTROL_FILE, Found, walk
from safepoint.postgres.wal_summaries import Doubt
from safepoint.repository import Ingest

BACKUP_LABEL = "backup_label"

_PRIVATE = 0o600
_CHECK_SECONDS = 10.0
_CONTROL_ATTEMPTS = 50
_CONTROL_PAUSE_SECONDS = 0.05


@contextmanager
def _reported() -> Generator[None]:
    """A file that cannot be read is BK008: a backup without it would be none."""
    try:
        yield
    except OSError as error:
        raise errors.BK008.error(
            f"found {error.filename or 'a file'} unreadable ({error.strerror or error}), expected every file readable",
            changed="no backup was made; what was stored is found again by the next backup",
            hints=[
                errors.ask("does safepoint run as the owner of the data directory, and is the disk sound?"),
                errors.run("take the backup over the replication protocol: `--source stream`"),
            ],
        ) from error


class FilesSource:
    """The files below `data`, which is certainly the server's own directory (`choice.require_local`)."""

    def __init__(self, request: SourceRequest, data: Path) -> None:
        self._request = request
        self._data = data
        self._mode = BackupMode(request.url)
        self._found: list[Found] = []
        self._check: PageCheck | None = None
        self._ingest: Ingest | None = None
        self._position: BackupPosition | None = None
        self._alive_at = time.monotonic()

    def begin(self) -> Begun:
        """The server is in backup mode; the estimate is what the files are long now."""
        self._position = position = self._mode.start(self._request.label, self._request.checkpoint)
        with _reported():
            self._found = list(walk(self._data, self._request.server.version.major))
        if self._request.server.has_checksums and self._request.server.block_size == PAGE_BYTES:
            self._check = PageCheck(start=position.lsn, segment_blocks=self._request.server.segment_blocks)
        return Begun(position=position, estimate=sum(found.size for found in self._found))

    def take(self, ingest: Ingest, tell: Callable[[int], None]) -> TakenFiles:
        """Every file and directory found is with the ingest."""
        self._ingest = ingest
        tablespaces = self._mode.tablespaces()
        self._require_listed(tablespaces)
        with _reported():
            meter = Meter(self._request.limit, tell)
            changes = self._changes(ingest)
            self._take_all(ingest, changes, meter)
            detected = detected_by(changes, self._request.repository)
            outside = take_outside(ingest, configuration_outside(self._request.url, self._data))
            self._take_control(ingest)
        ingest.drain()
        meter.finish()
        damage = damage_of(() if self._check is None else self._check.damage(self._mode.written_up_to()))
        return TakenFiles(
            tablespaces=tablespaces,
            outside=outside.files,
            damaged_pages=damage.pages,
            detection=detected.detection,
            detection_reason=detected.reason,
            share=detected.share,
            warnings=(*damage.warnings, *outside.warnings, *detected.warnings),
        )

    def end(self) -> BackupPosition:
        """The server is out of backup mode, and its label is with the ingest."""
        if self._ingest is None:
            raise errors.IN001.error("found a backup ended before its files were taken, expected them first")
        end = self._mode.stop()
        with self._ingest.file(BACKUP_LABEL, mode=_PRIVATE) as file:
            file.write(end.label)
        return end.position

    def close(self) -> None:
        """The session is over; a server that was in backup mode leaves it."""
        self._mode.close()

    def _changes(self, ingest: Ingest) -> ChangedFiles | Doubt:
        if self._position is None:
            raise errors.IN001.error("found files taken before the backup had begun, expected them after")
        return open_changed_files(self._request, self._position, ingest)

    def _take_all(self, ingest: Ingest, changes: ChangedFiles | Doubt, meter: Meter) -> None:
        position = 0
        for found in self._found:
            if found.is_directory:
                ingest.directory(found.path, found.mode)
                continue
            file = DiskFile(
                path=found.path, source=found.source, mode=found.mode, inspect=self._inspector(found, meter)
            )
            with suppress(FileNotFoundError):  # dropped since it was found: WAL says so, too
                if isinstance(changes, Doubt) or not changes.take(file):
                    ingest.read_file(file.path, file.source, mode=file.mode, inspect=file.inspect)
            position += found.size
            if not isinstance(changes, Doubt):
                meter.reached(position)
            self._require_session()

    def _inspector(self, found: Found, meter: Meter) -> Callable[[memoryview, int], None]:
        check = None if self._check is None else self._check.inspector(found.path, found.source)
        return meter.inspect if check is None else meter.then(check)

    def _take_control(self, ingest: Ingest) -> None:
        """Read until two readings are equal: the server may be writing it, and it has no second copy."""
        path = self._data / CONTROL_FILE
        content = path.read_bytes()
        for _ in range(_CONTROL_ATTEMPTS):
            again = path.read_bytes()
            if again == content:
                break
            content = again
            time.sleep(_CONTROL_PAUSE_SECONDS)
        with ingest.file(CONTROL_FILE, mode=path.stat().st_mode & 0o7777) as file:
            file.write(content)

    def _require_listed(self, tablespaces: tuple[Tablespace, ...]) -> None:
        """A tablespace whose location cannot be entered would be missing without a word."""
        listed = {found.path for found in self._found if found.is_directory}
        lacking = [space for space in tablespaces if f"pg_tblspc/{space.oid}" not in listed]
        for space in lacking:
            if not (self._data / "pg_tblspc" / str(space.oid)).is_dir():
                raise errors.BK008.error(
                    f"found no directory behind tablespace {space.name} ({space.location}), expected its files",
                    changed="no backup was made",
                    hints=[errors.ask("is its file system mounted where this process can see it?")],
                )

    def _require_session(self) -> None:
        """A lost session voids the backup: to be known in the midst of hours, not at their end."""
        if time.monotonic() - self._alive_at >= _CHECK_SECONDS:
            self._alive_at = time.monotonic()
            self._mode.check()

"""BASE_BACKUP: a cluster's files as the server sends them, and the range of WAL that makes them consistent.

The server checks its own pages while it reads, sends all of them, and says at the very end that there was damage. WAL
is not included: fetching [start, stop) is the caller's duty, and without it these files are no backup. Each tablespace
is an archive of its own; its files are given as they stand below `pg_tblspc/<oid>`.

Source: PostgreSQL documentation, "Streaming Replication Protocol", BASE_BACKUP (PostgreSQL 15 and later);
src/backend/backup/basebackup.c (perform_base_backup).
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from enum import Enum

from psycopg import pq

from safepoint import errors
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.postgres.replication import ReplicationSession, literal, rows_of
from safepoint.postgres.tar_stream import ByteStream, EntryKind, TarEntry, read_entries

CHECKPOINT_SECONDS = 3600.0
"""How long a checkpoint may take before the copy begins: a spread one fills checkpoint_completion_target."""

SILENCE_SECONDS = 300.0
"""How long the server may be silent while it copies."""

TABLESPACES = "pg_tblspc"
"""The directory in which each tablespace stands under its object id."""

_DIRECTORY_MODE = 0o700
_UPLOADED_AT_ONCE = 1 << 16


class Checkpoint(Enum):
    """How the server reaches the checkpoint a backup starts from."""

    FAST = "fast"
    SPREAD = "spread"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupPosition:
    """Where a base backup begins or ends."""

    lsn: Lsn
    timeline: TimelineId


class BaseBackup:
    """One running BASE_BACKUP: `begin`, then `entries` to their end, then `manifest`, then `finish`.

    `tablespaces` are, once it has begun, the object id and the location of each. `is_damaged` is, once it is finished,
    whether the server found checksums of pages to fail; `warnings` are then its words about some of them.
    """

    def __init__(self, session: ReplicationSession) -> None:
        self._session = session
        self._manifest: list[bytes] = []
        self._in_manifest = False
        self._archive: str | None = None
        self.tablespaces: tuple[tuple[int, str], ...] = ()
        self.is_damaged = False

    def upload_manifest(self, manifest: bytes) -> None:
        """The server knows which files of an earlier backup there are: `begin` may ask for an incremental one (17+)."""
        self._session.send("UPLOAD_MANIFEST")
        self._require(self._session.next_result(), pq.ExecStatus.COPY_IN)
        for at in range(0, len(manifest), _UPLOADED_AT_ONCE):
            self._session.write_copy(manifest[at : at + _UPLOADED_AT_ONCE])
        self._session.end_copy()
        while self._session.next_result(SILENCE_SECONDS) is not None:
            pass

    def begin(self, *, label: str, checkpoint: Checkpoint, is_incremental: bool = False) -> tuple[BackupPosition, int]:
        """The backup has begun at the position returned; with the server's estimate of the bytes to come."""
        incremental = ", INCREMENTAL true" if is_incremental else ""
        self._session.send(
            f"BASE_BACKUP (LABEL {literal(label)}, PROGRESS true, CHECKPOINT {literal(checkpoint.value)}, WAL false, "
            f"WAIT false, MANIFEST 'yes', MANIFEST_CHECKSUMS 'CRC32C'{incremental})"
        )
        position = _position(self._require(self._session.next_result(CHECKPOINT_SECONDS), pq.ExecStatus.TUPLES_OK))
        spaces = rows_of(self._require(self._session.next_result(SILENCE_SECONDS), pq.ExecStatus.TUPLES_OK))
        self.tablespaces = tuple((int(oid), location or "") for oid, location, _ in spaces if oid is not None)
        self._require(self._session.next_result(SILENCE_SECONDS), pq.ExecStatus.COPY_OUT)
        return position, sum(int(size or 0) * 1024 for _, _, size in spaces)

    def entries(self, group: int) -> Generator[tuple[TarEntry, Generator[bytes]]]:
        """Every file and directory, content in pieces of `group` bytes; pg_control last.

        A tablespace is a directory, given before what is in it: links to tablespaces are not given, and any other
        link is BK006.
        """
        self._next_data()
        while self._archive is not None:
            directory = self._directory_of(self._archive)
            self._archive = None
            if directory:
                yield TarEntry(path=directory, kind=EntryKind.DIRECTORY, size=0, mode=_DIRECTORY_MODE), _nothing()
            stream = ByteStream(self._next_data)
            for entry, pieces in read_entries(stream, group):
                if directory:
                    yield replace(entry, path=f"{directory}/{entry.path}"), pieces
                elif not self._is_tablespace(entry):
                    yield entry, pieces
            while stream.read(1 << 16):
                pass

    @property
    def manifest(self) -> bytes:
        """The server's backup manifest; complete once `entries` is exhausted."""
        return b"".join(self._manifest)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the server has warned of since the session began."""
        return tuple(self._session.notices)

    def finish(self) -> BackupPosition:
        """The server has ended the backup; the files are consistent from the position returned on.

        The session is ready for another command. BK005 when the server gave up for damaged data before it knew the
        end: a backup whose pages are damaged has an end, and is whole but for them.
        """
        position = _position(self._require(self._session.next_result(SILENCE_SECONDS), pq.ExecStatus.TUPLES_OK))
        while self._has_another_result():
            pass
        return position

    def _next_data(self) -> memoryview | bytes:
        """The next chunk of the archive; b"" when it is over: `_archive` then names the next one, if there is one.

        The manifest is kept aside.
        """
        while True:
            message = self._session.read_copy(SILENCE_SECONDS)
            if message is None:
                return self._end_of_copy()
            kind = bytes(message[:1])
            if kind == b"d" and self._in_manifest:
                self._manifest.append(bytes(message[1:]))
            elif kind == b"d":
                return message[1:]
            elif kind == b"n":
                self._archive = bytes(message[1:]).split(b"\0", 1)[0].decode()
                return b""
            elif kind == b"m":
                self._in_manifest = True

    def _directory_of(self, archive: str) -> str:
        """Where the archive's files stand: "" for the data directory itself. BK001 for a name that is not known."""
        if archive == "base.tar":
            return ""
        if archive in {f"{oid}.tar" for oid, _ in self.tablespaces}:
            return f"{TABLESPACES}/{archive.removesuffix('.tar')}"
        raise errors.BK001.error(f"found the archive {archive!r} in the base backup, expected base.tar or a tablespace")

    def _is_tablespace(self, entry: TarEntry) -> bool:
        """Whether the entry, in the data directory's archive, stands for a tablespace."""
        if entry.path in {f"{TABLESPACES}/{oid}" for oid, _ in self.tablespaces}:
            return True
        if entry.kind is EntryKind.SYMLINK:
            raise errors.BK006.error(
                f"found the symbolic link {entry.path}, expected only files and directories, and links to tablespaces",
                hints=[errors.run("move what it points to into the data directory, or out of it for good")],
            )
        return False

    def _end_of_copy(self) -> bytes:
        if not self._session.is_copy_over:
            raise errors.WL005.error(
                f"found no data for {SILENCE_SECONDS:.0f} s, expected the base backup to go on",
                hints=[errors.ask("is the server's disk stalled, or the network cut?")],
            )
        return b""

    def _has_another_result(self) -> bool:
        """False after the last. The error that says that checksums failed is kept as `is_damaged`."""
        try:
            return self._session.next_result(SILENCE_SECONDS) is not None
        except errors.Refused as error:
            if error.spec is not errors.BK005:
                raise
            self.is_damaged = True
            return True

    def _require(self, result: pq.abc.PGresult | None, status: pq.ExecStatus) -> pq.abc.PGresult:
        if result is None or result.status != status:
            found = "nothing" if result is None else pq.ExecStatus(result.status).name
            raise errors.BK001.error(f"found {found} in answer to BASE_BACKUP, expected {status.name}")
        return result


def _position(result: pq.abc.PGresult) -> BackupPosition:
    ((lsn, timeline),) = rows_of(result)
    return BackupPosition(lsn=Lsn.parse(str(lsn)), timeline=TimelineId(int(str(timeline))))


def _nothing() -> Generator[bytes]:
    yield from ()

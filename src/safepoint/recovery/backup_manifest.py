"""PostgreSQL's backup manifest, made while files are written: what `pg_verifybackup` holds a directory against.

It lists exactly the files that stand there, each with its size and the CRC32C of the bytes as they were written or
compared. Nothing is known of when the files were changed in production: each is said to be as old as the backup.
Source: PostgreSQL documentation, "Backup Manifest Format"; 15-18, src/backend/backup/backup_manifest.c. Version 1 has
no system identifier, and 17 and later read it all the same.
"""

from __future__ import annotations

import hashlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from safepoint.files import write_all
from safepoint.model.backup import BackupManifest

BACKUP_MANIFEST = "backup_manifest"

_FILE_MODE = 0o600
_HEAD = b'{ "PostgreSQL-Backup-Manifest-Version": 1,\n"Files": ['
_BUFFERED_BYTES = 256 * 1024


class ManifestMaker:
    """A context: after `finish`, `backup_manifest` in the directory lists every file that was added; OSError.

    Whoever leaves it without leaves a file that no program takes for a manifest.
    """

    def __init__(self, directory: Path, backup: BackupManifest) -> None:
        self._path = directory / BACKUP_MANIFEST
        self._backup = backup
        self._modified = _instant(backup.stopped_at)
        self._digest = hashlib.sha256()
        self._buffered = bytearray()
        self._descriptor = -1
        self.files = 0
        self.bytes = 0

    def __enter__(self) -> Self:
        # An older one, or a link in its place, is no file of ours.
        self._path.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._descriptor = os.open(self._path, flags, _FILE_MODE)
        self._append(_HEAD)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def add(self, path: str, size: int, checksum: int) -> None:
        """A file of this path, below the directory, of `size` bytes with this CRC32C, stands there."""
        self._append(b",\n" if self.files else b"\n")
        self._append(_file_line(path, size, checksum, self._modified))
        self.files += 1
        self.bytes += size

    def finish(self) -> None:
        """The manifest is whole, and with the kernel."""
        self._append(_wal_ranges(self._backup))
        self._digest.update(self._buffered)
        self._buffered += b'"Manifest-Checksum": "%s"}\n' % self._digest.hexdigest().encode()
        write_all(self._descriptor, memoryview(self._buffered))

    def _append(self, text: bytes) -> None:
        self._buffered += text
        if len(self._buffered) >= _BUFFERED_BYTES:
            self._digest.update(self._buffered)
            write_all(self._descriptor, memoryview(self._buffered))
            self._buffered = bytearray()


def _file_line(path: str, size: int, checksum: int, modified: str) -> bytes:
    # PostgreSQL writes the four bytes of the number as they lie in the memory of a little-endian machine.
    return (
        f'{{ {_path(path)}, "Size": {size}, "Last-Modified": "{modified}", '
        f'"Checksum-Algorithm": "CRC32C", "Checksum": "{checksum.to_bytes(4, "little").hex()}" }}'
    ).encode()


def _path(path: str) -> str:
    """As JSON where the name is UTF-8, else its bytes in hexadecimal."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return f'"Encoded-Path": "{os.fsencode(path).hex()}"'
    return f'"Path": {json.dumps(path, ensure_ascii=False)}'


def _wal_ranges(backup: BackupManifest) -> bytes:
    """What must be replayed before the files are consistent: pg_verifybackup without -n wants it in pg_wal."""
    return (
        '\n],\n"WAL-Ranges": [\n'
        f'{{ "Timeline": {backup.timeline}, "Start-LSN": "{backup.start_lsn}", "End-LSN": "{backup.stop_lsn}" }}'
        "\n],\n"
    ).encode()


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S GMT")

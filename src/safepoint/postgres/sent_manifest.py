"""Backup manifests between a server and us: the one that it sends, compared; and the one that is uploaded to it.

What a server sent is held against its own list: every path, size and CRC32C. What is uploaded tells it which files of
an earlier backup are there, so that it sends only their changed blocks: it looks at nothing but paths and WAL range.

Source: PostgreSQL documentation, "Backup Manifest Format"; src/backend/backup/basebackup_incremental.c (17 and later).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from safepoint import errors
from safepoint.model.lsn import Lsn
from safepoint.postgres.basebackup import BackupPosition

CHECKSUM = "CRC32C"


@dataclass(slots=True)
class SentFiles:
    """The files that a server sent: `add` each, then `require_equal`."""

    _found: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])

    def add(self, path: str, size: int, crc: int) -> None:
        """A file of this path, as the server calls it, came with so many bytes of this CRC32C."""
        self._found[path] = size, crc

    def require_equal(self, manifest: bytes) -> None:
        """What came is what the server says it sent; BK001."""
        expected = _files_of(manifest)
        for path in self._found.keys() | expected.keys():
            found, wanted = self._found.get(path), expected.get(path)
            if found != wanted:
                raise _differs(path, _told(found), _told(wanted))


def manifest_to_upload(
    paths: Iterable[tuple[str, int]], *, system_identifier: str, start: BackupPosition, stop: Lsn
) -> bytes:
    """The manifest of an earlier backup that has these files, each of so many bytes, and needs WAL [start, stop)."""
    files = ",\n".join(
        json.dumps({"Path": path, "Size": size, "Last-Modified": "2000-01-01 00:00:00 GMT"}) for path, size in paths
    )
    text = (
        '{ "PostgreSQL-Backup-Manifest-Version": 2,\n'
        f'"System-Identifier": {int(system_identifier)},\n'
        f'"Files": [\n{files}\n],\n'
        f'"WAL-Ranges": [\n{{ "Timeline": {start.timeline}, "Start-LSN": "{start.lsn}", "End-LSN": "{stop}" }}\n],\n'
    ).encode()
    return text + f'"Manifest-Checksum": "{hashlib.sha256(text).hexdigest()}"}}\n'.encode()


def _files_of(manifest: bytes) -> dict[str, tuple[int, int]]:
    body = manifest[: manifest.rfind(b'"Manifest-Checksum"')]
    try:
        stated: Any = json.loads(manifest)
        if stated["Manifest-Checksum"] != hashlib.sha256(body).hexdigest():
            raise ValueError("its checksum does not hold")  # noqa: TRY301 - one way to say it
        return {_path_of(file): (int(file["Size"]), _crc_of(file)) for file in stated["Files"]}
    except (KeyError, TypeError, ValueError) as error:
        raise errors.BK001.error(
            f"found a backup manifest that is not understood ({error}), expected the server's list of what it sent",
            changed="no backup was made",
        ) from error


def _path_of(file: dict[str, Any]) -> str:
    """A path that is no UTF-8 stands there in hexadecimal."""
    encoded = file.get("Encoded-Path")
    return str(file["Path"]) if encoded is None else bytes.fromhex(encoded).decode(errors="surrogateescape")


def _crc_of(file: dict[str, Any]) -> int:
    """The digits are those of the number's bytes as they lie in memory, lowest first."""
    if file["Checksum-Algorithm"] != CHECKSUM:
        raise ValueError(f"checksum algorithm {file['Checksum-Algorithm']}")
    return int.from_bytes(bytes.fromhex(file["Checksum"]), "little")


def _told(found: tuple[int, int] | None) -> str:
    return "nothing" if found is None else f"{found[0]} bytes with CRC32C {found[1]:08x}"


def _differs(path: str, found: str, expected: str) -> errors.SafepointError:
    return errors.BK001.error(
        f"found {found} as {path} in the base backup, expected {expected} by the server's own list",
        changed="no backup was made",
        hints=[
            errors.ask("did a proxy, or failing memory, change bytes on their way?"),
            errors.run("take the backup again"),
        ],
    )

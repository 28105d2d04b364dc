"""Verifying a backup without restoring it: every byte of it is read, and compared with what was said of it.

Proves the level *verified*: each file opens, is what its keyed digests say, has the size in the listing, and, where the
server gave a manifest of its own, the SHA-256 stated there; the WAL between the backup's start and its stop is there
and opens. Whether a server starts on it is for a restore to prove.

Source: PostgreSQL documentation, "Backup Manifest Format".
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from safepoint import errors
from safepoint.backup.durable import durable_up_to
from safepoint.model.backup import BackupManifest
from safepoint.model.json_value import Json, JsonObject
from safepoint.model.proof import ProofLevel
from safepoint.repository import BackupFiles, Entry, EntryKind, Repository
from safepoint.steps.execute import Action, Context, Progress
from safepoint.steps.plan import Plan, Step

SERVER_MANIFEST = "backup_manifest"
_TELL_EVERY = 4 * 1024 * 1024
_DAMAGE = frozenset({errors.RP004, errors.RP005, errors.RP007})


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What was read and found right."""

    backup_id: str
    system_identifier: str
    files: int
    bytes: int
    wal_bytes: int
    level: ProofLevel = ProofLevel.VERIFIED

    def to_json(self) -> dict[str, Json]:
        """As it stands in evidence."""
        return {
            "backup": self.backup_id,
            "system_identifier": self.system_identifier,
            "level": self.level.value,
            "files": self.files,
            "bytes": self.bytes,
            "wal_bytes": self.wal_bytes,
        }


def verify_backup(
    repository: Repository, backup: BackupManifest, tell: Callable[[int], None] = lambda _: None
) -> Verified:
    """Everything the backup is made of is there and right; BK004 names the first file or WAL that is not."""
    files = repository.files(backup)
    with _damage_of(backup):
        expected = _expected_files(files, backup)
        count, read = _verify_files(files, backup, expected, tell)
    if count != backup.file_count or read != backup.raw_bytes:
        raise _damaged(
            backup, f"{count} files of {read} bytes", f"{backup.file_count} files of {backup.raw_bytes} bytes"
        )
    if expected:
        raise _damaged(backup, f"no {min(expected)} ({len(expected)} files)", "every file of the server's manifest")
    return Verified(
        backup_id=backup.id,
        system_identifier=backup.system_identifier,
        files=count,
        bytes=read,
        wal_bytes=_verify_wal(repository, backup),
    )


def plan_verify(backup: BackupManifest) -> Plan:
    """One step: read and compare everything."""
    step = Step(
        name="verify",
        action="backup.verify",
        title=f"read and compare every byte of {backup.id}",
        arguments={"backup": backup.id},
    )
    return Plan(
        verb="verify",
        subject=backup.database,
        title=f"verify backup {backup.id}",
        steps=(step,),
        facts=(("files", str(backup.file_count)), ("bytes", str(backup.raw_bytes))),
    )


def verify_actions(repository: Repository) -> Mapping[str, Action]:
    """The action of a verify plan; its outcome is `Verified.to_json`."""

    def verify(step: Step, context: Context) -> JsonObject:
        backup = repository.backup(str(step.arguments["backup"]))
        total = backup.raw_bytes
        found = verify_backup(
            repository, backup, lambda done: context.report(Progress(done=done, total=total, unit="bytes"))
        )
        return found.to_json()

    return {"backup.verify": verify}


def _expected_files(files: BackupFiles, backup: BackupManifest) -> dict[str, tuple[int, str]] | None:
    """Size and SHA-256 by path, from the server's manifest, which proves itself by its own checksum.

    None where there is none: then listing and blobs, which are sealed and named by digests, are all that is said.
    """
    manifest = files.find(SERVER_MANIFEST)
    if manifest is None:
        return None
    content = b"".join(bytes(piece) for _, _, piece in files.contents([manifest]))
    try:
        value = json.loads(content)
        body = content[: content.rindex(b'"Manifest-Checksum"')]
        listed = {_path_of(entry): (int(entry["Size"]), str(entry["Checksum"])) for entry in value["Files"]}
        checksum = value["Manifest-Checksum"]
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(backup, f"an unreadable {SERVER_MANIFEST} ({error})", "the server's list of files") from error
    found = hashlib.sha256(body).hexdigest()
    if found != checksum:
        raise _damaged(backup, f"checksum {found} of {SERVER_MANIFEST}", str(checksum))
    return listed


def _path_of(entry: Mapping[str, Any]) -> str:
    if "Encoded-Path" in entry:
        return bytes.fromhex(entry["Encoded-Path"]).decode(errors="surrogateescape")
    return str(entry["Path"])


def _verify_files(
    files: BackupFiles, backup: BackupManifest, expected: dict[str, tuple[int, str]] | None, tell: Callable[[int], None]
) -> tuple[int, int]:
    """How many files and bytes were read and found right; what was found is taken out of `expected`."""
    listed: deque[Entry] = deque()
    count = told = 0
    sums = _Sums()
    for entry, _, piece in files.contents(_noted(files.entries(), listed)):
        # Empty files give no piece: those listed before this one are complete.
        while listed[0].path != entry.path:
            count += _verify_file(backup, listed.popleft(), sums, expected)
        sums.add(piece)
        if sums.total - told >= _TELL_EVERY:
            told = sums.total
            tell(told)
    while listed:
        count += _verify_file(backup, listed.popleft(), sums, expected)
    tell(sums.total)
    return count, sums.total


@dataclass(slots=True)
class _Sums:
    """The digest and size of the file being read, and the bytes read in all."""

    total: int = 0
    size: int = 0
    digest: Any = field(default_factory=hashlib.sha256)

    def add(self, piece: bytes | memoryview) -> None:
        self.digest.update(piece)
        self.size += len(piece)
        self.total += len(piece)

    def take(self) -> tuple[int, str]:
        """Size and digest of the file that ends here."""
        found = self.size, self.digest.hexdigest()
        self.size, self.digest = 0, hashlib.sha256()
        return found


def _noted(entries: Iterable[Entry], listed: deque[Entry]) -> Iterator[Entry]:
    for entry in entries:
        if entry.kind is EntryKind.FILE:
            listed.append(entry)
            yield entry


def _verify_file(backup: BackupManifest, file: Entry, sums: _Sums, expected: dict[str, tuple[int, str]] | None) -> int:
    size, digest = sums.take()
    if size != file.size:
        raise _damaged(backup, f"{file.path} with {size} bytes", f"{file.size} bytes, as its listing says")
    if file.path == SERVER_MANIFEST or expected is None:
        return 1
    if file.path not in expected:
        raise _damaged(backup, f"{file.path} in the backup", "no file that the server's manifest does not name")
    wanted_size, wanted = expected.pop(file.path)
    if (size, digest) != (wanted_size, wanted):
        raise _damaged(backup, f"{file.path} with {size} bytes, SHA-256 {digest}", f"{wanted_size} bytes, {wanted}")
    return 1


@contextmanager
def _damage_of(backup: BackupManifest) -> Generator[None]:
    """Damage in the repository is damage of this backup: BK004."""
    try:
        yield
    except errors.SafepointError as error:
        if error.spec not in _DAMAGE:
            raise
        raise _damaged(backup, f"that a file does not open ({error.message})", "every blob whole") from error


def _verify_wal(repository: Repository, backup: BackupManifest) -> int:
    """Bytes of WAL read; the backup's own range is among them without a hole."""
    durable = durable_up_to(repository, backup.system_identifier, backup.timeline, backup.start_lsn)
    if durable < backup.stop_lsn:
        raise _damaged(
            backup, f"its WAL from {backup.start_lsn} up to {durable}", f"WAL up to {backup.stop_lsn} in the repository"
        )
    read = 0
    for piece in repository.wal_pieces(backup.system_identifier):
        if piece.timeline != backup.timeline or piece.end <= backup.start_lsn or piece.start >= backup.stop_lsn:
            continue
        try:
            content = repository.read_wal(piece)
        except errors.SafepointError as error:
            if error.spec not in _DAMAGE:
                raise
            raise _damaged(backup, f"that WAL {piece.name} does not open ({error.message})", "it whole") from error
        if len(content) != piece.end - piece.start:
            raise _damaged(backup, f"{len(content)} bytes in {piece.name}", f"{piece.end - piece.start}")
        read += len(content)
    return read


def _damaged(backup: BackupManifest, found: str, expected: str) -> errors.SafepointError:
    return errors.BK004.error(
        f"found {found} in backup {backup.id}, expected {expected}",
        hints=[
            errors.ask("has the store lost or changed data?"),
            errors.run("take a new backup at once, and keep the older ones until it is verified"),
        ],
    )

"""Small repositories and what goes into them, for every test that needs one."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from safepoint.model.backup import BackupManifest, BlobRef
from safepoint.model.coverage import Mark
from safepoint.model.lsn import Lsn, TimelineId, WalSegment
from safepoint.model.secret import Secret
from safepoint.model.version import PgVersion
from safepoint.repository import Entry, EntryKind, Ingest, KeyCost, Repository, Taken, create_repository
from safepoint.repository.maps.references import References
from safepoint.repository.packs.index import current_indexes, read_index
from safepoint.repository.packs.pack import check_pack
from safepoint.stores import Store

PASSPHRASE = Secret("correct horse battery staple")
CHEAP = KeyCost(n=1 << 10)
CLUSTER = "7345678901234567890"
DATABASE = "shop"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MEBIBYTE = 1024 * 1024
TIMELINE = TimelineId(1)
SEGMENT = WalSegment(TIMELINE, 3, MEBIBYTE)
MARK = Mark(lsn=Lsn(SEGMENT.start.value + 4096), clock=NOON)
BACKUP = "20260301T120000Z-1"
SOME_ROOT = BlobRef(id=b"i" * 32, pack=b"p" * 32, offset=48, length=60, raw_length=20)

Files = Mapping[str, bytes]
"""What a backup holds: bytes by path."""


def make_repository(store: Store, passphrase: Secret | None = PASSPHRASE) -> Repository:
    """A repository whose passphrase is cheap to try."""
    return create_repository(store, passphrase, cost=CHEAP)


def sample_files(seed: int = 1) -> dict[str, bytes]:
    """Distinct files, small, large and empty: every second one compresses, the others do not."""
    source = random.Random(seed)
    sizes = {"PG_VERSION": 3, "base/5/16384": 20_000, "base/5/16385": 300_000, "base/5/16386": 65_537, "global/1260": 0}
    return {
        path: source.randbytes(size) if number % 2 else (source.randbytes(16).hex().encode() * (size // 32 + 1))[:size]
        for number, (path, size) in enumerate(sizes.items())
    }


def sample_manifest(backup_id: str = BACKUP, age: int = 0) -> BackupManifest:
    """A backup that ended `age` hours before noon; it has no files yet: see `commit_manifest`."""
    stopped = NOON - timedelta(hours=age)
    return BackupManifest(
        id=backup_id,
        database=DATABASE,
        tier="daily",
        system_identifier=CLUSTER,
        version=PgVersion(170010),
        segment_size=16 * MEBIBYTE,
        timeline=TIMELINE,
        start_lsn=Lsn.parse("0/2000028"),
        stop_lsn=Lsn.parse("0/2000158"),
        started_at=stopped - timedelta(seconds=9),
        stopped_at=stopped,
        has_checksums=True,
        root=SOME_ROOT,
        file_count=0,
        raw_bytes=0,
        added_bytes=0,
    )


def with_files(manifest: BackupManifest, taken: Taken) -> BackupManifest:
    """The manifest of a backup like this one that holds what was taken in."""
    return replace(
        manifest,
        root=taken.root,
        file_count=taken.files,
        raw_bytes=taken.raw_bytes,
        added_bytes=taken.added_bytes,
    )


def take_files(ingest: Ingest, files: Files) -> None:
    """Every file whole, and the directories above them."""
    for directory in sorted({str(parent) for path in files for parent in Path(path).parents} - {"."}):
        ingest.directory(directory, 0o700)
    for path, content in files.items():
        with ingest.file(path, mode=0o600) as file:
            file.write(content)


def commit_manifest(
    repository: Repository,
    manifest: BackupManifest,
    files: Files | None = None,
    *,
    parent: BackupManifest | None = None,
    avoid: AbstractSet[bytes] = frozenset(),
) -> BackupManifest:
    """A backup like `manifest`, under a lease of its own, that holds these files; what the repository now lists."""
    with repository.write_backup(
        database=manifest.database, cluster=manifest.system_identifier, parent=parent, avoid=avoid
    ) as writer:
        take_files(writer.ingest, files or {})
        committed = with_files(manifest, writer.ingest.finish())
        writer.commit(committed)
    return committed


def back_up(
    repository: Repository,
    files: Files,
    backup_id: str = BACKUP,
    *,
    age: int = 0,
    parent: BackupManifest | None = None,
    avoid: AbstractSet[bytes] = frozenset(),
) -> BackupManifest:
    """A backup of these files."""
    return commit_manifest(repository, sample_manifest(backup_id, age), files, parent=parent, avoid=avoid)


def wal_bytes(seed: int = 7, size: int = MEBIBYTE) -> bytes:
    """As much as one small segment."""
    source = random.Random(seed)
    return source.randbytes(size // 2) + bytes(size - size // 2)


def fill(repository: Repository) -> BackupManifest:
    """One object of each kind; packs one per kind and thread that filled it."""
    manifest = back_up(repository, sample_files())
    repository.put_wal_segment(CLUSTER, SEGMENT, wal_bytes(), history=b"", mark=MARK)
    repository.put_wal_range(CLUSTER, TIMELINE, SEGMENT.end, wal_bytes(size=8192), history=b"", mark=None)
    repository.put_history(CLUSTER, TimelineId(2), b"1\t0/3000000\tno recovery target specified\n")
    repository.append_record("drill", {"database": "shop", "seconds": 1.5})
    return manifest


def read_files(repository: Repository, manifest: BackupManifest) -> dict[str, bytes]:
    """Every file of the backup, each whole, as a restore reads them."""
    files = repository.files(manifest)
    found = {entry.path: bytearray() for entry in _only_files(files.entries())}
    for entry, offset, data in files.contents(files.entries()):
        assert offset == len(found[entry.path])
        found[entry.path] += data
    return {path: bytes(content) for path, content in found.items()}


def assert_proven(repository: Repository) -> None:
    """Every object that a listing or a manifest leads to is there and opens; raises for the first that does not."""
    for manifest in repository.backups():
        files = repository.files(manifest)
        sizes = {entry.path: entry.size for entry in _only_files(files.entries())}
        assert {path: len(content) for path, content in read_files(repository, manifest).items()} == sizes
        assert (manifest.file_count, manifest.raw_bytes) == (len(sizes), sum(sizes.values()))
        for pack in {ref.pack for ref, _ in References(files.nodes).of(manifest.root)}:
            check_pack(repository.store, repository.keyring, pack)
    for name in current_indexes(repository.store, repository.keyring):
        read_index(repository.store, repository.keyring, name)
    for piece in repository.wal_pieces(CLUSTER):
        repository.read_mark(piece)
        assert len(repository.read_wal(piece)) == piece.end - piece.start
    for timeline in range(2, 4):
        repository.read_history(CLUSTER, TimelineId(timeline))
    repository.records("drill")


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """What a change of any kind below the folder would change: sizes and times of files and directories."""
    found = [folder, *folder.rglob("*")]
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in found}


def _only_files(entries: Iterable[Entry]) -> Iterable[Entry]:
    return (entry for entry in entries if entry.kind is EntryKind.FILE)

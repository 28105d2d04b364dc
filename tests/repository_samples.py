"""Small repositories and what goes into them, for every test that needs one."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

from safepoint.model.backup import BackupFile, BackupManifest, BlobRef
from safepoint.model.coverage import Mark
from safepoint.model.lsn import Lsn, TimelineId, WalSegment
from safepoint.model.secret import Secret
from safepoint.model.version import PgVersion
from safepoint.repository import KeyCost, Repository, create_repository
from safepoint.repository.commit.manifest import packs_of
from safepoint.stores import Store

PASSPHRASE = Secret("correct horse battery staple")
CHEAP = KeyCost(n=1 << 10)
CLUSTER = "7345678901234567890"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MEBIBYTE = 1024 * 1024
TIMELINE = TimelineId(1)
SEGMENT = WalSegment(TIMELINE, 3, MEBIBYTE)
MARK = Mark(lsn=Lsn(SEGMENT.start.value + 4096), clock=NOON)


def make_repository(store: Store, passphrase: Secret | None = PASSPHRASE) -> Repository:
    """A repository whose passphrase is cheap to try."""
    return create_repository(store, passphrase, cost=CHEAP)


def sample_blobs(count: int = 6, size: int = 20_000, seed: int = 1) -> list[bytes]:
    """Distinct blobs: every second one compresses, the others do not."""
    source = random.Random(seed)
    return [
        source.randbytes(size) if index % 2 else source.randbytes(16).hex().encode() * (size // 32)
        for index in range(count)
    ]


def store_blobs(repository: Repository, blobs: list[bytes]) -> tuple[BlobRef, ...]:
    """Stores the blobs, durably."""
    with repository.writer() as writer:
        for blob in blobs:
            writer.add(blob)
        return writer.finish()


def manifest_of(refs: tuple[BlobRef, ...], backup_id: str = "20260301T120000Z-1", age: int = 0) -> BackupManifest:
    """A backup of one file per blob, `age` hours older than noon."""
    stopped = NOON - timedelta(hours=age)
    return BackupManifest(
        id=backup_id,
        database="shop",
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
        directories=("base", "base/5", "pg_wal"),
        files=tuple(
            BackupFile(path=f"base/5/{16384 + index}", size=ref.raw_length, mode=0o600, blobs=(ref,))
            for index, ref in enumerate(refs)
        ),
    )


def wal_bytes(seed: int = 7, size: int = MEBIBYTE) -> bytes:
    """As much as one small segment."""
    source = random.Random(seed)
    return source.randbytes(size // 2) + bytes(size - size // 2)


def fill(repository: Repository) -> BackupManifest:
    """One object of each kind."""
    manifest = manifest_of(store_blobs(repository, sample_blobs()))
    repository.put_backup(manifest)
    repository.put_wal_segment(CLUSTER, SEGMENT, wal_bytes(), history=b"", mark=MARK)
    repository.put_wal_range(CLUSTER, TIMELINE, SEGMENT.end, wal_bytes(size=8192), history=b"", mark=None)
    repository.put_history(CLUSTER, TimelineId(2), b"1\t0/3000000\tno recovery target specified\n")
    repository.append_record("drill", {"database": "shop", "seconds": 1.5})
    return manifest


def read_everything(repository: Repository) -> None:
    """Reads every object that a listing or a manifest leads to; raises for the first that is damaged."""
    for manifest in repository.backups():
        for pack in packs_of(manifest):
            repository.check_pack(pack)
        for file in manifest.files:
            assert sum(map(len, repository.read_blobs(file.blobs))) == file.size
    for piece in repository.wal_pieces(CLUSTER):
        repository.read_mark(CLUSTER, piece)
        assert len(repository.read_wal(CLUSTER, piece)) == piece.end - piece.start
    for timeline in range(2, 4):
        repository.read_history(CLUSTER, TimelineId(timeline))
    repository.records("drill")


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """What a change of any kind below the folder would change: sizes and times of files and directories."""
    found = [folder, *folder.rglob("*")]
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in found}

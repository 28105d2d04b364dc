"""Coverage read from a repository in which something is damaged."""

from __future__ import annotations

from pathlib import Path

from safepoint.backup.fetch_coverage import fetch_coverage
from safepoint.backup.same_cluster import require_same_cluster
from safepoint.errors import BK002
from safepoint.model.coverage import Gap
from safepoint.model.lsn import Lsn, TimelineId, WalSegment
from safepoint.repository import Repository, create_repository
from safepoint.stores import open_store

SIZE = 1 << 20
ONE = TimelineId(1)


def filled(root: Path) -> Repository:
    """Four segments of one cluster."""
    repository = create_repository(open_store(f"file:{root}"), None)
    for number in range(1, 5):
        data = bytes([number]) * SIZE
        repository.put_wal_segment("7", WalSegment(ONE, number, SIZE), data, history=b"", mark=None)
    return repository


def test_a_damaged_piece_is_a_gap_and_hides_nothing_else(tmp_path: Path) -> None:
    """In the middle and at the end alike: the end of what is held must not look like the end of what was."""
    for number in (2, 4):
        repository = filled(root := tmp_path / str(number))
        (damaged,) = root.rglob(f"*{number:08X}.1MB")
        damaged.write_bytes(b"")

        coverage = fetch_coverage(repository, "7", [])

        assert coverage.gaps == (Gap(timeline=ONE, start=Lsn(number * SIZE), end=Lsn((number + 1) * SIZE)),)


def test_a_damaged_manifest_of_its_own_does_not_keep_a_receiver_from_its_cluster(tmp_path: Path) -> None:
    """Whether a name belongs to another cluster is asked of the other clusters' manifests alone."""
    repository = filled(tmp_path / "repository")
    manifest = tmp_path / "repository" / "backups" / "7" / "shop-20260301T000000000Z"
    manifest.parent.mkdir(parents=True)
    manifest.write_bytes(b"damaged")

    require_same_cluster("7", repository, "shop", BK002)

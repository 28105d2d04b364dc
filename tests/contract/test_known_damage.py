"""Damage that a verification found is not built upon: the next backup stores the data again, and heals the others."""

from __future__ import annotations

from pathlib import Path

from repository_samples import PASSPHRASE, back_up, make_repository, read_files, sample_files
from safepoint.repository import open_repository
from safepoint.repository.care.selection import Selection
from safepoint.repository.care.verification_memory import damaged_packs
from safepoint.repository.care.verify import verify
from safepoint.stores.folder import FolderStore


def test_the_next_backup_heals_what_a_verification_found_damaged(tmp_path: Path) -> None:
    """It does not refer to the damaged pack, and earlier backups find there what they lost."""
    store = FolderStore(tmp_path / "store")
    repository = make_repository(store)
    files = sample_files()
    first = back_up(repository, files, "first")
    largest = max((tmp_path / "store" / "packs").rglob("*"), key=lambda path: path.stat().st_size * path.is_file())
    flip_a_bit(largest)
    repository = open_repository(store, PASSPHRASE)
    assert not verify(repository, Selection.all()).is_whole
    avoid = damaged_packs(repository)
    assert {pack.hex() for pack in avoid} == {largest.name}

    second = back_up(repository, files, "second", parent=first, avoid=avoid)

    repository = open_repository(store, PASSPHRASE)
    assert read_files(repository, second) == files
    assert read_files(repository, first) == files


def flip_a_bit(path: Path) -> None:
    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)

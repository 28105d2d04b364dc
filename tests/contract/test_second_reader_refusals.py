"""The second reader refuses what was moved, forged or damaged, and whoever has no key."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import second_reader
from repository_samples import (
    BACKUP,
    CHEAP,
    CLUSTER,
    MARK,
    NOON,
    PASSPHRASE,
    SEGMENT,
    assert_proven,
    back_up,
    make_repository,
    sample_files,
    wal_bytes,
)
from safepoint.model.secret import Secret
from safepoint.repository import Repository, open_repository
from safepoint.repository.opening import open_keys
from safepoint.repository.sealing.key_changes import add_key, remove_key
from safepoint.stores import FolderStore
from second_reader import Unreadable
from second_reading import OTHER, SECOND, next_backup, rotate_in, second_restored, text_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the repository lies."""
    return tmp_path / "store"


@pytest.fixture
def repository(folder: Path, passphrase: Secret | None) -> Iterator[Repository]:
    """A new repository, encrypted or not; whatever a test did to it with its own means, it is still whole."""
    repository = make_repository(FolderStore(folder), passphrase)
    yield repository
    assert_proven(open_repository(FolderStore(folder), passphrase))


@pytest.fixture
def encrypted(folder: Path) -> Repository:
    """A new repository with a passphrase."""
    return make_repository(FolderStore(folder), PASSPHRASE)


def _flip(path: Path, at: int) -> None:
    """One bit of the object is another."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)


def test_a_removed_key_opens_nothing_that_was_sealed_after_the_rotation(folder: Path, encrypted: Repository) -> None:
    """Even where its slot is put back: it is in no wrap, and reads what is older."""
    store = FolderStore(folder)
    slot = add_key(store, open_keys(store, PASSPHRASE), OTHER, name="ops", clock=lambda: NOON, cost=CHEAP)
    kept = (folder / "keys" / slot).read_bytes()
    first = back_up(encrypted, sample_files())
    remove_key(store, open_keys(store, PASSPHRASE), slot)
    next_backup(rotate_in(folder), first, sample_files(), 1)

    with pytest.raises(Unreadable, match="no slot opens"):
        second_reader.backups(folder, OTHER.reveal())
    (folder / "keys" / slot).write_bytes(kept)
    assert list(second_reader.backups(folder, OTHER.reveal())) == [BACKUP]
    assert second_restored(folder, OTHER, BACKUP) == sample_files()


def test_wal_that_was_moved_or_has_two_histories_is_refused(folder: Path, encrypted: Repository) -> None:
    """A segment under the next one's name; a second folder of its timeline."""
    encrypted.put_wal_segment(CLUSTER, SEGMENT, wal_bytes(), history=b"", mark=MARK)
    (path,) = folder.glob("wal/*/*/*MB")
    moved = path.with_name(f"{SEGMENT.next.name}.1MB")
    shutil.copy(path, moved)

    with pytest.raises(second_reader.DAMAGE):
        second_reader.wal(folder, PASSPHRASE.reveal(), CLUSTER)
    moved.unlink()
    shutil.copytree(path.parent, path.parent.with_name(f"00000001-{'f' * 32}"))
    with pytest.raises(Unreadable, match="timeline 00000001 has two histories"):
        second_reader.wal(folder, PASSPHRASE.reveal(), CLUSTER)


def test_an_expired_backup_is_not_listed_and_does_not_come_back(
    folder: Path, repository: Repository, passphrase: Secret | None
) -> None:
    """Neither by its manifest, put back, nor by its end under another lease."""
    back_up(repository, sample_files())
    (manifest,) = folder.glob("backups/*/*")
    kept, lease = manifest.read_bytes(), folder / "leases" / manifest.name
    back_up(repository, sample_files(2), SECOND)
    repository.expire_backup(BACKUP, reason="a test")

    assert list(second_reader.backups(folder, text_of(passphrase))) == [SECOND]
    manifest.write_bytes(kept)
    planted = lease.with_name("20260301T120000Z-0000000000000000")
    planted.mkdir()
    shutil.copy(lease / "end", planted / "end")
    assert list(second_reader.backups(folder, text_of(passphrase))) == [SECOND]
    with pytest.raises(Unreadable, match=f"no backup {BACKUP} exists"):
        second_restored(folder, passphrase, BACKUP)
    shutil.rmtree(planted)


@pytest.mark.parametrize("key", [PASSPHRASE, None], ids=["encrypted", "open"])
def test_a_manifest_that_was_forged_or_moved_is_refused(folder: Path, key: Secret | None) -> None:
    """One bit of it, or another backup's in its place."""
    repository = make_repository(FolderStore(folder), key)
    back_up(repository, sample_files())
    (manifest,) = folder.glob("backups/*/*")
    whole = manifest.read_bytes()
    back_up(repository, sample_files(2), SECOND)
    (other,) = set(folder.glob("backups/*/*")) - {manifest}

    for place in (9, 30, len(whole) // 2, len(whole) - 1):
        _flip(manifest, place)
        assert list(second_reader.backups(folder, text_of(key))) == [SECOND]
        with pytest.raises(Unreadable, match=f"no backup {BACKUP} exists"):
            second_restored(folder, key, BACKUP)
        _flip(manifest, place)
    shutil.copy(other, manifest)
    assert list(second_reader.backups(folder, text_of(key))) == [SECOND]
    assert second_restored(folder, key, SECOND) == sample_files(2)


@pytest.mark.parametrize("key", [PASSPHRASE, None], ids=["encrypted", "open"])
def test_a_damaged_pack_is_noticed(folder: Path, key: Secret | None) -> None:
    """One bit anywhere in its blobs, and the file is not restored; nor where the pack is cut or gone."""
    back_up(make_repository(FolderStore(folder), key), files := sample_files())
    packs = {pack: pack.read_bytes() for pack in folder.glob("packs/*/*")}

    for pack, whole in packs.items():
        for place in (48, 60, 200):
            _flip(pack, place)
            with pytest.raises(Unreadable, match="is nowhere"):
                second_restored(folder, key, BACKUP)
            _flip(pack, place)
        for cut in (whole[:50], b""):
            pack.write_bytes(cut)
            with pytest.raises(Unreadable, match="is nowhere"):
                second_restored(folder, key, BACKUP)
        pack.write_bytes(whole)
    assert second_restored(folder, key, BACKUP) == files


@pytest.mark.parametrize(("made", "given"), [(PASSPHRASE, None), (None, PASSPHRASE), (PASSPHRASE, OTHER)])
def test_another_key_or_none_is_refused(folder: Path, made: Secret | None, given: Secret | None) -> None:
    """Also where a key is given and the repository is not encrypted: it may stand in the place of one that is."""
    back_up(make_repository(FolderStore(folder), made), sample_files())

    with pytest.raises(Unreadable):
        second_reader.backups(folder, text_of(given))


@pytest.mark.parametrize("garbage", [b"", b"{}\n", b"[1]\n", b"\xff\x00", b'{"version": 1}\n'])
def test_garbage_among_the_keys_hinders_nobody(folder: Path, encrypted: Repository, garbage: bytes) -> None:
    """Whoever writes to the store can put it there; the backups are restored past it."""
    back_up(encrypted, sample_files())
    for name in ("0" * 32, "generation-00000002"):
        (folder / "keys" / name).write_bytes(garbage)

    assert second_restored(folder, PASSPHRASE, BACKUP) == sample_files()

"""Backups over every store: what is committed is listed and reads back, and nothing else is a backup."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from guarded_stores import GuardedStore, let_nobody_pass, let_pass
from repository_samples import (
    CLUSTER,
    DATABASE,
    NOON,
    assert_proven,
    back_up,
    commit_manifest,
    read_files,
    sample_files,
    sample_manifest,
    take_files,
    with_files,
)
from safepoint import errors
from safepoint.repository import Repository
from safepoint.repository.commit.leases import list_packs, open_leases
from safepoint.repository.names import BACKUPS_PREFIX, pack_name
from safepoint.stores import Store


def test_backups_are_listed_by_their_end(repository: Repository) -> None:
    """Oldest first, whatever their ids and the order in which they were made."""
    for backup_id, age in (("b", 1), ("a", 0), ("c", 2)):
        back_up(repository, {"PG_VERSION": b"17\n"}, backup_id, age=age)

    assert [backup.id for backup in repository.backups()] == ["c", "b", "a"]
    assert repository.backup("b").stopped_at == NOON - timedelta(hours=1)
    assert_proven(repository)


def test_files_come_back_by_path_and_at_random(repository: Repository) -> None:
    """Whole and in order, and any range of any of them."""
    files = sample_files()
    manifest = back_up(repository, files)

    assert read_files(repository, manifest) == files
    large = repository.open_file(manifest, "base/5/16385")
    assert large.size == 300_000
    assert large.read(65_530, 9_000) == files["base/5/16385"][65_530:74_530]
    assert large.read(299_999, 10) == files["base/5/16385"][299_999:]
    assert repository.open_file(manifest, "PG_VERSION").read(0, 9) == files["PG_VERSION"]


def test_a_path_that_the_backup_does_not_have_is_misconfigured(repository: Repository) -> None:
    """BK003 names it."""
    manifest = back_up(repository, sample_files())

    with pytest.raises(errors.Misconfigured, match="BK003: found no 'base/6'"):
        repository.open_file(manifest, "base/6")


def test_directories_and_modes_come_back(repository: Repository) -> None:
    """Empty directories too, in the order of paths."""
    with repository.write_backup(database=DATABASE, cluster=CLUSTER) as writer:
        writer.ingest.directory("pg_wal", 0o700)
        with writer.ingest.file("PG_VERSION", mode=0o640) as file:
            file.write(b"17\n")
        manifest = with_files(sample_manifest(), writer.ingest.finish())
        writer.commit(manifest)

    found = [(entry.path, entry.kind.name, entry.mode) for entry in repository.files(manifest).entries()]
    assert found == [("PG_VERSION", "FILE", 0o640), ("pg_wal", "DIRECTORY", 0o700)]


def test_a_backup_of_nothing_is_a_backup(repository: Repository) -> None:
    """No file at all, and it reads back as that."""
    manifest = commit_manifest(repository, sample_manifest())

    assert repository.backups() == (manifest,)
    assert read_files(repository, manifest) == {}


def test_two_backups_at_once_keep_apart(repository: Repository) -> None:
    """Two backups into one repository at the same time are both whole."""

    def write(seed: int) -> bool:
        files = sample_files(seed)
        return read_files(repository, back_up(repository, files, str(seed))) == files

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(write, (1, 2))) == [True, True]
    assert_proven(repository)


@pytest.mark.parametrize("cause", [ValueError, KeyboardInterrupt])
def test_a_backup_left_before_its_files_are_finished_is_adopted_by_the_next(
    store: Store, repository: Repository, cause: type[BaseException]
) -> None:
    """An error or Ctrl-C in the middle leaves no open lease; what was put is listed and not stored a second time."""

    def fail_midway() -> None:
        with repository.write_backup(database=DATABASE, cluster=CLUSTER) as writer:
            take_files(writer.ingest, sample_files())
            writer.ingest.drain()
            raise cause

    with pytest.raises(cause):
        fail_midway()

    assert open_leases(store, repository.keyring) == ()
    assert repository.backups() == ()
    manifest = back_up(repository, sample_files(), "second")
    assert manifest.added_bytes < 2000  # the listing's nodes, which the first had not written yet
    assert read_files(repository, manifest) == sample_files()
    assert_proven(repository)


def test_a_backup_left_before_its_commit_is_adopted_by_the_next(store: Store, repository: Repository) -> None:
    """Its packs are listed, so they stay for others; it is not listed, and the next backup stores nothing again."""
    with repository.write_backup(database=DATABASE, cluster=CLUSTER) as writer:
        take_files(writer.ingest, sample_files())
        writer.ingest.finish()
    assert repository.backups() == ()
    packs = list_packs(store)

    manifest = back_up(repository, sample_files(), "second")

    assert manifest.added_bytes == 0
    assert list_packs(store) == packs
    assert_proven(repository)


def test_what_could_not_be_ended_does_not_hide_why(store: Store, repository: Repository) -> None:
    """When the store is gone as a backup fails, the backup's own error is raised, not that of tidying up."""
    guarded = GuardedStore(store, let_pass)
    cut_off = Repository(guarded, repository.description, repository.keyring, repository.clock)

    def fail_midway() -> None:
        with cut_off.write_backup(database=DATABASE, cluster=CLUSTER):
            guarded.guard = let_nobody_pass
            raise ValueError("why")

    with pytest.raises(ValueError, match="why"):
        fail_midway()


def test_a_backup_that_exists_was_made_whatever_comes_after(store: Store, repository: Repository) -> None:
    """No call to the store follows its end that could make a success look like a failure."""
    guarded = GuardedStore(store, let_pass)
    cut_off = Repository(guarded, repository.description, repository.keyring, repository.clock)

    with cut_off.write_backup(database=DATABASE, cluster=CLUSTER) as writer:
        take_files(writer.ingest, sample_files())
        manifest = with_files(sample_manifest(), writer.ingest.finish())
        writer.commit(manifest)
        guarded.guard = let_nobody_pass

    assert repository.backups() == (manifest,)


def test_a_backup_whose_packs_are_gone_is_not_made(store: Store, repository: Repository) -> None:
    """RP004 before the manifest is put."""
    first = back_up(repository, sample_files(1), "first")
    for pack in list_packs(store):
        store.delete(pack_name(pack))

    with repository.write_backup(database=DATABASE, cluster=CLUSTER) as writer:
        writer.ingest.finish()
        with pytest.raises(errors.Damaged, match="RP004"):
            writer.commit(first)

    assert len(list(store.list(BACKUPS_PREFIX))) == 1


def test_a_backup_that_refers_to_a_pack_it_may_not_use_is_not_made(store: Store, repository: Repository) -> None:
    """RP004 for a pack that came after the lease was begun: nothing says that it will stay."""
    with repository.write_backup(database=DATABASE, cluster=CLUSTER) as writer:
        writer.ingest.finish()
        later = back_up(repository, sample_files(), "later")
        with pytest.raises(errors.Damaged, match=r"RP004: found pack [0-9a-f]{16} gone or about to be deleted"):
            writer.commit(later)

    assert repository.backups() == (later,)


def test_an_unknown_backup_is_misconfigured(repository: Repository) -> None:
    """BK003 names the id and how to see the others."""
    with pytest.raises(errors.Misconfigured, match="BK003: found no backup 'nine'"):
        repository.backup("nine")


def test_an_expired_backup_is_none(store: Store, repository: Repository) -> None:
    """Its manifest is gone, the other is whole, and expiring it again is BK003."""
    back_up(repository, sample_files(1), "first")
    second = back_up(repository, sample_files(2), "second")

    repository.expire_backup("first", reason="a test")

    assert repository.backups() == (second,)
    assert len(list(store.list(BACKUPS_PREFIX))) == 1
    with pytest.raises(errors.Misconfigured, match="BK003"):
        repository.expire_backup("first", reason="a test")
    assert_proven(repository)


def test_a_damaged_manifest_does_not_keep_the_others_from_expiring(store: Store, repository: Repository) -> None:
    """Nor itself: it goes by its name."""
    back_up(repository, sample_files(1), "first")
    (damaged,) = store.list(BACKUPS_PREFIX)
    store.delete(damaged)
    store.put_if_absent(damaged, b"damaged")
    back_up(repository, sample_files(2), "second")

    repository.expire_backup("second", reason="a test")
    assert repository.readable_backups() == ((), (damaged,))
    repository.expire_backup(damaged, reason="a test")

    assert repository.backups() == ()

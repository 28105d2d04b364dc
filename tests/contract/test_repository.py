"""Repositories over every store: exactly one is created, keys are asked for, and another process reads it all."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from repository_samples import (
    BACKUP,
    PASSPHRASE,
    assert_proven,
    fill,
    make_repository,
    read_files,
    sample_files,
    snapshot,
)
from safepoint import errors
from safepoint.model.secret import Secret
from safepoint.repository import Repository, create_repository, open_repository
from safepoint.stores import FolderStore, Store
from safepoint.stores.faults import FaultyStore


def test_a_repository_opens_with_its_passphrase_and_reads_what_was_stored(
    store: Store, passphrase: Secret | None
) -> None:
    """Another process that knows the place and the passphrase reads everything."""
    manifest = fill(make_repository(store, passphrase))

    repository = open_repository(store, passphrase)

    assert repository.is_encrypted is (passphrase is not None)
    assert repository.backups() == (manifest,)
    assert read_files(repository, manifest) == sample_files()
    assert_proven(repository)


def test_a_place_holds_one_repository(store: Store, repository: Repository, passphrase: Secret | None) -> None:
    """A second creation is RP002 and leaves the first as it was."""
    names = list(store.list(""))

    with pytest.raises(errors.Refused) as caught:
        make_repository(store, passphrase)

    assert caught.value.spec is errors.RP002
    assert list(store.list("")) == names
    assert open_repository(store, passphrase).id == repository.id


def test_of_two_creations_at_once_one_wins(store: Store, passphrase: Secret | None) -> None:
    """Exactly one of four gets a repository, the others RP002, and no key of theirs is left."""
    gate = threading.Barrier(4)

    def create(_: int) -> Repository | errors.SafepointError:
        gate.wait()
        try:
            return make_repository(store, passphrase)
        except errors.Refused as error:
            return error

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(create, range(4)))

    winners = [answer for answer in answers if isinstance(answer, Repository)]
    assert [winner.id for winner in winners] == [open_repository(store, passphrase).id]
    assert {answer.spec for answer in answers if isinstance(answer, errors.SafepointError)} == {errors.RP002}
    assert len(list(store.list("keys/"))) == (0 if passphrase is None else 1)


def test_the_remains_of_a_repository_are_not_built_over(store: Store, repository: Repository) -> None:
    """Where only safepoint.json was lost, a new repository would hide that it can be put back."""
    fill(repository)
    store.delete("safepoint.json")

    with pytest.raises(errors.Refused, match="RP002: found backups/"):
        make_repository(store)


def test_no_repository_is_said_plainly(store: Store) -> None:
    """RP001 at an empty place, and nothing is made there."""
    with pytest.raises(errors.Misconfigured, match=r"RP001: found no safepoint\.json"):
        open_repository(store, None)
    assert list(store.list("")) == []


@pytest.mark.parametrize("given", [Secret("wrong"), Secret(PASSPHRASE.reveal() + "\n"), None])
def test_an_encrypted_repository_opens_with_its_passphrase_only(store: Store, given: Secret | None) -> None:
    """A wrong or missing passphrase is RP003, and no message repeats it."""
    make_repository(store)

    with pytest.raises(errors.Misconfigured) as caught:
        open_repository(store, given)

    assert caught.value.spec is errors.RP003
    assert given is None or given.reveal() not in repr((caught.value, caught.value.message, caught.value.hints))


def test_an_open_repository_refuses_a_passphrase(store: Store) -> None:
    """Somebody who expects encryption must not get an open repository, put there by whomever."""
    make_repository(store, None)

    with pytest.raises(errors.Misconfigured, match=r"RP003: found repository [0-9a-f]{32} unencrypted"):
        open_repository(store, PASSPHRASE)


def test_an_empty_passphrase_is_none(store: Store) -> None:
    """An unset variable must not become a key."""
    with pytest.raises(errors.Misconfigured, match="RP003"):
        create_repository(store, Secret(""))
    assert list(store.list("")) == []


def test_no_secret_is_printed(repository: Repository) -> None:
    """Neither the repository nor its parts show keys."""
    keyring = repository.keyring

    with repository.write_backup(database="shop", cluster="7") as writer:
        parts = (repository, keyring, repository.blobs, writer, writer.ingest, writer.ingest.keys)
        for shown in map(repr, parts):
            assert keyring.masters[1].hex() not in shown
            assert repr(keyring.masters[1]) not in shown


def test_opening_and_reading_write_nothing(passphrase: Secret | None, tmp_path: Path) -> None:
    """A user with read-only rights can restore: no put, no delete, no barrier, no change of any file or folder."""
    folder = FolderStore(tmp_path / "store")
    fill(make_repository(folder, passphrase))
    before = snapshot(tmp_path)
    reader = FaultyStore(FolderStore(tmp_path / "store"))

    repository = open_repository(reader, passphrase)
    assert_proven(repository)
    repository.backup(BACKUP)

    assert {call.split()[0] for call in reader.calls} == {"get_range", "list"}
    assert snapshot(tmp_path) == before

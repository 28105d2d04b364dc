"""What lies among the packs and is none: pipes, and names that no pack of the repository can have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from guarded_stores import GuardedStore
from repository_samples import back_up, make_repository, sample_files
from rewriting import opened_again
from safepoint import errors
from safepoint.repository import Repository
from safepoint.repository.care.check import check
from safepoint.repository.care.collect import collect
from safepoint.repository.care.finding import FindingKind
from safepoint.repository.care.selection import Selection
from safepoint.repository.care.stats import stats
from safepoint.repository.care.verify import plan_verify, verify
from safepoint.repository.names import pack_name
from safepoint.repository.packs.pack import check_pack, read_table
from safepoint.repository.severity import Severity
from safepoint.stores import FolderStore

_PIPE = bytes.fromhex("cd" * 30 + "0001")
_STRAY = bytes.fromhex("ab" * 32)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """One backup, not encrypted, in the folder `store`."""
    made = make_repository(FolderStore(tmp_path / "store"), None)
    back_up(made, sample_files(), "one")
    return made


@pytest.fixture
def pipe(repository: Repository, tmp_path: Path) -> str:
    """A pipe that has the name of a pack."""
    path = tmp_path / "store" / pack_name(_PIPE)
    path.parent.mkdir(exist_ok=True)
    os.mkfifo(path)
    return pack_name(_PIPE)


def test_a_pipe_among_the_packs_is_named_and_the_rest_is_read(repository: Repository, pipe: str) -> None:
    """By verify as damage, by stats as unknown."""
    plan = plan_verify(repository, Selection.all())
    verified = verify(repository, plan)
    figures = stats(opened_again(repository))

    assert [(each.severity, each.objects) for each in verified.findings] == [(Severity.DAMAGED, (pipe,))]
    assert (verified.verified, verified.remaining) == (plan.objects - 1, 1)
    assert [pipe in text for text in figures.unknown] == [True]
    assert figures.packs.garbage_packs is None


def test_a_pipe_that_nobody_needs_is_collected(repository: Repository, pipe: str) -> None:
    """As the hint of a check says; afterwards all is whole."""
    collected = collect(repository)

    assert collected.deleted_packs == 1
    assert pipe not in set(repository.store.list("packs/"))
    assert check(opened_again(repository)).is_whole


def test_a_collection_that_fails_behind_its_first_step_says_so(repository: Repository) -> None:
    """A pack is condemned, and the store refuses to delete it: that is not nothing."""
    repository.store.put_if_absent(pack_name(_PIPE), b"nobody's")

    def guard(call: str, name: str) -> None:
        if call == "delete" and name.startswith("packs/"):
            raise errors.ST001.error("found no answer, expected one")

    with pytest.raises(errors.Unreachable) as caught:
        collect(opened_again(repository, GuardedStore(repository.store, guard)))

    assert list(repository.store.list("tombstones/"))
    assert "condemned" in caught.value.changed


def test_a_collection_that_may_not_begin_says_that_nothing_was_changed(repository: Repository) -> None:
    """It could not even list what is there."""

    def guard(call: str, name: str) -> None:
        if (call, name) == ("list", "packs/"):
            raise errors.ST001.error("found no answer, expected one")

    with pytest.raises(errors.Unreachable) as caught:
        collect(opened_again(repository, GuardedStore(repository.store, guard)))

    assert caught.value.changed == errors.NOTHING_CHANGED


def test_a_name_of_another_generation_is_a_stray_where_nothing_is_encrypted(repository: Repository) -> None:
    """Nobody rotates keys there: it is called no matter of keys, and collected."""
    repository.store.put_if_absent(pack_name(_STRAY), b"x\n")

    for read in (read_table, check_pack):
        with pytest.raises(errors.Damaged, match="not encrypted"):
            read(repository.store, repository.keyring, _STRAY)
    found = verify(repository, Selection.all()).findings
    assert [(each.kind, each.objects) for each in found] == [(FindingKind.STRANGE_NAME, (pack_name(_STRAY),))]
    assert check(opened_again(repository)).is_whole
    assert collect(opened_again(repository)).deleted_packs == 1


def test_a_name_of_another_generation_is_locked_where_keys_are(tmp_path: Path) -> None:
    """It may be a pack of keys that this one was left out of."""
    made = make_repository(FolderStore(tmp_path / "store"))

    with pytest.raises(errors.Misconfigured) as caught:
        read_table(made.store, made.keyring, _STRAY)

    assert caught.value.spec is errors.RP008

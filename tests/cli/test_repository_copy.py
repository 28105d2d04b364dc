"""`safepoint repository copy`: the other repository gets what it lacks, and the cost is told before."""

from __future__ import annotations

from pathlib import Path

import pytest

from kept import DR_KEY, Kept, make_kept, make_sibling
from repository_samples import CHEAP, CLUSTER, MARK, SEGMENT, read_files, wal_bytes
from safepoint.model.secret import Secret
from safepoint.repository import create_repository
from shell import fingerprint


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    """Two backups and some WAL in the first repository; the others are not there."""
    kept = make_kept(tmp_path)
    kept.back_up("one", seed=1, age=1)
    kept.back_up("two", seed=2)
    kept.opened().put_wal_segment(CLUSTER, SEGMENT, wal_bytes(), history=b"", mark=MARK)
    return kept


def make_stranger(kept: Kept) -> None:
    """The second repository, with keys of its own."""
    create_repository(kept.store("dr"), Secret(DR_KEY), cost=CHEAP)


def must_be_alike(kept: Kept) -> None:
    """The same backups, with the same files, and whole."""
    here, there = kept.opened(), kept.opened("dr")
    assert [backup.id for backup in there.backups()] == [backup.id for backup in here.backups()]
    for ours, theirs in zip(here.backups(), there.backups(), strict=True):
        assert read_files(there, theirs) == read_files(here, ours)
    kept.run("check", "dr")
    kept.run("verify", "dr", "--all")


def test_a_sibling_gets_objects_as_they_are(kept: Kept) -> None:
    """Byte for byte; the plan says what it costs; again there is nothing to do."""
    make_sibling(kept)
    planned = kept.run("copy", "--to", "dr", "--dry-run")
    done = kept.run("copy", "--to", "dr", "--json").json
    again = kept.run("copy", "--to", "dr", "--json").json

    assert "a sibling" in planned.err
    assert "reads" in planned.err
    assert "requests" in planned.err
    assert done["backups"] == ["one", "two"]
    assert (again["backups"], again["packs"]) == ([], 0)
    packs = kept.objects("packs/")
    assert kept.objects("packs/", "dr") == packs
    assert all(kept.store("dr").get(name) == kept.store().get(name) for name in packs)
    must_be_alike(kept)


def test_a_stranger_gets_the_files_sealed_anew(kept: Kept) -> None:
    """No object is the same, every file is."""
    make_stranger(kept)

    said = kept.run("copy", "--to", "dr")

    assert "a stranger" in said.err
    assert not set(kept.objects("packs/")) & set(kept.objects("packs/", "dr"))
    must_be_alike(kept)


def test_one_backup_alone(kept: Kept) -> None:
    """And nothing of the other."""
    make_sibling(kept)

    kept.run("copy", "--to", "dr", "--backup", "one")

    assert [backup.id for backup in kept.opened("dr").backups()] == ["one"]


def test_a_dry_run_copies_nothing(kept: Kept) -> None:
    """Both as they were."""
    make_sibling(kept)
    before = fingerprint(kept.folder(), kept.folder("dr"))

    kept.run("copy", "--to", "dr", "--dry-run", "--json")

    assert fingerprint(kept.folder(), kept.folder("dr")) == before


def test_what_is_damaged_is_not_copied_and_the_rest_is(kept: Kept) -> None:
    """Exit 13, and the other is whole."""
    make_sibling(kept)
    kept.run("copy", "--to", "dr", "--backup", "two")
    old = set(kept.objects("packs/")) - set(kept.objects("packs/", "dr"))
    kept.damage(max(old, key=kept.store().size))

    said = kept.run("copy", "--to", "dr", ends=13)

    assert "one" in said.out
    assert [backup.id for backup in kept.opened("dr").backups()] == ["two"]
    kept.run("check", "dr")


@pytest.mark.parametrize(
    ("arguments", "ends", "error"),
    [
        (("--to", "main"), 11, "CF004"),
        (("--to", "file:main"), 11, "CF004"),
        (("--to", "file:link"), 11, "CF004"),
        (("--to", "nowhere"), 11, "CF004"),
        (("--to", "open"), 11, "RP001"),
        (("--to", "dr", "--backup", "three"), 11, "BK003"),
        (("--to", "file:dr", "--to-key", "env:SAFEPOINT_KEY"), 11, "RP003"),
        (("--to", "file:dr", "--to-key", "none"), 11, "RP003"),
        (("nowhere", "--to", "dr"), 11, "CF004"),
    ],
)
def test_what_cannot_be_copied_is_said(kept: Kept, arguments: tuple[str, ...], ends: int, error: str) -> None:
    """To itself by any name; unknown; not there; a wrong key. Nothing is changed."""
    make_sibling(kept)
    (kept.shell.folder / "link").symlink_to(kept.folder())
    before = fingerprint(kept.folder(), kept.folder("dr"))

    assert kept.run("copy", *arguments, ends=ends).error == error
    assert fingerprint(kept.folder(), kept.folder("dr")) == before


def test_where_to_must_be_said(kept: Kept) -> None:
    """Wrong usage."""
    assert "--to" in kept.run("copy", ends=2).err

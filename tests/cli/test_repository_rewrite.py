"""`safepoint repository key reseal` and `repack`: packs are rewritten, backups stay what they are."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from kept import Kept, make_kept
from repository_samples import commit_manifest, read_files, sample_manifest
from safepoint.repository.maps.shape import GROUP_PAGES, PAGE_BYTES
from shell import fingerprint


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return make_kept(tmp_path)


def test_after_a_rotation_old_packs_are_sealed_anew(kept: Kept) -> None:
    """The plan tells the cost and changes nothing; afterwards, and after a collection, no pack is of the old key."""
    manifest = kept.back_up("one")
    files = read_files(kept.opened(), manifest)
    kept.run("key", "rotate")
    before = fingerprint(kept.folder())
    planned = kept.run("key", "reseal", "--dry-run")
    assert fingerprint(kept.folder()) == before

    done = kept.run("key", "reseal", "--json").json
    packs = kept.run("stats", "--json").json["packs"]
    kept.run("gc")

    assert packs["garbage"] == done["packs"]
    assert packs["waste_bytes"] == 0
    assert "packs" in planned.err
    assert "reads" in planned.err
    assert done["packs"] > 0
    assert {name[-4:] for name in kept.objects("packs/")} == {f"{kept.opened().keyring.generation:04x}"}
    assert read_files(kept.opened(), manifest) == files
    assert_proven_by_commands(kept)


def test_without_a_rotation_there_is_nothing_to_seal(kept: Kept) -> None:
    """Exit 0, no pack."""
    kept.back_up("one")

    assert kept.run("key", "reseal", "--json").json["packs"] == 0


def test_what_nobody_needs_is_left_out(kept: Kept) -> None:
    """Of a pack of which backups need little, little stays."""
    source = random.Random(1)
    group = GROUP_PAGES * PAGE_BYTES
    small = {"base/5/1": source.randbytes(group)}
    large = {"base/5/1": small["base/5/1"] + source.randbytes(7 * group)}  # one chunk: one thread puts it, in one pack
    repository = kept.opened()
    commit_manifest(repository, sample_manifest("large", 1), large)
    manifest = commit_manifest(repository, replace(sample_manifest("small"), tier="weekly"), small)
    repository.expire_backup("large", reason="a test")
    waste = kept.run("stats", "--json").json["packs"]["waste_bytes"]

    done = kept.run("repack", "--json").json
    kept.run("gc")

    assert waste > 0
    assert done["packs"] > 0
    assert kept.run("stats", "--json").json["packs"]["waste_bytes"] < waste
    assert read_files(kept.opened(), manifest) == small
    assert_proven_by_commands(kept)


def assert_proven_by_commands(kept: Kept) -> None:
    """Structure and bytes are right, and a backup opens by the same commands that a person would run."""
    kept.run("check")
    kept.run("verify", "--all")

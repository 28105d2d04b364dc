"""`safepoint repository expire`: a backup is given up, but not the best one unasked."""

from __future__ import annotations

from pathlib import Path

import pytest

from kept import Kept, make_kept


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    """Three backups; the second was read back."""
    kept = make_kept(tmp_path)
    for number, name in enumerate(("one", "two", "three")):
        kept.back_up(name, seed=number, age=3 - number)
    record = {"backup": "two", "level": "verified", "is_damaged": False, "at": "2026-03-01T12:00:00+00:00"}
    kept.opened().append_record("verifications", record)
    return kept


def listed(kept: Kept) -> list[str]:
    """Ids of the backups there are."""
    return [backup.id for backup in kept.opened().backups()]


def test_a_backup_is_given_up(kept: Kept) -> None:
    """It is not listed any more, and the command that frees its bytes is named."""
    kept.run("expire", "one", "--reason", "too old", "--dry-run")
    assert listed(kept) == ["one", "two", "three"]

    said = kept.run("expire", "one", "--reason", "too old")

    assert listed(kept) == ["two", "three"]
    assert "safepoint repository gc" in said.out
    kept.run("check")


def test_the_newest_proven_backup_is_kept_unless_forced(kept: Kept) -> None:
    """BK007, although a newer one exists: nobody has read that back."""
    refused = kept.run("expire", "two", "--reason", "a test", ends=10)
    assert listed(kept) == ["one", "two", "three"]
    forced = kept.run("expire", "two", "--reason", "a test", "--force", "--json")

    assert refused.error == "BK007"
    assert "newest proven backup of shop" in refused.err
    assert forced.json == {"expired": "two", "reason": "a test"}
    assert listed(kept) == ["one", "three"]


def test_where_none_is_proven_the_newest_is_kept(kept: Kept) -> None:
    """The only ones left."""
    kept.run("expire", "two", "--reason", "a test", "--force")

    assert kept.run("expire", "three", "--reason", "a test", ends=10).error == "BK007"
    kept.run("expire", "one", "--reason", "a test")


def test_a_manifest_that_is_lost_is_given_up_by_its_name(kept: Kept) -> None:
    """Afterwards the repository is whole again."""
    name = kept.objects("backups/")[0]
    (kept.folder() / name).unlink()
    kept.run("check", ends=13)

    kept.run("expire", name, "--reason", "lost")

    kept.run("check")


@pytest.mark.parametrize(
    ("arguments", "ends"),
    [(("four", "--reason", "x"), 11), (("one",), 2), (("one", "--reason", " "), 2), (("../x", "--reason", "x"), 11)],
)
def test_what_cannot_be_given_up_is_said(kept: Kept, arguments: tuple[str, ...], ends: int) -> None:
    """An unknown backup, and no reason."""
    kept.run("expire", *arguments, ends=ends)

    assert listed(kept) == ["one", "two", "three"]

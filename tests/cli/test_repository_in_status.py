"""`status` of a repository: gone, out of reach, damaged, and what the last check and verification found."""

from __future__ import annotations

from pathlib import Path

import pytest

from kept import Kept, make_kept
from shell import Said


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    kept = make_kept(tmp_path)
    kept.back_up("one")
    return kept


def told(kept: Kept) -> dict[str, str]:
    """The finding on the repository."""
    said: Said = kept.shell.safepoint("status", "--json", ends=3)
    (found,) = [item for item in said.json["databases"]["shop"] if item["check"] == "repository"]
    return found


def test_never_looked_at_is_unknown_then_good(kept: Kept) -> None:
    """First the check, then the verification; both are remembered in the repository."""
    before = told(kept)
    kept.run("check")
    checked = told(kept)
    kept.run("verify")
    after = told(kept)

    assert (before["state"], before["cure"]) == ("unknown", "`safepoint repository check`")
    assert (checked["state"], checked["cure"]) == ("unknown", "`safepoint repository verify`")
    assert after["state"] == "good"


def test_a_lost_pack_is_told_after_the_check(kept: Kept) -> None:
    """A verification does not read what is not there: the check's finding stands until a check finds none."""
    kept.run("verify")
    (pack,) = [name for name in kept.objects("packs/") if kept.store().size(name) > 10_000]
    lost = kept.folder() / pack
    data = lost.read_bytes()
    lost.unlink()
    kept.run("check", ends=13)
    bad = told(kept)
    lost.write_bytes(data)
    kept.run("check")

    assert bad["state"] == "bad"
    assert pack in bad["fact"]
    assert "`safepoint repository repair --from NAME|URL`" in bad["cure"]
    assert told(kept)["state"] == "good"


def test_damage_that_was_read_is_told_until_it_is_mended(kept: Kept) -> None:
    """And no longer, although nothing was verified since."""
    kept.run("check")
    (pack,) = [name for name in kept.objects("packs/") if kept.store().size(name) > 10_000]
    kept.damage(pack)
    kept.run("verify", "--all", ends=13)
    bad = told(kept)
    kept.damage(pack)

    assert (bad["state"], pack in bad["fact"]) == ("bad", True)
    assert told(kept)["state"] == "good"


def test_gone_is_bad_and_names_the_place(kept: Kept) -> None:
    """With the question whether a disk is missing; backups are unknown then, not old."""
    kept.folder().rename(kept.shell.folder / "elsewhere")

    said = kept.shell.safepoint("status", ends=3)

    assert told(kept)["state"] == "bad"
    assert "  bad     repository  found no safepoint.json in file:" in said.out
    assert "is the disk mounted?" in said.out
    assert "  unknown backup      unknown while the repository does not open" in said.out


def test_a_key_that_is_not_set_makes_it_unknown(kept: Kept) -> None:
    """The store was not asked."""
    assert told(Kept(shell=kept.shell.knowing(SAFEPOINT_KEY=None)))["state"] == "unknown"
    assert told(Kept(shell=kept.shell.knowing(SAFEPOINT_KEY="wrong")))["state"] == "bad"

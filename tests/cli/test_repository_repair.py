"""`safepoint repository repair`: what is wrong is mended where that is possible, and said where it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from kept import Kept, make_kept, make_sibling
from repository_samples import read_files
from shell import fingerprint


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    """A backup, and a sibling that has it too."""
    kept = make_kept(tmp_path)
    kept.back_up("one")
    make_sibling(kept)
    kept.run("copy", "--to", "dr")
    return kept


def largest_pack(kept: Kept) -> str:
    """The pack that holds most."""
    return max(kept.objects("packs/"), key=kept.store().size)


def must_be_whole(kept: Kept) -> None:
    """By the commands that a person would run, and by its files."""
    kept.run("check")
    kept.run("verify", "--all")
    files = [read_files(kept.opened(name), kept.opened(name).backups()[0]) for name in ("main", "dr")]
    assert files[0] == files[1]


def test_a_whole_repository_needs_no_repair(kept: Kept) -> None:
    """Exit 0, nothing changed."""
    before = fingerprint(kept.folder())

    said = kept.run("repair")

    assert "0 repairs" in said.out
    assert fingerprint(kept.folder()) == before


def test_a_missing_pack_comes_back_from_a_sibling(kept: Kept) -> None:
    """Found by check, mended by the command that it names."""
    (kept.folder() / largest_pack(kept)).unlink()
    assert "safepoint repository repair --from" in kept.run("check", ends=13).err
    before = fingerprint(kept.folder())
    kept.run("repair", "--from", "dr", "--dry-run")
    assert fingerprint(kept.folder()) == before

    done = kept.run("repair", "--from", "dr", "--json").json

    assert done["is_whole"]
    assert done["repairs"]
    must_be_whole(kept)


def test_what_verify_found_is_mended(kept: Kept) -> None:
    """A flipped bit that only reading finds is remembered until it is mended."""
    kept.damage(largest_pack(kept))
    kept.run("verify", "--all", ends=13)

    kept.run("repair", "--from", "dr")

    kept.run("gc")
    must_be_whole(kept)


def test_a_lost_index_is_rebuilt_from_the_packs(kept: Kept) -> None:
    """Without any copy."""
    for name in kept.objects("indexes/"):
        kept.damage(name)
    kept.run("check", ends=13)

    kept.run("repair")

    kept.run("check")


def test_without_a_copy_the_rest_is_said(kept: Kept) -> None:
    """Exit 13, with the backup that it costs."""
    name = largest_pack(kept)
    (kept.folder() / name).unlink()

    said = kept.run("repair", ends=13)

    assert f"object {name}" in said.out
    assert "backup one (shop, tier daily): cannot be restored whole" in said.out
    assert "1 not mended" in said.out


@pytest.mark.parametrize(
    ("arguments", "ends", "error"),
    [
        (("--from", "main"), 11, "CF004"),
        (("--from", "dr", "--from", "dr"), 11, "CF004"),
        (("--from", "nowhere"), 11, "CF004"),
        (("--from", "open"), 11, "RP001"),
        (("--from", "file:dr", "--from-key", "none"), 11, "RP003"),
        (("--from", "file:link"), 11, "CF004"),
    ],
)
def test_what_is_no_copy_is_refused(kept: Kept, arguments: tuple[str, ...], ends: int, error: str) -> None:
    """Itself by any name, one of them twice, unknown, not there, a wrong key."""
    (kept.shell.folder / "link").symlink_to(kept.folder())

    assert kept.run("repair", *arguments, ends=ends).error == error

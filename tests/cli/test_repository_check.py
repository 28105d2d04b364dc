"""`safepoint repository check` and `verify`: what is wrong is found, named, and decides the exit code."""

from __future__ import annotations

from pathlib import Path

import pytest

from kept import Kept, make_kept


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return make_kept(tmp_path)


def largest_pack(kept: Kept) -> str:
    """The pack that holds most."""
    return max(kept.objects("packs/"), key=kept.store().size)


def test_a_whole_repository_passes(kept: Kept) -> None:
    """Both end with 0 and say so, for people and for programs."""
    kept.back_up("one")

    checked, verified = kept.run("check", "--json").json, kept.run("verify", "--all", "--json").json

    assert checked["is_whole"]
    assert verified["is_whole"]
    assert checked["backups"] == 1
    assert verified["remaining"] == 0
    assert "whole" in kept.run("check").out
    assert "whole" in kept.run("verify").out


def test_a_missing_pack_is_named_with_what_it_costs(kept: Kept) -> None:
    """Exit 13; the object, the backup, its files, the instants, and the command that mends."""
    kept.back_up("one")
    name = largest_pack(kept)
    (kept.folder() / name).unlink()

    said = kept.run("check", ends=13)
    (finding, *_) = kept.run("check", "--json", ends=13).json["findings"]

    assert finding["objects"] == [name]
    assert finding["affected"][0]["backup"] == "one"
    assert name in said.out
    assert "backup one (shop, tier daily): cannot be restored whole" in said.out
    assert "instants from 2026-03-01 12:00:00.000 UTC on" in said.out
    assert "file base/5/1638" in said.out
    assert "safepoint repository repair" in said.err


def test_a_flipped_bit_is_found_by_verify(kept: Kept) -> None:
    """The structure is sound, the bytes are not."""
    kept.back_up("one")
    name = largest_pack(kept)
    kept.damage(name)

    kept.run("check")
    said = kept.run("verify", "--all", ends=13)

    assert f"object {name}" in said.out
    assert "backup one" in said.out
    assert "safepoint repository repair" in said.err


def test_damage_is_reported_in_json_as_data(kept: Kept) -> None:
    """stdout is one value, the exit code still 13."""
    kept.back_up("one")
    kept.damage(largest_pack(kept))

    said = kept.run("verify", "--all", "--json", ends=13)

    assert not said.json["is_whole"]
    assert said.json["findings"][0]["severity"] == "damaged"


def test_what_is_unknown_is_not_green(kept: Kept) -> None:
    """A name that this version does not know: exit 3."""
    kept.back_up("one")
    (kept.folder() / "packs/zz").mkdir()
    (kept.folder() / "packs/zz/strange").write_bytes(b"?")

    assert "unknown" in kept.run("verify", "--all", ends=3).out


def test_a_second_run_reads_only_what_is_new(kept: Kept) -> None:
    """What was verified is remembered."""
    kept.back_up("one", seed=1, age=1)
    first = kept.run("verify", "--json").json
    kept.back_up("two", seed=2)
    second = kept.run("verify", "--since", "7d", "--json").json

    assert first["remaining"] == second["remaining"] == 0
    assert second["bytes"] < 1.6 * first["bytes"]
    assert kept.run("verify", "--since", "7d", "--json").json["bytes"] < first["bytes"] / 2


@pytest.mark.parametrize("sample", ["0%", "200%", "nonsense", "5", "-5%", "nan%", ""])
def test_a_share_that_is_none_is_wrong_usage(kept: Kept, sample: str) -> None:
    """Exit 2, with what was found."""
    said = kept.run("verify", f"--sample={sample}", ends=2)

    assert "expected a share above 0%" in " ".join(said.err.replace("│", " ").split())


@pytest.mark.parametrize(
    "arguments",
    [("--since", "soon"), ("--since", "9" * 30 + "y"), ("--all", "--since", "7d"), ("--all", "--sample", "5%")],
)
def test_wishes_that_cannot_be_met_are_wrong_usage(kept: Kept, arguments: tuple[str, ...]) -> None:
    """A duration that is none, or two wishes at once."""
    kept.run("verify", *arguments, ends=2)


@pytest.mark.parametrize("verb", ["check", "verify"])
@pytest.mark.parametrize(
    ("arguments", "key", "ends", "error"),
    [(("nowhere",), None, 11, "CF004"), (("dr",), None, 11, "RP001"), ((), "wrong", 11, "RP003")],
)
def test_what_cannot_be_opened_is_said(
    kept: Kept, verb: str, arguments: tuple[str, ...], key: str | None, ends: int, error: str
) -> None:
    """An unknown name, a store that is gone, a wrong key."""
    shell = kept.shell.knowing(SAFEPOINT_KEY=key) if key else kept.shell

    assert Kept(shell=shell).run(verb, *arguments, ends=ends).error == error


def test_a_repository_is_named_once(kept: Kept) -> None:
    """NAME and --repository together are wrong usage."""
    kept.run("check", "main", "--repository", "dr", ends=2)


def test_a_store_that_was_rolled_back_is_noticed(kept: Kept, tmp_path: Path) -> None:
    """This machine remembers what it has seen of the journal."""
    kept.back_up("one", age=1)
    before = {path: path.read_bytes() for path in kept.folder().rglob("*") if path.is_file()}
    kept.back_up("two", seed=2)
    kept.run("check")
    for path in kept.folder().rglob("*"):
        if path.is_file() and path not in before:
            path.unlink()

    said = kept.run("check", ends=3)

    assert "rolled back" in said.out

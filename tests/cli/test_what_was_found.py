"""What one verb found, every other verb knows: damage that a check found, damage that is over, keys that are there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kept import Kept, make_kept, make_sibling
from safepoint.errors import ExitCode


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    """A backup."""
    kept = make_kept(tmp_path)
    kept.back_up("one")
    return kept


def _proof(kept: Kept) -> str:
    [listed] = kept.shell.safepoint("backups", "--json").json["backups"]
    return str(listed["proof"])


def _largest(kept: Kept) -> str:
    return max(kept.objects("packs/"), key=kept.store().size)


def _status_of(kept: Kept, check: str) -> list[dict[str, Any]]:
    said = kept.shell.safepoint("status", "--json", ends=ExitCode.ATTENTION)
    return [item for item in said.json["databases"]["shop"] if item["check"] == check]


def test_what_a_check_found_is_no_sound_backup(kept: Kept) -> None:
    """A backup that cannot be restored whole is shown as damaged by all, until a check finds it whole again."""
    lost = kept.folder() / _largest(kept)
    data = lost.read_bytes()
    lost.unlink()
    kept.run("check", ends=ExitCode.DAMAGED)
    while_lost, told = _proof(kept), [item["fact"] for item in _status_of(kept, "proof")]
    lost.write_bytes(data)
    kept.run("check")

    assert while_lost == "damaged"
    assert told == ["one is damaged"]
    assert _proof(kept) == "stored"


def test_damage_that_was_replaced_is_over(kept: Kept) -> None:
    """A damaged pack that was mended from a sibling is bad in `status` until a check has found nobody to miss it."""
    make_sibling(kept)
    kept.run("copy", "--to", "dr")
    kept.damage(_largest(kept))
    kept.run("verify", "--all", ends=ExitCode.DAMAGED)
    [before] = _status_of(kept, "repository")
    kept.run("repair", "--from", "dr")
    kept.run("check")
    kept.run("verify", "--all")
    [after] = _status_of(kept, "repository")

    assert before["state"] == "bad"
    assert after["state"] == "good"


def test_repair_names_commands_that_work(kept: Kept) -> None:
    """What its last hint says to run is a command each."""
    make_sibling(kept)
    kept.run("copy", "--to", "dr")
    (kept.folder() / _largest(kept)).unlink()
    assert "`safepoint repository verify --all`" in kept.run("repair", "--from", "dr").err


def test_one_passphrase_opens_one_slot(kept: Kept) -> None:
    """A second one would outlive the removal of the first: refused, with the slot's name."""
    [slot] = kept.run("key", "list", "--json").json
    said = kept.run("key", "add", "--passphrase-from", "env:SAFEPOINT_KEY", ends=ExitCode.REFUSED)
    assert said.error == "RP009"
    assert f"found that env:SAFEPOINT_KEY opens slot {slot['slot']} already" in said.err
    assert len(kept.objects("keys/")) == 1


def test_a_slot_is_named_by_at_least_four_digits(kept: Kept) -> None:
    """Nothing at all names no slot, and is not told that there are none."""
    said = kept.run("key", "remove", "", ends=ExitCode.REFUSED)
    assert "found '' for a slot, expected its id or how that begins, by at least 4 digits" in said.err


def test_a_rotation_tells_what_stays(kept: Kept) -> None:
    """Stored data is still under the old key: the verb that changes it is named."""
    assert "`safepoint repository key reseal`" in kept.run("key", "rotate").err


def test_a_repository_that_is_in_no_strategy(kept: Kept) -> None:
    """An unknown name is answered with the known ones, and how another becomes known."""
    said = kept.run("copy", "--to", "elsewhere", ends=ExitCode.MISCONFIGURED)
    assert "hint: name one of these, or add [repository.NAME]" in said.err


def test_a_sibling_by_url_is_named_once(kept: Kept) -> None:
    """Its URL is its name."""
    place = f"file:{kept.folder()}"
    said = kept.run("init", "dr", "--sibling-of", place, "--dry-run")
    assert said.err.count(place) == 1

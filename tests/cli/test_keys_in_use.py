"""Keys that are in use, and keys that are easy to guess: neither goes, or comes, without a word."""

from __future__ import annotations

from pathlib import Path

import pytest

from kept import Kept, make_kept
from shell import fingerprint


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return make_kept(tmp_path, {"NEW_KEY": "a new one for ops", "WEAK": "hunter2", "SHORT": "my new one"})


def test_the_key_in_use_is_not_removed_unasked(kept: Kept) -> None:
    """Refused, with what to do first and the command that insists; nothing was changed."""
    (first,) = kept.run("key", "list", "--json").json
    kept.run("key", "add", "--passphrase-from", "env:NEW_KEY")
    before = fingerprint(kept.folder())

    said = kept.run("key", "remove", first["slot"], ends=10)

    assert said.error == "RP009"
    assert "'first', to be the one that env:SAFEPOINT_KEY opens" in said.err
    assert f"`safepoint repository key remove {first['slot']} --force`" in said.err
    assert fingerprint(kept.folder()) == before


def test_removed_by_force_the_next_error_tells_of_it(kept: Kept) -> None:
    """The plan warns; afterwards the error asks whether the key was removed, and names those that are there."""
    (first,) = kept.run("key", "list", "--json").json
    kept.run("key", "add", "--name", "ops", "--passphrase-from", "env:NEW_KEY")

    removed = kept.run("key", "remove", first["slot"], "--force")
    said = kept.run("check", ends=11)

    assert "warning: it is the one in use: env:SAFEPOINT_KEY opens nothing afterwards" in removed.err
    assert said.error == "RP003"
    assert "found 1 key ('ops', passphrase)" in said.err
    assert "was that key removed since" in said.err


@pytest.mark.parametrize(
    "arguments", [("init", "dr", "--sibling-of", "main"), ("key", "add", "--passphrase-from", "env:WEAK")]
)
def test_a_weak_passphrase_is_refused(kept: Kept, arguments: tuple[str, ...]) -> None:
    """At init and at key add, with the least that is asked for and no letter of it; insisted on, with a warning."""
    weak = Kept(shell=kept.shell.knowing(DR_KEY="hunter2"))

    said = weak.run(*arguments, ends=10)
    insisted = weak.run(*arguments, "--allow-weak-key")

    assert said.error == "RP014"
    assert "found 7 characters that count among the 7 of env:" in said.err
    assert "expected at least 8" in said.err
    assert "hunter2" not in said.err + insisted.err
    assert "12 would be better" in insisted.err


def test_a_poor_passphrase_is_remarked_on(kept: Kept) -> None:
    """One that passes and could be better: a warning in the plan. A good one: none."""
    poor = kept.run("key", "add", "--passphrase-from", "env:SHORT", "--dry-run")
    good = kept.run("key", "add", "--passphrase-from", "env:NEW_KEY", "--dry-run")

    assert "warning: env:SHORT has 10 characters, of which 9 count; 12 would be better" in poor.err
    assert "would be better" not in good.err


def test_a_weak_passphrase_opens_what_is_there(kept: Kept) -> None:
    """Init of a repository that exists asks nothing of its key."""
    weak = Kept(shell=kept.shell.knowing(DR_KEY="hunter2"))
    weak.run("init", "dr", "--allow-weak-key")

    assert weak.run("init", "dr", "--json").json["is_new"] is False


def test_a_machine_keeps_one_journal_whatever_it_does(kept: Kept) -> None:
    """Changes of keys are signed by the same writer as all else, so that its memory knows of them."""
    kept.run("check")
    kept.run("key", "add", "--passphrase-from", "env:NEW_KEY")
    kept.run("check")

    assert len(list((kept.folder() / "journal").iterdir())) == 1

"""Commands in hints work as they stand: they repeat where the person said that everything is."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from kept import KEY, Kept, make_kept, make_sibling
from repository_samples import CHEAP
from safepoint.model.secret import Secret
from safepoint.repository import create_repository
from safepoint.stores import FolderStore
from shell import Said, Shell, shell_in

_COMMAND = re.compile(r"`safepoint ([^`]+)`")


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return make_kept(tmp_path)


@pytest.fixture
def bare(tmp_path: Path) -> Shell:
    """A folder without a strategy file, with a repository whose key has a name of its own."""
    shell = shell_in(tmp_path / "bare", MY_KEY=KEY)
    create_repository(FolderStore(shell.folder / "store"), Secret(KEY), cost=CHEAP)
    return shell


def commands_in(said: Said) -> list[list[str]]:
    """What stands in backticks, as a shell reads it."""
    return [shlex.split(found) for found in _COMMAND.findall(said.out + said.err)]


def test_the_hint_of_init_makes_a_key_for_the_repository_just_made(bare: Shell) -> None:
    """Pasted as it stands it opens that one, by URL and key, where no strategy file is."""
    place = ("--repository", "file:new", "--key", "env:MY_KEY")

    said = bare.safepoint("repository", "init", *place)
    *_, command = commands_in(said)  # the one before it is for a passphrase as weak as this
    pasted = bare.safepoint(*command)

    assert command == ["repository", "key", "add", "--recovery", *place]
    assert pasted.out.startswith("RECOVERY-")
    assert len(bare.safepoint("repository", "key", "list", *place, "--json").json) == 2


def test_an_error_names_the_place_that_was_typed(bare: Shell) -> None:
    """A place with a space, an option that was typed, a key: all in the command, which makes what was missing."""
    place = ("--repository", "file:my store", "--key", "env:MY_KEY")

    said = bare.safepoint("repository", "check", *place, ends=11)
    (command,) = commands_in(said)
    bare.safepoint(*command)

    assert command == ["repository", "init", *place]
    bare.safepoint("repository", "check", *place)


def test_hints_for_programs_are_complete_too(bare: Shell) -> None:
    """With --json, in the object on stderr."""
    said = bare.safepoint("repository", "stats", "--repository", "file:nowhere", "--key", "none", "--json", ends=11)

    assert "`safepoint repository init --repository file:nowhere --key none`" in said.err.splitlines()[-1]


def test_the_default_key_is_not_repeated(bare: Shell) -> None:
    """A hint is no longer than it must be."""
    shell = bare.knowing(SAFEPOINT_KEY=KEY)

    said = shell.safepoint("repository", "check", "--repository", "file:nowhere", "--key", "env:SAFEPOINT_KEY", ends=11)

    assert commands_in(said) == [["repository", "init", "--repository", "file:nowhere"]]


def test_an_error_of_the_other_end_names_the_other_end(kept: Kept, bare: Shell) -> None:
    """What a copy cannot open is its target, and so that is what the hint would make."""
    source = ("--repository", f"file:{bare.folder / 'store'}", "--key", "env:MY_KEY")

    said = bare.safepoint("repository", "copy", *source, "--to", "file:other", "--to-key", "none", ends=11)

    assert commands_in(said) == [["repository", "init", "--repository", "file:other", "--key", "none"]]


def test_the_strategy_file_is_repeated(kept: Kept) -> None:
    """And the repository's name, however it was given; a command that names one already is left alone."""
    (kept.shell.folder / "safepoint.toml").rename(kept.shell.folder / "other.toml")

    named = kept.run("check", "dr", "-c", "other.toml", ends=11)
    unnamed = kept.run("expire", "nix", "--reason", "a test", "--config", "other.toml", ends=11)

    assert commands_in(named) == [["repository", "init", "--repository", "dr", "--config", "other.toml"]]
    assert commands_in(unnamed) == [["backups", "--config", "other.toml"]]
    kept.shell.safepoint(*commands_in(named)[0])


def test_nothing_typed_nothing_added(kept: Kept) -> None:
    """In the project's folder a command is as short as it was."""
    kept.back_up("one", age=2)
    kept.back_up("two", seed=2)
    kept.opened().expire_backup("one", reason="a test")

    assert ["repository", "gc"] in commands_in(kept.run("stats"))


def test_backups_are_listed_by_url(bare: Shell, kept: Kept) -> None:
    """As they are restored: without a strategy file; of an empty repository none, and that is no error."""
    kept.back_up("one")
    full = ("--repository", f"file:{kept.folder()}", "--key", "env:MY_KEY")

    listed = bare.safepoint("backups", *full, "--json").json
    empty = bare.safepoint("backups", "--repository", "file:store", "--key", "env:MY_KEY")
    wrong = bare.safepoint("backups", "nix", *full, ends=11)

    assert (listed["database"], [backup["backup"] for backup in listed["backups"]]) == ("shop", ["one"])
    assert "no backup yet" in empty.out
    assert commands_in(wrong) == [["backups", "shop", *full]]


def test_key_verbs_take_the_place_like_their_siblings(kept: Kept) -> None:
    """By name behind the verb, by --repository, and by URL with --key."""
    make_sibling(kept)
    by_url = ("--repository", "file:dr", "--key", "env:DR_KEY")

    lists = [kept.run("key", "list", *place, "--json").json for place in (("dr",), ("--repository", "dr"), by_url)]
    added = kept.run("key", "add", *by_url, "--recovery", "--json").json
    removed = kept.run("key", "remove", added["slot"], *by_url, "--json").json
    kept.run("key", "rotate", *by_url)

    assert lists[0] == lists[1] == lists[2]
    assert removed == {"removed": added["slot"]}
    assert len(kept.run("key", "list", "main", "--json").json) == 1
    assert kept.run("key", "list", "dr", "--repository", "dr", ends=2).out == ""

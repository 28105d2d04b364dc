"""`safepoint repository key`: what people type when someone leaves, or a passphrase was lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from repository_samples import CHEAP
from safepoint.model.secret import Secret
from safepoint.repository import create_repository
from safepoint.stores import FolderStore
from shell import Said, Shell, fingerprint, shell_in

STRATEGY = """
[database.shop]
url = "env:DATABASE_URL"

[repository.main]
url = "file:backups"
key = "env:SAFEPOINT_KEY"

[repository.open]
url = "file:open"
key = "none"
"""


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A repository of the test's own, whose passphrase is cheap to try."""
    return _prepared(tmp_path)


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """For tests that must leave it as it was."""
    return _prepared(tmp_path_factory.mktemp("keys"))


def _prepared(folder: Path) -> Shell:
    shell = shell_in(folder, SAFEPOINT_KEY="a passphrase", NEW_KEY="a new one")
    shell.write("safepoint.toml", STRATEGY)
    create_repository(FolderStore(folder / "backups"), Secret("a passphrase"), cost=CHEAP)
    create_repository(FolderStore(folder / "open"), None)
    return shell


def _key(shell: Shell, *arguments: str, ends: int = 0) -> Said:
    return shell.safepoint("repository", "key", *arguments, ends=ends)


def _opens_with(shell: Shell, key: str, ends: int = 0) -> Said:
    return shell.knowing(SAFEPOINT_KEY=key).safepoint("backups", ends=ends)


def test_a_passphrase_is_replaced(shell: Shell) -> None:
    """Added by reference, the old one removed by the beginning of its slot's id, shut out by a rotation."""
    (first,) = _key(shell, "list", "--json").json
    added = _key(shell, "add", "--name", "ops", "--passphrase-from", "env:NEW_KEY", "--json").json
    new = shell.knowing(SAFEPOINT_KEY="a new one")
    removed = _key(new, "remove", first["slot"][:6], "--json")
    rotated = _key(new, "rotate", "--json")
    listed = _key(new, "list")

    assert "until `safepoint repository key rotate`" in removed.err
    assert removed.json == {"removed": first["slot"]}
    assert rotated.json["slots"] == [added["slot"]]
    assert added["slot"] in rotated.err
    assert "opens all" in listed.out
    assert "ops" in listed.out
    assert _opens_with(shell, "a passphrase", ends=11).error == "RP003"
    _opens_with(shell, "a new one")


def test_a_recovery_key_is_shown_once_and_opens(shell: Shell) -> None:
    """On stdout alone: on no other stream, in no file, in no list."""
    said = _key(shell, "add", "--recovery", "--name", "safe")
    text = said.out.strip()
    listed = _key(shell, "list")

    assert text.startswith("RECOVERY-")
    assert len(text.splitlines()) == 1
    assert text not in said.err + listed.out + listed.err
    assert "whoever loses every passphrase and recovery key" in said.err
    places = (shell.folder, Path(shell.environment["SAFEPOINT_STATE"]))
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    assert files
    assert not any(text.encode() in path.read_bytes() for path in files)
    _opens_with(shell, text.lower().replace("-", " ").replace("0", "o"))


def test_a_mistyped_recovery_key_is_told_by_its_place(shell: Shell) -> None:
    """The group's number, and none of its letters."""
    groups = _key(shell, "add", "--recovery", "--json").json["recovery_key"].split("-")
    groups[5] = ("A" if groups[5][0] != "A" else "B") + groups[5][1:]

    said = _opens_with(shell, "-".join(groups), ends=11)

    assert "group 5 of the recovery key" in said.err
    assert groups[5] not in said.err


def test_a_rotation_shows_every_slot_first(shell: Shell) -> None:
    """So that a person sees a foreign one; a dry run changes nothing."""
    _key(shell, "add", "--name", "somebody", "--passphrase-from", "env:NEW_KEY")
    before = fingerprint(shell.folder)

    said = _key(shell, "rotate", "--dry-run")

    assert "somebody (passphrase)" in said.err
    assert "opened by 2 slots" in said.err
    _key(shell, "add", "--recovery", "--dry-run", "--json")
    assert fingerprint(shell.folder) == before


def test_a_slot_that_nobody_made_is_listed_and_exits_3(shell: Shell) -> None:
    """Whoever can write to the store shows up, and the plan warns of him."""
    shell.write(f"backups/keys/{'0' * 32}", "{}")

    listed = _key(shell, "list", ends=3)
    planned = _key(shell, "rotate", "--dry-run")

    assert f"{'0' * 32}  ?" in listed.out
    assert "opens nothing" in listed.out
    assert f"warning: slot {'0' * 32} does not hold" in planned.err


@pytest.mark.parametrize(
    ("arguments", "ends", "error"),
    [
        (("remove", "ffff"), 10, "RP009"),
        (("add", "--passphrase-from", "env:NOT_SET"), 11, "CF003"),
        (("add", "--passphrase-from", "a literal"), 11, "CF003"),
        (("add", "--recovery", "--name", "x" * 101), 10, "RP009"),
    ],
)
def test_what_cannot_be_done_is_refused(untouched: Shell, arguments: tuple[str, ...], ends: int, error: str) -> None:
    """With a code, and nothing changed."""
    before = fingerprint(untouched.folder)

    said = _key(untouched, *arguments, ends=ends)

    assert said.error == error
    assert fingerprint(untouched.folder) == before


@pytest.mark.parametrize("arguments", [("add",), ("add", "--recovery", "--passphrase-from", "env:NEW_KEY")])
def test_one_kind_of_key_at_a_time(untouched: Shell, arguments: tuple[str, ...]) -> None:
    """Neither or both is wrong usage."""
    assert "--passphrase-from" in _key(untouched, *arguments, ends=2).err


def test_the_last_key_stays(untouched: Shell) -> None:
    """It is refused, and still opens."""
    (first,) = _key(untouched, "list", "--json").json

    assert _key(untouched, "remove", first["slot"], ends=10).error == "RP009"
    _opens_with(untouched, "a passphrase")


def test_without_encryption_there_are_no_keys(untouched: Shell) -> None:
    """There is nothing to list or rotate, and that is said."""
    for arguments in (("list",), ("rotate",)):
        assert _key(untouched, *arguments, "--repository", "open", ends=11).error == "RP003"

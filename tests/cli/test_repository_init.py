"""`safepoint repository init`: a repository that was added to the file later comes to be."""

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
"""


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    shell = shell_in(tmp_path, SAFEPOINT_KEY="a passphrase")
    shell.write("safepoint.toml", STRATEGY)
    return shell


def test_before_it_the_cure_is_named_and_after_it_the_repository_opens(shell: Shell) -> None:
    """`backups` says what to run; what it says works; run twice it finds the repository there."""
    before = shell.safepoint("backups", ends=11)
    made = shell.safepoint("repository", "init", "--json")
    again = shell.safepoint("repository", "init", "--json")
    shell.safepoint("backups")

    assert before.error == "RP001"
    assert "safepoint repository init" in before.err
    assert made.json["is_new"] is True
    assert again.json == {**made.json, "is_new": False}


def test_a_dry_run_makes_nothing(shell: Shell) -> None:
    """The plan is shown and the folder stays absent."""
    said = shell.safepoint("repository", "init", "--dry-run")

    assert str(shell.folder / "backups") in said.err
    assert not (shell.folder / "backups").exists()


def test_another_key_does_not_open_it(shell: Shell) -> None:
    """An existing repository is never made anew."""
    shell.safepoint("repository", "init")

    refused = shell.knowing(SAFEPOINT_KEY="another").safepoint("repository", "init", ends=11)

    assert refused.error == "RP003"


def test_whoever_makes_one_is_told_what_losing_the_key_means(shell: Shell) -> None:
    """Before it is made; and afterwards how to get a recovery key."""
    planned = shell.safepoint("repository", "init", "--dry-run")
    made = shell.safepoint("repository", "init")

    assert "loses every backup in it, for good" in planned.err
    assert "safepoint repository key add --recovery" in made.err
    assert "key add --recovery" not in shell.safepoint("repository", "init").err


SIBLINGS = """
[database.shop]
url = "env:DATABASE_URL"

[repository.main]
url = "file:main"
key = "env:SAFEPOINT_KEY"

[repository.dr]
url = "file:dr"
key = "env:DR_KEY"

[repository.same]
url = "file:same"
key = "env:SAFEPOINT_KEY"

[repository.open]
url = "file:open"
key = "none"

[repository.open-dr]
url = "file:open-dr"
key = "none"
"""


@pytest.fixture
def siblings(tmp_path: Path) -> Shell:
    """Several that are named, of which `main` and `open` are there."""
    shell = shell_in(tmp_path, SAFEPOINT_KEY="a passphrase", DR_KEY="another key")
    shell.write("safepoint.toml", SIBLINGS)
    create_repository(FolderStore(tmp_path / "main"), Secret("a passphrase"), cost=CHEAP)
    create_repository(FolderStore(tmp_path / "open"), None)
    return shell


def _init(shell: Shell, *arguments: str, ends: int = 0) -> Said:
    return shell.safepoint("repository", "init", *arguments, ends=ends)


def test_a_sibling_has_the_family_and_a_key_of_its_own(siblings: Shell) -> None:
    """Its objects are those of the other; its key opens it, and the other's does not."""
    made = _init(siblings, "dr", "--sibling-of", "main", "--json").json
    again = _init(siblings, "dr", "--sibling-of", "main", "--json").json
    main = _init(siblings, "main", "--json").json

    assert made["family"] == main["family"]
    assert made["repository"] != main["repository"]
    assert again == {**made, "is_new": False}
    assert _init(siblings.knowing(DR_KEY="a passphrase"), "dr", ends=11).error == "RP003"


def test_a_sibling_without_encryption_needs_no_key(siblings: Shell) -> None:
    """Both are alike in this."""
    made = _init(siblings, "open-dr", "--sibling-of", "open", "--json").json

    assert made["is_encrypted"] is False
    assert made["family"] == _init(siblings, "open", "--json").json["family"]


def test_a_sibling_under_the_same_key_is_warned_of(siblings: Shell) -> None:
    """It is made: who wants it so may."""
    assert "opens both" in _init(siblings, "same", "--sibling-of", "main").err


@pytest.mark.parametrize(
    ("name", "other", "ends", "error"),
    [
        ("dr", "open", 11, "RP003"),
        ("open-dr", "main", 11, "RP003"),
        ("main", "main", 11, "CF004"),
        ("main", "file:main", 11, "CF004"),
        ("dr", "nowhere", 11, "CF004"),
        ("dr", "open-dr", 11, "RP001"),
        ("open", "main", 11, "RP003"),
    ],
)
def test_what_cannot_be_a_sibling_is_refused(siblings: Shell, name: str, other: str, ends: int, error: str) -> None:
    """Encrypted and not; itself; unknown; not there. Nothing is made."""
    before = fingerprint(siblings.folder)

    said = _init(siblings, name, "--sibling-of", other, ends=ends)

    assert said.error == error
    assert fingerprint(siblings.folder) == before


def test_a_repository_that_is_there_does_not_become_a_sibling(siblings: Shell) -> None:
    """RP002: it would be another's data under another's keys."""
    create_repository(FolderStore(siblings.folder / "dr"), Secret("another key"), cost=CHEAP)

    assert _init(siblings, "dr", "--sibling-of", "main", ends=10).error == "RP002"

"""`safepoint repository init`: a repository that was added to the file later comes to be."""

from __future__ import annotations

from pathlib import Path

import pytest

from shell import Shell, shell_in

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

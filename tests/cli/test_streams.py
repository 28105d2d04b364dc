"""Streams that are closed, full or gone: what a command does, and its exit code, do not depend on them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from repository_samples import commit_manifest, sample_files, sample_manifest
from safepoint.errors import ExitCode
from safepoint.repository import create_repository
from safepoint.stores import FolderStore
from shell import PROGRAM, Shell, shell_in

CLOSED = (">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-", "2>/dev/full")
FULL = (">/dev/full", ">/dev/full 2>/dev/full")


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Beside a repository that is whole, and one whose pack was cut short."""
    shell = shell_in(tmp_path / "here")
    for name in ("whole", "cut"):
        repository = create_repository(FolderStore(shell.folder / name), None)
        commit_manifest(repository, sample_manifest("first"), sample_files())
    pack = max((path for path in (shell.folder / "cut/packs").rglob("*") if path.is_file()), key=_size)
    pack.chmod(0o600)
    os.truncate(pack, 60)
    return shell


def _size(path: Path) -> int:
    return path.stat().st_size


def _ended(shell: Shell, how: str, *words: str) -> tuple[int, str]:
    """The exit code and stderr, where that is left, of a command with streams as a shell sets them up."""
    line = " ".join((str(PROGRAM), *words, how))
    done = subprocess.run(
        ["bash", "-c", line], cwd=shell.folder, env=dict(shell.environment), capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr + done.stdout


@pytest.mark.parametrize("how", CLOSED)
def test_the_code_is_that_of_the_deed(shell: Shell, how: str) -> None:
    """A damaged repository ends with 13 whether or not somebody can be told; nothing is called a bug."""
    code, said = _ended(shell, how, "repository", "check", "--repository", "./cut", "--key", "none")
    assert code == ExitCode.DAMAGED
    assert "IN001" not in said
    assert "Traceback" not in said


@pytest.mark.parametrize("verb", ["check", "stats", "gc", "repair", "repack", "verify --all", "check --json"])
@pytest.mark.parametrize("how", ["<&- >&- 2>&-", *FULL])
def test_every_verb_does_its_work(shell: Shell, verb: str, how: str) -> None:
    """Closed streams end with 0; a full disk behind stdout with 74, which says that the work is done."""
    code, said = _ended(shell, how, "repository", *verb.split(), "--repository", "./whole", "--key", "none")
    assert code == (ExitCode.UNWRITTEN if how in FULL else ExitCode.OK), said
    assert "IN001" not in said
    if how == ">/dev/full":
        assert "found that stdout cannot be written (no space left on device), expected to tell all" in said
        assert "Traceback" not in said


def test_a_full_disk_hides_no_damage(shell: Shell) -> None:
    """The code of what was found goes before that of what could not be told."""
    code, _ = _ended(shell, ">/dev/full", "repository", "check", "--repository", "./cut", "--key", "none")
    assert code == ExitCode.DAMAGED


def test_no_file_gets_the_number_of_a_stream(shell: Shell) -> None:
    """With 0, 1 and 2 closed, what is said goes into no file: all that was made holds what it should."""
    code, _ = _ended(shell, "<&- >&- 2>&-", "repository", "init", "--repository", "./made", "--key", "none")
    assert code == ExitCode.OK
    said = shell.safepoint("repository", "check", "--repository", "./made", "--key", "none", "--json")
    assert said.json["is_whole"]
    assert not [path for path in (shell.folder / "made").rglob("*") if path.is_file() and b"url: " in path.read_bytes()]


def test_an_error_without_a_place_to_say_it_keeps_its_code(shell: Shell) -> None:
    """A repository that is not there ends with 11, in silence."""
    code, said = _ended(shell, ">&- 2>&-", "repository", "check", "--repository", "./absent", "--key", "none")
    assert (code, said) == (ExitCode.MISCONFIGURED, "")

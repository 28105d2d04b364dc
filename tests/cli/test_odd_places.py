"""Places and figures that cannot be meant: named as what they are, before anything is done."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from safepoint.errors import ExitCode
from safepoint.model.measures import parse_duration
from safepoint.repository import create_repository
from safepoint.stores import FolderStore
from safepoint.workflows.repositories import require_apart
from shell import Shell, shell_in


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Beside an empty repository."""
    shell = shell_in(tmp_path / "here")
    create_repository(FolderStore(shell.folder / "repo"), None)
    return shell


@pytest.mark.parametrize("text", ["99999999999999999999d", "1001y", "9" * 5000 + "ms"])
def test_a_duration_beyond_the_calendar(text: str) -> None:
    """It is refused with what was found and what would do, not with an overflow."""
    with pytest.raises(ValueError, match="expected a duration of at most 1000y"):
        parse_duration(text)


def test_the_longest_duration_is_one() -> None:
    """Sums count, too."""
    assert parse_duration("999y365d") == timedelta(days=365_000)
    with pytest.raises(ValueError, match="at most 1000y"):
        parse_duration("999y366d")


def test_since_before_the_calendar(shell: Shell) -> None:
    """As typed it is wrong usage."""
    place = ("--repository", "./repo", "--key", "none")
    said = shell.safepoint("repository", "verify", "--since", "9999999999d", *place, ends=ExitCode.USAGE)
    assert "expected a duration of at most 1000y" in " ".join(said.err.split())


@pytest.mark.parametrize("place", ["/", "/dev/zero", "unreadable"])
def test_no_hint_that_would_replace_what_is_there(shell: Shell, place: str) -> None:
    """A key reference to a folder, a device or a file that is no text names it; how to make a file is not said."""
    shell.write("unreadable", "").write_bytes(b"\xff\xfe")
    arguments = ("--repository", "./repo", "--key", f"file:{place}")
    said = shell.safepoint("repository", "check", *arguments, ends=ExitCode.MISCONFIGURED)
    assert said.error == "CF003"
    assert "install" not in said.err
    assert "hint: " in said.err


def test_a_file_that_is_not_there_may_be_made(shell: Shell) -> None:
    """Where nothing is, nothing can be replaced: not even a link that leads nowhere."""
    arguments = ("repository", "check", "--repository", "./repo", "--key")
    assert "install -m 600" in shell.safepoint(*arguments, "file:absent", ends=ExitCode.MISCONFIGURED).err
    (shell.folder / "link").symlink_to("nowhere")
    assert "install" not in shell.safepoint(*arguments, "file:link", ends=ExitCode.MISCONFIGURED).err


@pytest.mark.parametrize("wish", [["--dry-run"], []])
def test_no_repository_inside_another(shell: Shell, wish: list[str]) -> None:
    """Neither planned nor made: its objects would be strays in the other, and go with its collections."""
    inner = shell.folder / "repo/packs/inner"
    arguments = ("--repository", f"file:{inner}", "--key", "none", *wish)
    said = shell.safepoint("repository", "init", *arguments, ends=ExitCode.REFUSED)
    assert said.error == "RP002"
    assert f"found {inner} inside the repository at {shell.folder / 'repo'}" in said.err
    assert not inner.exists()


def test_a_link_into_another_is_inside(shell: Shell) -> None:
    """Links are followed; the repository itself, and a folder beside it, are places of their own."""
    (shell.folder / "link").symlink_to("repo/packs")
    with pytest.raises(Exception, match="inside the repository"):
        require_apart(f"file:{shell.folder / 'link/new'}")
    require_apart(f"file:{shell.folder / 'repo'}")
    require_apart(f"file:{shell.folder / 'other'}")
    require_apart("memory:")

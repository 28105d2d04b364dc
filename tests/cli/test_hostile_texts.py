"""Texts of a repository reach a terminal as text: nothing in them is obeyed, and none makes a line of its own."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from rich.text import Text

from repository_samples import commit_manifest, sample_files, sample_manifest
from safepoint.cli.printable import line, printable, shown
from safepoint.errors import ExitCode
from safepoint.repository import create_repository
from safepoint.stores import FolderStore
from shell import Shell, shell_in

ID, DATABASE, TIER = "x\nstructure  whole\x1b[2J", "shop\x1b[31m\n✓ fine", "t\r\n\u202e"


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Beside a damaged repository whose backup has such names."""
    shell = shell_in(tmp_path / "here")
    repository = create_repository(FolderStore(shell.folder / "odd"), None)
    manifest = replace(sample_manifest(ID), database=DATABASE, tier=TIER)
    commit_manifest(repository, manifest, sample_files())
    packs = [path for path in (shell.folder / "odd/packs").rglob("*") if path.is_file()]
    pack = max(packs, key=lambda path: path.stat().st_size)
    pack.chmod(0o600)
    os.truncate(pack, 60)
    return shell


@pytest.mark.parametrize(
    ("verb", "ends"),
    [
        (["repository", "check"], ExitCode.DAMAGED),
        (["repository", "stats"], ExitCode.OK),
        (["backups"], ExitCode.OK),
        (["repository", "expire", "x", "--reason", "\x1b[2J\n"], ExitCode.MISCONFIGURED),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(shell: Shell, verb: list[str], ends: ExitCode) -> None:
    """No control character but line ends of ours, and no line that a name has begun."""
    said = shell.safepoint(*verb, "--repository", "./odd", "--key", "none", ends=ends)
    whole = said.out + said.err
    assert [sign for sign in whole if not sign.isprintable() and sign != "\n"] == []
    assert "✓ fine" not in [text[:6] for text in whole.splitlines()]


def test_json_has_the_names_as_they_are(shell: Shell) -> None:
    """For programs nothing is escaped but by JSON itself."""
    said = shell.safepoint("backups", "--repository", "./odd", "--key", "none", "--json")
    assert said.json["backups"][0]["backup"] == ID


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a plain — ✓ text …", "a plain — ✓ text …"),
        ("\x1b[31m", "\\x1b[31m"),
        ("a\r\nb\tc\a\b\v\f\x7f\x9b", "a\\r\\nb\\tc\\x07\\x08\\x0b\\x0c\\x7f\\x9b"),
        ("\u202egnp.exe\u2028\u200b", "\\u202egnp.exe\\u2028\\u200b"),
        ("\udcff", "\\udcff"),
    ],
)
def test_each_such_character_is_shown(text: str, expected: str) -> None:
    """As Python writes it; a text without any stays as it is."""
    assert printable(text) == expected
    assert line(text).plain == expected


def test_styles_stay_where_they_were() -> None:
    """What is escaped grows; the words that were bold are the same."""
    text = shown(Text.assemble("\x1b", ("bold\n", "bold"), "rest"))
    [span] = text.spans
    assert text.plain[span.start : span.end] == "bold\\n"

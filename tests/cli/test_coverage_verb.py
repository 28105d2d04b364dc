"""`safepoint coverage` as people and programs use it."""

from __future__ import annotations

import re
import shutil
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from projects import Project
from safepoint.errors import ExitCode
from shell import Shell, fingerprint

EIGHTEEN = pytest.mark.pg("18")


def beside(project: Project, place: Path) -> tuple[Shell, Path]:
    """A copy of the project's repository, and a shell that knows nothing but its URL."""
    copied = place / "repository"
    shutil.copytree(project.repository, copied)
    return project.shell, copied


def asked(shell: Shell, repository: Path, *arguments: str, ends: int = ExitCode.OK) -> dict[str, object]:
    """What the command says of a repository by its URL."""
    where = ("--repository", f"file:{repository}", "--key", "none")
    return shell.safepoint("coverage", *where, *arguments, "--json", ends=ends).json


def test_it_says_from_which_backup_each_instant_is_restored(project: Project) -> None:
    """A line for each; with what restores took, or that this is unknown."""
    said = project.shell.safepoint("coverage")

    assert re.search(r"^gaps +none$", said.out, re.MULTILINE)
    assert "every instant from" in said.out
    (row,) = [line for line in said.out.splitlines() if "shop-" in line]
    assert row.split()[0] == "1"
    assert "UTC" in row


@EIGHTEEN
def test_programs_get_the_same_with_stable_names(project: Project) -> None:
    """Positions as PostgreSQL spells them, instants in ISO 8601."""
    before = fingerprint(project.repository)

    found = project.shell.safepoint("coverage", "--json").json

    (lineage,) = found["lineages"]
    (reach,) = lineage["restorable"]
    assert lineage["is_followed"] is True
    assert datetime.fromisoformat(reach["earliest"]) < datetime.fromisoformat(reach["latest"])
    assert datetime.fromisoformat(found["newest"]) == datetime.fromisoformat(reach["latest"])
    assert reach["wal_bytes"] > 0
    assert reach["window"] == "window"
    assert found["gaps"] == []
    assert fingerprint(project.repository) == before, "looking changes nothing"


@EIGHTEEN
def test_a_damaged_segment_is_a_gap_with_its_cause_and_a_cure(project: Project, tmp_path: Path) -> None:
    """It exits 3, and names the command that mends it."""
    shell, repository = beside(project, tmp_path)
    newest = max((repository / "wal").rglob("*.16MB"))
    newest.write_bytes(b"")

    found = asked(shell, repository, ends=ExitCode.ATTENTION)

    gaps = found["gaps"]
    assert isinstance(gaps, list)
    assert {gap["cause"] for gap in gaps} == {"damaged"}
    assert any("repository repair" in cure for cure in gaps[0]["cures"])
    text = shell.safepoint("coverage", "--repository", f"file:{repository}", "--key", "none", ends=ExitCode.ATTENTION)
    assert "an object is damaged" in text.out


@EIGHTEEN
def test_a_deleted_segment_is_told_from_one_that_never_came(project: Project, tmp_path: Path) -> None:
    """By the journal of whoever stored it."""
    shell, repository = beside(project, tmp_path)
    min((repository / "wal").rglob("*.16MB")).unlink()

    found = asked(shell, repository, ends=ExitCode.ATTENTION)

    gaps = found["gaps"]
    assert isinstance(gaps, list)
    assert [gap["cause"] for gap in gaps] == ["deleted"]


@EIGHTEEN
def test_the_picture_is_a_file_of_its_own(project: Project, tmp_path: Path) -> None:
    """An old one is replaced; a place that cannot be written is said, with the hint."""
    picture = tmp_path / "coverage.svg"
    picture.write_text("old")

    project.shell.safepoint("coverage", "--picture", str(picture))

    assert ET.fromstring(picture.read_text()).tag.endswith("svg")  # noqa: S314 - our own
    said = project.shell.safepoint("coverage", "--picture", str(tmp_path / "no" / "such.svg"), ends=11)
    assert said.error == "CF007"


@EIGHTEEN
def test_an_empty_repository_has_nothing_to_restore(project: Project, tmp_path: Path) -> None:
    """No database can be meant."""
    shell = project.shell
    where = ("--repository", f"file:{tmp_path / 'empty'}", "--key", "none")
    shell.safepoint("repository", "init", *where)

    said = shell.safepoint("coverage", *where, ends=11)

    assert said.error == "BK003"

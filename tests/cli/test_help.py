"""Help and plans as they are shown, and the pages made from them. `SAFEPOINT_GOLDEN=write` writes them anew."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from projects import Project

sys.path.append(str(Path(__file__).parents[2]))
from tools.generate_docs import ROOT, cli_page, commands, errors_page, help_of

GOLDEN = Path(__file__).parents[1] / "golden/cli"

MASKS = (
    (re.compile(r"\d{8}T\d{9}Z"), "<instant>"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} UTC"), "<instant>"),
    (re.compile(r"\b[0-9A-F]+/[0-9A-F]{6,8}\b"), "<lsn>"),
    (re.compile(r"\d+\.\d [KM]iB"), "<size>"),
    (re.compile(r"/tmp/\S+"), "<path>"),
    (re.compile(r"(files|bytes): \d+"), r"\1: <count>"),
)


def must_be_as_golden(name: str, text: str) -> None:
    """The text is the file's."""
    path = GOLDEN / name
    if os.environ.get("SAFEPOINT_GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text(), f"{path} differs; if that is meant: SAFEPOINT_GOLDEN=write make test"


def masked(text: str) -> str:
    for pattern, name in MASKS:
        text = pattern.sub(name, text)
    return text


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_help(command: tuple[str, ...]) -> None:
    """Each command's help stands on docs/CLI.md, and tells its exit codes."""
    text = help_of(command)
    assert text.startswith(" ".join(("Usage: safepoint", *command)))
    assert "130 interrupted" in " ".join(text.split()) or command in {("wal",), ("migrate",), ("repository",)}
    assert text.strip() in (ROOT / "docs/CLI.md").read_text()


@pytest.mark.pg("17")
@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("backup", ["backup"]),
        ("restore", ["restore", "--to", "latest", "--into", "/tmp/copy"]),
        ("verify", ["verify"]),
    ],
)
def test_plan(project: Project, name: str, command: list[str]) -> None:
    """The plan of a command, as --dry-run shows it on stderr."""
    must_be_as_golden(f"plan-{name}.txt", masked(project.shell.safepoint(*command, "--dry-run").err))


@pytest.mark.parametrize(("name", "page"), [("ERRORS.md", errors_page), ("CLI.md", cli_page)])
def test_generated_page_is_current(name: str, page: Callable[[], str]) -> None:
    """docs/ERRORS.md and docs/CLI.md are what the code says now; `make docs` writes them."""
    assert (ROOT / "docs" / name).read_text() == page()

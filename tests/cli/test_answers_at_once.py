"""Lists of commands load no command; care of a repository loads no database driver; errors for programs are JSON."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from kept import make_kept
from safepoint.cli.app import COMMANDS, app
from safepoint.cli.commands.repository import VERBS
from safepoint.cli.commands.wal import VERBS as WAL_VERBS
from safepoint.cli.lazy import Verb
from shell import Shell, shell_in

HEAVY = {"psycopg", "postgast", "numpy", "cryptography", "obstore", "zstandard", "rich.console"}


def loaded_by(shell: Shell, *arguments: str) -> set[str]:
    """The modules that are there when the command ends."""
    code = "import sys; from safepoint.cli import main\ntry: main()\nfinally: print(*sys.modules, file=sys.stderr)"
    with shell.begun(*arguments, program=(sys.executable, "-c", code)) as process:
        _, err = process.communicate()
    return set(err.splitlines()[-1].split())


@pytest.mark.parametrize("arguments", [("--help",), ("repository", "--help"), ("repository",)])
def test_a_list_of_commands_needs_nothing_heavy(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Of what safepoint stands on; typer itself loads pydantic for whatever has an option."""
    assert not loaded_by(shell_in(tmp_path / "project"), *arguments) & HEAVY


@pytest.mark.parametrize("verb", ["stats", "gc", "unlock", "check"])
def test_care_needs_no_database_driver(tmp_path: Path, verb: str) -> None:
    """Nor the parser, nor an object store that is not used."""
    loaded = loaded_by(make_kept(tmp_path).shell, "repository", verb)

    assert "cryptography" in loaded
    assert not loaded & {"psycopg", "postgast", "obstore", "asyncio"}


@pytest.mark.parametrize("verb", [*COMMANDS, *VERBS, *WAL_VERBS], ids=lambda verb: f"{verb.module}-{verb.name}")
def test_a_line_is_the_first_sentence_of_the_help(verb: Verb) -> None:
    """The lists keep lines of their own, so that nothing need load: they say what the commands say."""
    assert verb.load().get_short_help_str(200).rstrip(".") == verb.line.rstrip(".")


def test_every_command_that_fails_takes_json_and_says_so() -> None:
    """Documented with the option, in one way everywhere."""
    helps = [
        option.help for command in _commands(get_command(app)) for option in command.params if option.name == "is_json"
    ]

    assert len(helps) > 20
    assert all("an error is one, too" in text for text in helps)


def test_wrong_usage_is_json_too(tmp_path: Path) -> None:
    """One object, the last line on stderr, with the exit code; stdout stays empty."""
    said = shell_in(tmp_path / "project").safepoint("repository", "check", "--frobnicate", "--json", ends=2)

    error = json.loads(said.err.splitlines()[-1])
    assert said.out == ""
    assert (error["error"], error["exit_code"], error["hints"]) == ("usage", 2, [])
    assert "--frobnicate" in error["message"]


def test_an_interruption_is_json_too(tmp_path: Path) -> None:
    """As an error is, and worth trying again."""
    code = (
        "import os, signal, safepoint.workflows.project as project\n"
        "def load_strategy(path, **_): os.kill(os.getpid(), signal.SIGINT)\n"
        "project.load_strategy = load_strategy\n"
        "from safepoint.cli import main; main()"
    )
    shell = shell_in(tmp_path / "project")
    shell.write("safepoint.toml", "")
    with shell.begun("status", "--json", program=(sys.executable, "-c", code)) as process:
        out, err = process.communicate()

    error = json.loads(err.splitlines()[-1])
    assert (process.returncode, out) == (128 + signal.SIGINT, "")
    assert (error["error"], error["exit_code"], error["is_retryable"]) == ("interrupted", 130, True)


def _commands(group: Any) -> list[Any]:
    context = group.make_context("safepoint", [], resilient_parsing=True)
    found = [group.get_command(context, name) for name in group.list_commands(context)]
    return [each for item in found for each in (_commands(item) if hasattr(item, "list_commands") else [item])]

"""Groups of commands, each imported when it is asked for: listing them all loads none of what they stand on."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from safepoint.cli.options import command


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """A command or a group of them: `member` of a module of `safepoint.cli.commands`, a function or a `typer.Typer`.

    `line` is what the list of commands says of it: the first sentence of its help, which a test compares.
    """

    name: str
    line: str
    module: str
    member: str = "app"

    def load(self) -> Any:
        """The command itself."""
        found = getattr(import_module(f"safepoint.cli.commands.{self.module}"), self.member)
        return get_command(found if isinstance(found, typer.Typer) else command(found, self.name))


def group_of(verbs: Sequence[Verb]) -> type[TyperGroup]:
    """The class of a group that has these, in this order."""
    by_name = {verb.name: verb for verb in verbs}

    class Group(TyperGroup):
        """Loads a command by its name."""

        def list_commands(self, ctx: Any) -> list[str]:
            del ctx
            return list(by_name)

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            if cmd_name in by_name:
                return by_name[cmd_name].load()
            if close := difflib.get_close_matches(cmd_name, by_name, n=1):
                ctx.fail(f"No such command {cmd_name!r}. Did you mean {close[0]!r}?")
            return None

        def format_commands(self, ctx: Any, formatter: Any) -> None:
            del ctx
            with formatter.section("Commands"):
                formatter.write_dl([(verb.name, verb.line) for verb in verbs])

    return Group

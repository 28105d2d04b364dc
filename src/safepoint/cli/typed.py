"""Where a person said that everything is, so that a command which is shown can be pasted and works as it stands.

Options that say where (`--repository`, `--key`, `--config`) are noted as they are parsed. Whatever is shown to people
then has its commands, `safepoint …` in backticks, completed with those that the command takes and does not have. What
a command takes is read from its own declaration.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

from rich.text import Text
from typer.main import get_command

Value = TypeVar("Value")

REPOSITORY, KEY, CONFIG = "--repository", "--key", "--config"
_COMMAND = re.compile(r"`(safepoint [^`]+)`")
_ARGUMENT = "argument"
_URL, _NAME = "URL", "NAME"

_typed: dict[str, str] = {}


def noted(option: str, default: str | None = None) -> Callable[[Value], Value]:
    """A callback that notes the option's value, unless it is the default, which need not be repeated."""

    def note(value: Value) -> Value:
        if value is not None and str(value) != default:
            _typed[option] = str(value)
        return value

    return note


def pasteable(text: Text, place: Mapping[str, str]) -> Text:
    """The text with its commands completed: for the repository that was typed, or for another when `place` names it."""
    options = {**_only(CONFIG), **place} if place else _typed
    if not options or "`safepoint " not in text.plain:
        return text
    for match in reversed(list(_COMMAND.finditer(text.plain))):
        if missing := list(_missing(match[1].split()[1:], options)):
            text = text[: match.end(1)] + Text(f" {shlex.join(missing)}") + text[match.end(1) :]
    return text


def _only(option: str) -> dict[str, str]:
    return {option: _typed[option]} if option in _typed else {}


def _missing(words: Sequence[str], options: Mapping[str, str]) -> Iterator[str]:
    """The options, each with its value, that the command takes and that are neither there nor said in another way."""
    taken, rest = _taken_by(words)
    repository = options.get(REPOSITORY)
    if repository is not None and _kind(repository) in taken.get(REPOSITORY, "").split("|"):
        if not _names_one(taken, words, rest):
            yield from (REPOSITORY, repository)
        is_it = not _names_one(taken, words, rest) or repository in words
        if is_it and _kind(repository) == _URL and KEY in options and KEY in taken and KEY not in words:
            yield from (KEY, options[KEY])
    if CONFIG in options and CONFIG in taken and not {CONFIG, "-c"} & set(words):
        yield from (CONFIG, options[CONFIG])


def _names_one(taken: Mapping[str, str], words: Sequence[str], rest: Sequence[str]) -> bool:
    """Whether the command names a repository as it stands: by the option, or behind its verb."""
    return REPOSITORY in words or ("name" in taken and bool(rest) and not rest[0].startswith("-"))


def _kind(repository: str) -> str:
    from safepoint.workflows.repository_location import is_url  # noqa: PLC0415 - heavy, and not needed to parse

    return _URL if is_url(repository) else _NAME


def _taken_by(words: Sequence[str]) -> tuple[dict[str, str], Sequence[str]]:
    """What the command takes, with what its value is called; and the words behind the verb. Nothing for no command."""
    found, context = _root()
    rest = list(words)
    while rest and hasattr(found, "list_commands") and rest[0] in found.list_commands(context):
        found = found.get_command(context, rest.pop(0))
    if hasattr(found, "list_commands"):
        return {}, rest
    return {name: str(each.metavar or "") for each in found.params for name in _names(each)}, rest


def _names(parameter: Any) -> Sequence[str]:
    return [str(parameter.name)] if parameter.param_type_name == _ARGUMENT else list(parameter.opts)


@cache
def _root() -> tuple[Any, Any]:
    from safepoint.cli.app import app  # noqa: PLC0415 - the commands note what is typed with what stands above

    root: Any = get_command(app)
    return root, root.make_context("safepoint", [], resilient_parsing=True)

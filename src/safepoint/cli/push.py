"""`safepoint wal push` as `safepoint-wal` starts it: PostgreSQL waits, so neither typer nor rich is imported for it.

Anything else that may be typed behind `safepoint wal push` is left to the command line as it is for people.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from safepoint.errors import SafepointError

_RETRY = 1
_VERB = ("wal", "push")
_OPTIONS = ("--socket", "--database", "--config")


def pushed(arguments: Sequence[str]) -> int | None:
    """The exit code, 0 or 1, after the file was pushed; None when these are not the arguments of a plain push."""
    *verb, file = arguments[:3] or ("",)
    if (*verb,) != _VERB or file.startswith("-") or (options := _options(arguments[3:])) is None:
        return None
    from safepoint.workflows.project import load_project  # noqa: PLC0415 - for this command alone
    from safepoint.workflows.push import push_file  # noqa: PLC0415

    config = options.get("--config")
    try:
        push_file(load_project(None if config is None else Path(config)), options.get("--database"), Path(file))
    except SafepointError as error:
        from safepoint.cli.show import show_error  # noqa: PLC0415 - there is time now

        show_error(error, is_json=False)
        return _RETRY
    except KeyboardInterrupt:
        return _RETRY
    return 0


def _options(words: Sequence[str]) -> dict[str, str] | None:
    """Each option once, with its value as a word of its own; None for anything else."""
    options = dict(zip(words[::2], words[1::2], strict=False))
    is_plain = 2 * len(options) == len(words) and set(options) <= {*_OPTIONS}
    return options if is_plain and not any(value.startswith("-") for value in options.values()) else None

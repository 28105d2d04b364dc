"""Secrets are fetched here, where they are used, and nowhere else: env:, file: and cmd: become a value.

A fetched value is a Secret: it is never printed, logged or put into an error, and neither is what a command wrote.
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from safepoint import errors
from safepoint.model.secret import Secret
from safepoint.strategy import kinds
from safepoint.strategy.dotenv import parse_dotenv
from safepoint.strategy.values import Reference, ReferenceScheme, Strategy

COMMAND_TIMEOUT = 30.0
"""Seconds that a cmd: reference may take, a person's touch on a hardware key included."""

_LONGEST = 1 << 20
"""Bytes: what is longer is no secret and no `.env`, but a device or a program without an end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A fetched value, where it came from (safe to print), and what should be mended there."""

    secret: Secret
    origin: str
    warnings: tuple[str, ...] = ()

    def reveal(self) -> str:
        """The value itself."""
        return self.secret.reveal()


def resolve_in(
    strategy: Strategy, reference: Reference, environment: Mapping[str, str], *, timeout: float = COMMAND_TIMEOUT
) -> Resolved:
    """What a reference of this strategy stands for; CF003 as `resolve`."""
    return resolve(
        reference,
        base=strategy.directory,
        environment=environment,
        dotenv_folders=strategy.dotenv_folders,
        timeout=timeout,
    )


def resolve(
    reference: Reference | str,
    *,
    base: Path,
    environment: Mapping[str, str],
    dotenv_folders: Sequence[Path] | None = None,
    timeout: float = COMMAND_TIMEOUT,
) -> Resolved:
    """The one line of text that the reference stands for; CF003 with cause and cure if there is none.

    Files and commands are relative to `base`. A variable that the environment lacks is looked for in the `.env` files
    of `dotenv_folders` (default: `base`).
    """
    wanted = _parsed(reference) if isinstance(reference, str) else reference
    match wanted.scheme:
        case ReferenceScheme.ENV:
            folders = (base,) if dotenv_folders is None else dotenv_folders
            return _from_environment(wanted, environment, folders)
        case ReferenceScheme.FILE:
            return _from_file(wanted, base)
        case ReferenceScheme.CMD:
            return _from_command(wanted, base, environment, timeout)
        case _:
            return Resolved(secret=Secret(wanted.target), origin="the strategy file")


def _parsed(text: str) -> Reference:
    try:
        return kinds.reference(text)
    except ValueError as error:
        message = str(error)
    raise errors.CF003.error(message, hints=[errors.run('give a reference: "env:NAME", "file:path" or "cmd:command"')])


def _from_environment(reference: Reference, environment: Mapping[str, str], folders: Sequence[Path]) -> Resolved:
    name = reference.target
    if name in environment:
        secret = _one_line(environment[name], f"the environment variable {name}")
        return Resolved(secret=secret, origin=f"environment variable {name}")
    found = {folder / ".env": value for folder in folders if (value := _dotenv(folder, environment).get(name))}
    if not found:
        raise errors.CF003.error(
            f"found no environment variable {name}, in {_paths(folders)} neither, expected it to be set",
            hints=[
                errors.ask("is it set in your shell, but not exported to this process?"),
                errors.run(f"set it: `export {name}=…`, or write it into `.env` beside the strategy file"),
            ],
        )
    if len(set(found.values())) > 1:
        raise errors.CF003.error(
            f"found {name} with different values in {' and '.join(map(str, found))}, expected one",
            hints=[errors.ask("which one is right? Prisma, too, refuses to choose"), errors.run("delete the other")],
        )
    path, value = next(iter(found.items()))
    return Resolved(secret=_one_line(value, f"{name} in {path}"), origin=f"{name} in {path}", warnings=_exposure(path))


def _paths(folders: Sequence[Path]) -> str:
    return " and ".join(str(folder / ".env") for folder in folders)


def _dotenv(folder: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of a folder's `.env`; none if there is no such file."""
    path = folder / ".env"
    return parse_dotenv(_read(path), environment) if path.exists() else {}


def _from_file(reference: Reference, base: Path) -> Resolved:
    path = base / reference.target
    return Resolved(secret=_one_line(_read(path), str(path)), origin=f"file {path}", warnings=_exposure(path))


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST + 1)
        if len(content) <= _LONGEST:
            return content.decode()
        message = f"found more than {_LONGEST} bytes in {path}, expected one line of text"
    except OSError as error:
        message = f"found {(error.strerror or str(error)).lower()} at {path}, expected a readable file"
    except UnicodeDecodeError:  # its text would hold the secret's bytes
        message = f"found bytes that are no UTF-8 in {path}, expected one line of text"
    raise errors.CF003.error(message, hints=_hints_for(path))


def _hints_for(path: Path) -> list[errors.Hint]:
    """What may be wrong with the path; how to make the file only where nothing is, for the command replaces what is."""
    quoted = shlex.quote(str(path))
    if not os.path.lexists(path):
        return [
            errors.ask("is the path meant relative to the folder of the strategy file?"),
            errors.run(f"make the file, readable by its owner only: `install -m 600 /dev/null {quoted}`"),
        ]
    if path.exists() and not path.is_file():
        return [
            errors.ask(f"is {path} what you mean? it is a {'folder' if path.is_dir() else 'device or pipe'}"),
            errors.run("name the file that holds the secret"),
        ]
    return [
        errors.ask("is it the file you mean, and may this user read it?"),
        errors.run(f"see who may: `ls -lL {quoted}`"),
    ]


def _exposure(path: Path) -> tuple[str, ...]:
    """A warning if every user of this machine may read the file."""
    if not path.stat().st_mode & stat.S_IROTH:
        return ()
    return (f"{path} can be read by every user of this machine: `chmod 600 {shlex.quote(str(path))}`",)


def _from_command(reference: Reference, base: Path, environment: Mapping[str, str], timeout: float) -> Resolved:
    from safepoint.strategy.secret_commands import output_of  # noqa: PLC0415 - subprocess, for who has such a secret

    command = reference.target
    output = output_of(command, base, environment, timeout, longest=_LONGEST)
    return Resolved(secret=_one_line(output, f"the output of `{command}`"), origin=f"command `{command}`")


def _one_line(text: str, where: str) -> Secret:
    """The text without the line end that editors and `echo` add; CF003 if nothing is left, or more than one line."""
    line = text.rstrip("\r\n")
    if not line.strip():
        raise errors.CF003.error(
            f"found nothing in {where}, expected one line of text",
            hints=[errors.ask("was it emptied, or set before it was filled?")],
        )
    if "\n" in line:
        raise errors.CF003.error(
            f"found {line.count(chr(10)) + 1} lines in {where}, expected one",
            hints=[errors.run("keep the secret on a line of its own, in a place of its own")],
        )
    return Secret(line)

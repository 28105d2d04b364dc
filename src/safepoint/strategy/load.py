"""safepoint.toml → Strategy: found, read, and either right as a whole or refused with every mistake at once.

Reads one file and nothing else: no environment, no secret, no clock. `mistakes_in` and `parse_strategy` are pure.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from safepoint import errors
from safepoint.strategy.consistency import inconsistencies
from safepoint.strategy.convert import strategy_of
from safepoint.strategy.mistakes import Mistake, dotted, located
from safepoint.strategy.positions import Position, Positions, positions_of
from safepoint.strategy.schema import validated
from safepoint.strategy.values import Strategy

FILE_NAME = "safepoint.toml"
_LONGEST = 1 << 24

_PLACE = re.compile(r" \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$")
_SAID_TWICE = ("Cannot overwrite a value", "Cannot declare ")


def find_strategy(start: Path) -> Path:
    """The safepoint.toml of the folder `start` or its nearest parent; CF002 if there is none."""
    folder = start.absolute()
    for candidate in (folder, *folder.parents):
        if (candidate / FILE_NAME).is_file():
            return candidate / FILE_NAME
    raise errors.CF002.error(
        f"found no {FILE_NAME} in {folder} or above, expected one",
        hints=[
            errors.ask("is this the project's folder?"),
            errors.run('write one that fits your database: `safepoint init "$DATABASE_URL"`'),
        ],
    )


def load_strategy(path: Path) -> Strategy:
    """The strategy that the file states; CF002 if it cannot be read, CF001 with one line per mistake."""
    return parse_strategy(_read(path), path.absolute())


def parse_strategy(text: str, path: Path) -> Strategy:
    """The strategy that the text states, as if it stood in the file `path` (absolute); CF001 as `load_strategy`."""
    strategy, mistakes = _judged(text, path)
    if strategy is None:
        raise _refusal(mistakes, path.name)
    return strategy


def mistakes_in(text: str) -> tuple[Mistake, ...]:
    """Every mistake of the text in the order of the file; none if it is a strategy."""
    return _judged(text, Path("/", FILE_NAME))[1]


def _judged(text: str, path: Path) -> tuple[Strategy | None, tuple[Mistake, ...]]:
    positions = positions_of(text)
    try:
        raw = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        return None, _syntax_mistakes(text, error, positions)
    file, findings = validated(raw)
    findings += inconsistencies(raw)
    if file is None or findings:
        return None, located(findings, positions)
    return strategy_of(file, path=path, raw=raw), ()


def _refusal(mistakes: tuple[Mistake, ...], file: str) -> errors.SafepointError:
    lines = [mistake.line(file) for mistake in mistakes]
    if len(lines) > 1:
        lines.insert(0, f"found {len(lines)} mistakes in {file}, expected none")
    return errors.CF001.error("\n".join(lines), hints=_hints(mistakes))


def _hints(mistakes: tuple[Mistake, ...]) -> list[errors.Hint]:
    secret = any("secrets never stand" in mistake.text or "password or key" in mistake.text for mistake in mistakes)
    if not secret:
        return []
    return [errors.run("put the secret into the environment or `.env`, and write `env:NAME` in the file")]


def _syntax_mistakes(source: str, error: Exception, positions: Positions) -> tuple[Mistake, ...]:
    """Where the text is no TOML there is nothing more to judge: the reader's complaint, and every key said twice."""
    twice = tuple(
        Mistake(
            position=again.position,
            key=dotted(again.path),
            text=f"found a second time, expected once (the first is in line {again.first.line})",
        )
        for again in positions.repeated
    )
    message = str(error)
    if twice and message.startswith(_SAID_TWICE):
        return twice
    complaint = "it is nested too deep" if isinstance(error, RecursionError) else _PLACE.sub("", message)
    text = f'found no valid TOML ({complaint[:1].lower()}{complaint[1:]}), expected lines like: key = "text"'
    mistake = Mistake(position=_position(source, _PLACE.search(message)), key="", text=text)
    return tuple(sorted((*twice, mistake), key=lambda each: each.position))


def _position(text: str, place: re.Match[str] | None) -> Position:
    """Where the reader stopped: its own line and column, or the end of the text."""
    if place is None:
        return Position(1, 1)
    if place["line"]:
        return Position(int(place["line"]), int(place["column"]))
    lines = text.replace("\r\n", "\n").split("\n")
    return Position(len(lines), len(lines[-1]) + 1)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST + 1)
    except OSError as error:
        raise errors.CF002.error(
            f"found {(error.strerror or str(error)).lower()} at {path}, expected a readable file",
            hints=[errors.run('write one that fits your database: `safepoint init "$DATABASE_URL"`')],
        ) from error
    if len(content) > _LONGEST:
        raise errors.CF001.error(f"{path.name}:1:1: found more than {_LONGEST} bytes, expected a strategy")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise errors.CF001.error(
            f"{path.name}:{line}:1: found the byte 0x{content[error.start]:02x}, expected UTF-8 text",
            hints=[errors.ask("was the file saved in another encoding?")],
        ) from None

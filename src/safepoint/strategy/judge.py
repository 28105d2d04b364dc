"""The text of a strategy file → Strategy: either right as a whole or refused with every mistake at once. Pure."""

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

_FILE_NAME = "safepoint.toml"
_PLACE = re.compile(r" \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$")
_SAID_TWICE = ("Cannot overwrite a value", "Cannot declare ")


def parse_strategy(text: str, path: Path) -> Strategy:
    """The strategy that the text states, as if it stood in the file `path` (absolute); CF001 as `load_strategy`."""
    strategy, mistakes = _judged(text, path)
    if strategy is None:
        raise _refusal(mistakes, path.name)
    return strategy


def mistakes_in(text: str) -> tuple[Mistake, ...]:
    """Every mistake of the text in the order of the file; none if it is a strategy."""
    return _judged(text, Path("/", _FILE_NAME))[1]


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

"""A mistake in the strategy file, and how all of them are told at once."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from safepoint.strategy.kinds import quoted
from safepoint.strategy.positions import KeyPath, Position, Positions

_BARE = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is wrong with a path. It points at the value, or at the key itself if that is what is wrong."""

    path: KeyPath
    text: str
    at_key: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """One mistake: where, at which key (dotted, empty for the text itself), and what was found and expected."""

    position: Position
    key: str
    text: str

    def line(self, file: str) -> str:
        """`safepoint.toml:12:7: tier.daily.keep: found …, expected …`: editors jump to it."""
        key = f"{self.key}: " if self.key else ""
        return f"{file}:{self.position.line}:{self.position.column}: {key}{self.text}"


def located(findings: Iterable[Finding], positions: Positions) -> tuple[Mistake, ...]:
    """Each finding with its position, in the order of the file."""
    mistakes = {_located(finding, positions) for finding in findings}
    return tuple(sorted(mistakes, key=lambda mistake: (mistake.position, mistake.key, mistake.text)))


def dotted(path: KeyPath) -> str:
    """The path as one would write it: `tier.daily.repository[1]`, with quotes where a key needs them."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if _BARE.fullmatch(part) else quoted(part))
    return text


def _located(finding: Finding, positions: Positions) -> Mistake:
    position = positions.of_key(finding.path) if finding.at_key else positions.of_value(finding.path)
    path = finding.path
    if path and isinstance(path[-1], int) and path not in positions.keys:
        path = path[:-1]  # one name was written where an array of names may stand
    return Mistake(position=position, key=dotted(path), text=finding.text)

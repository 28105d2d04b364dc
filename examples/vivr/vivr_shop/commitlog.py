"""Reads the traffic's log: the evidence by which loss is counted.

A log that was cut, edited or lost raises instead of giving fewer commits: every line's number is checked. Only the
last line may be torn, because the process that wrote it may have been killed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from .missing import missing
from .records import Answer, Commit, Failure, LogDamaged, answer_of
from .stalls import Stall, stalls_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

__all__ = ["Answer", "Commit", "CommitLog", "Failure", "LogDamaged", "Stall", "missing", "read"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitLog:
    """Everything the shoppers were answered, in the order in which it was logged."""

    answers: tuple[Answer, ...]
    is_ended: bool
    """The traffic ended cleanly: no line is missing behind the last one."""
    is_torn: bool
    """The last line was incomplete, and is left out."""

    @property
    def commits(self) -> tuple[Commit, ...]:
        """The acknowledged commits."""
        return tuple(answer for answer in self.answers if isinstance(answer, Commit) and answer.is_success)

    @property
    def unknown(self) -> tuple[Commit, ...]:
        """The commits whose outcome no shopper knows."""
        return tuple(answer for answer in self.answers if isinstance(answer, Commit) and not answer.is_success)

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The errors."""
        return tuple(answer for answer in self.answers if isinstance(answer, Failure))

    def between(self, start: datetime, end: datetime) -> tuple[Commit, ...]:
        """The commits acknowledged in [start, end)."""
        return tuple(commit for commit in self.commits if start <= commit.acknowledged_at < end)

    @property
    def last_commit(self) -> Commit | None:
        """The commit acknowledged last."""
        return max(self.commits, key=lambda commit: commit.acknowledged_at, default=None)

    def first_commit_after(self, instant: datetime) -> Commit | None:
        """The commit acknowledged first of those that were sent at that instant or later."""
        later = (commit for commit in self.commits if commit.sent_at >= instant)
        return min(later, key=lambda commit: commit.acknowledged_at, default=None)

    def longest_stall(self, between: tuple[datetime, datetime] | None = None) -> Stall | None:
        """The longest time that a shopper waited, of the waits that overlap [start, end); None without any."""
        stalls = stalls_of(self.answers)
        if between:
            start, end = between
            stalls = [stall for stall in stalls if stall.began < end and stall.ended >= start]
        return max(stalls, key=lambda stall: stall.seconds, default=None)


def read(path: Path) -> CommitLog:
    """The log of one traffic process; FileNotFoundError without the file, LogDamaged when it cannot be trusted."""
    whole, _, torn = path.read_bytes().rpartition(b"\n")
    lines = list(_lines(path, whole))
    if not lines or lines[0].get("kind") != "start":
        raise LogDamaged(f"{path}: line 1: found no start of a log")
    is_ended = lines[-1]["kind"] == "end"
    if is_ended and torn:
        raise LogDamaged(f"{path}: found {len(torn)} bytes behind the end of the log")
    answers = (_answer(path, line) for line in lines[1 : len(lines) - is_ended])
    return CommitLog(answers=tuple(answers), is_ended=is_ended, is_torn=bool(torn))


def _lines(path: Path, whole: bytes) -> Iterator[dict[str, Any]]:
    """The lines as objects, numbered from 1 without a gap."""
    for expected, text in enumerate(whole.split(b"\n") if whole else (), start=1):
        try:
            line: object = json.loads(text)
        except ValueError:
            raise LogDamaged(f"{path}: line {expected}: found {text[:60]!r}, expected JSON") from None
        if not isinstance(line, dict):
            raise LogDamaged(f"{path}: line {expected}: found {text[:60]!r}, expected an object")
        fields = cast("dict[str, Any]", line)
        if fields.get("n") != expected:
            raise LogDamaged(f"{path}: line {expected}: found number {fields.get('n')!r}, expected {expected}")
        yield fields


def _answer(path: Path, line: dict[str, Any]) -> Answer:
    try:
        return answer_of(line)
    except LogDamaged as damage:
        raise LogDamaged(f"{path}: line {line['n']}: {damage}") from None

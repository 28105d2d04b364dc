"""Positions in the write-ahead log: LSN, timeline, segment.

Pure arithmetic, half-open ranges, no files. Source: PostgreSQL 17, src/include/access/xlog_internal.h and
src/include/access/xlogdefs.h.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_LSN = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")
_SEGMENT = re.compile(r"([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})")
_WORD = 1 << 32
DEFAULT_SEGMENT_SIZE = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, order=True)
class Lsn:
    """A byte position in the WAL of one cluster."""

    value: int

    @classmethod
    def parse(cls, text: str) -> Lsn:
        """The LSN spelt as `0/3000028`; ValueError for anything else."""
        match = _LSN.fullmatch(text)
        if match is None:
            raise ValueError(f"found {text!r}, expected an LSN like 0/3000028")
        return cls(int(match[1], 16) * _WORD + int(match[2], 16))

    def __str__(self) -> str:
        return f"{self.value // _WORD:X}/{self.value % _WORD:X}"

    def __add__(self, count: int) -> Lsn:
        return Lsn(self.value + count)

    def __sub__(self, other: Lsn) -> int:
        return self.value - other.value

    def segment_start(self, segment_size: int) -> Lsn:
        """The first byte of the segment that holds this byte."""
        return Lsn(self.value - self.value % segment_size)


@dataclass(frozen=True, slots=True, order=True)
class TimelineId:
    """A timeline, from 1; eight hexadecimal digits in file names, decimal elsewhere."""

    value: int

    def __str__(self) -> str:
        return str(self.value)

    @property
    def hexadecimal(self) -> str:
        """As it stands in the names of WAL files: `0000000A`."""
        return f"{self.value:08X}"

    @property
    def has_history(self) -> bool:
        """Whether it descends from others, and so has a history file: all but the first."""
        return self.value > 1

    @property
    def history_name(self) -> str:
        """The name of its history file: `0000000A.history`."""
        return f"{self.hexadecimal}.history"


@dataclass(frozen=True, slots=True, order=True)
class WalSegment:
    """One WAL segment: half-open [start, end) on one timeline."""

    timeline: TimelineId
    number: int
    size: int = DEFAULT_SEGMENT_SIZE

    @classmethod
    def holding(cls, timeline: TimelineId, lsn: Lsn, size: int) -> WalSegment:
        """The segment whose range holds the byte at `lsn`."""
        return cls(timeline, lsn.value // size, size)

    @classmethod
    def parse(cls, name: str, size: int) -> WalSegment:
        """From a 24-digit file name; ValueError for anything else."""
        match = _SEGMENT.fullmatch(name)
        if match is None:
            raise ValueError(f"found {name!r}, expected 24 upper-case hexadecimal digits")
        return cls(TimelineId(int(match[1], 16)), int(match[2], 16) * (_WORD // size) + int(match[3], 16), size)

    @property
    def name(self) -> str:
        """The file name PostgreSQL gives it."""
        per_id = _WORD // self.size
        return f"{self.timeline.hexadecimal}{self.number // per_id:08X}{self.number % per_id:08X}"

    @property
    def start(self) -> Lsn:
        """Its first byte."""
        return Lsn(self.number * self.size)

    @property
    def end(self) -> Lsn:
        """The byte after its last."""
        return Lsn((self.number + 1) * self.size)

    @property
    def next(self) -> WalSegment:
        """The one that follows on the same timeline."""
        return WalSegment(self.timeline, self.number + 1, self.size)

"""Standard input, output and error as every command may count on them: always there, and never a reason to stop.

What a command does must not depend on whether somebody can be told of it. A stream that was closed leads nowhere, so
that no file of a repository gets its number; what cannot be written is dropped, and remembered.
"""

from __future__ import annotations

import io
import os
import select
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO, cast

if TYPE_CHECKING:
    from typing_extensions import Buffer

_STANDARD = (0, 1, 2)


class _LossyFile(io.FileIO):
    """Takes all that it is given; `failure` is the first error by which some of it was lost.

    A reader that has gone (EPIPE) has what it wanted: that is no failure.
    """

    failure: OSError | None = None

    def write(self, content: Buffer, /) -> int:
        """All of it counts as written; what could not be is lost."""
        left = memoryview(content)
        length = left.nbytes
        try:
            while left:
                left = left[self._written(left) :]
        except BrokenPipeError:
            pass
        except OSError as error:
            self.failure = self.failure or error
        return length

    def _written(self, content: Buffer) -> int:
        """How much of it was; a descriptor that must not block is waited for."""
        while (count := cast("int | None", super().write(content))) is None:
            select.select([], [self], [])
        return count


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """What was put in the place of stdout and stderr."""

    data: _LossyFile

    def lost(self) -> OSError | None:
        """Why some of stdout did not get out, once both streams were flushed; None when all did, or nobody read on."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        return self.data.failure


def keep_streams() -> Streams:
    """Puts streams that never fail in the place of stdout and stderr; those that are closed lead to /dev/null."""
    for number in _STANDARD:
        _ensure_open(number)
    data = _LossyFile(1, "wb", closefd=False)
    sys.stdout = _text(data, sys.stdout)
    sys.stderr = _text(_LossyFile(2, "wb", closefd=False), sys.stderr)
    if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison] - so Python starts without descriptor 0
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115, PTH123 - for the life of the process
    return Streams(data=data)


def _ensure_open(number: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        opened = os.open(os.devnull, os.O_RDWR)
        os.dup2(opened, number)  # also makes it one that programs which are started inherit
        if opened != number:
            os.close(opened)


def _text(file: _LossyFile, former: TextIO | None) -> TextIO:
    """As Python would have opened it, but that what the encoding lacks is shown escaped."""
    encoding = "utf-8" if former is None else former.encoding
    if former is not None:
        with suppress(OSError):
            former.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(file),
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=file.isatty(),
    )

"""WAL as a server writes it, made by hand: records of any length over pages of any position."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

from safepoint.kernel import crc32c
from safepoint.model.lsn import Lsn

PAGE = 8192
MEBIBYTE = 1 << 20
MAGIC = {15: 0xD110, 16: 0xD113, 17: 0xD116, 18: 0xD118}
TRANSACTION, XLOG = 1, 0
COMMIT, PREPARE, ABORT, COMMIT_PREPARED, ABORT_PREPARED = 0x00, 0x10, 0x20, 0x30, 0x40
_HAS_INFO = 0x80


def record(manager: int, info: int, body: bytes) -> bytes:
    """A record with its CRC, whose link to the one before is not looked at."""
    head = struct.pack("<IIQBBxx", 24 + len(body), 700, 0, info, manager)
    return head + struct.pack("<I", crc32c(head, crc32c(body))) + body


def ending(kind: int, time: int, *, more: int = 0, heads: bytes = b"") -> bytes:
    """The end of a transaction at so many microseconds since 2000, with `more` bytes behind the time."""
    data = struct.pack("<q", time) + bytes(more)
    length = bytes([255, len(data)]) if len(data) < 256 else b"\xfe" + struct.pack("<I", len(data))
    return record(TRANSACTION, kind | (_HAS_INFO if more else 0), heads + length + data)


def other(length: int) -> bytes:
    """A record of another kind with so many bytes behind its header."""
    return record(XLOG, 0x30, bytes([3]) * length)


@dataclass(slots=True)
class Writer:
    """Writes records one after the other from the first byte of a segment of 1 MiB on."""

    start: Lsn = field(default_factory=lambda: Lsn(7 * MEBIBYTE))
    major: int = 18
    wal: bytearray = field(default_factory=bytearray)

    @property
    def end(self) -> int:
        """The LSN behind what was written."""
        return self.start.value + len(self.wal)

    def write(self, *records: bytes) -> list[int]:
        """The LSN behind each of them."""
        return [self._write(each) for each in records]

    def switch(self) -> None:
        """Zeros up to the end of the segment."""
        self.wal += bytes(-self.end % MEBIBYTE)

    def _write(self, content: bytes) -> int:
        left = content
        while left:
            if self.end % PAGE == 0:
                self._begin_page(0 if len(left) == len(content) else len(left))
            room = PAGE - self.end % PAGE
            self.wal += left[:room]
            left = left[room:]
        self.wal += bytes(-self.end % 8)
        return self.end

    def _begin_page(self, remaining: int) -> None:
        is_long = self.end % MEBIBYTE == 0
        flags = (1 if remaining else 0) | (2 if is_long else 0)
        self.wal += struct.pack("<HHIQIxxxx", MAGIC[self.major], flags, 1, self.end, remaining)
        if is_long:
            self.wal += struct.pack("<QII", 7, MEBIBYTE, PAGE)


def written(records: Iterable[bytes], major: int = 18) -> Writer:
    """WAL with these records."""
    writer = Writer(major=major)
    writer.write(*records)
    return writer

"""The CRC32C of a file whose stretches become known in order, some of them later than those behind. Pure."""

from __future__ import annotations

from collections import deque

from safepoint.kernel import crc32c_combine


class FileChecksum:
    """What is known so far of the bytes from the file's start on."""

    def __init__(self) -> None:
        self._known = 0
        self._behind: deque[tuple[int, int | None]] = deque()  # length and checksum; the first is awaited
        self.length = 0

    @property
    def value(self) -> int | None:
        """The CRC32C of the first `length` bytes; None while some of them are awaited."""
        return None if self._behind else self._known

    def add(self, length: int, checksum: int | None) -> None:
        """The next `length` bytes have this CRC32C; None: it is awaited."""
        self.length += length
        if checksum is None:
            self._behind.append((length, None))
        elif not self._behind:
            self._known = crc32c_combine(self._known, checksum, length)
        else:
            before, known = self._behind[-1]
            if known is None:
                self._behind.append((length, checksum))
            else:
                self._behind[-1] = before + length, crc32c_combine(known, checksum, length)

    def fill(self, length: int, checksum: int) -> None:
        """The first stretch that is awaited has this CRC32C; ValueError unless it is of this length."""
        if not self._behind or self._behind[0][0] != length:
            raise ValueError(f"found a checksum of {length} bytes, expected one of {list(self._behind)[:1]}")
        self._behind.popleft()
        self._known = crc32c_combine(self._known, checksum, length)
        while self._behind and self._behind[0][1] is not None:
            behind, known = self._behind.popleft()
            self._known = crc32c_combine(self._known, known or 0, behind)

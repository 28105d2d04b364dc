"""What both implementations agree on: the shape of a page and of the keys, and the functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from safepoint.kernel.commits import CommitSpan

PAGE_BYTES = 8192
PAGE_WORDS = PAGE_BYTES // 4
KEYS_PER_ROW = PAGE_WORDS + 1
FINGERPRINT_KEY_BYTES = 2 * KEYS_PER_ROW * 8

Bytes = npt.NDArray[np.uint8]
Checksums = npt.NDArray[np.uint16]
Fingerprints = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Functions:
    """One implementation. Arguments have been checked; both are safe in any number of threads."""

    checksums: Callable[[Bytes, int], Checksums]
    """Of whole pages, and the block number of the first."""

    fingerprints: Callable[[Bytes, Bytes], Fingerprints]
    """Of pages of which the last may be short, by FINGERPRINT_KEY_BYTES of keys."""

    crc32c: Callable[[Bytes, int], int]
    """Of bytes before these, given by their CRC32C, and these."""

    crc32c_combine: Callable[[int, int, int], int]
    """Of bytes and others behind them, from the CRC32C of each and the length of the second."""

    commits: Callable[[Bytes, int], CommitSpan | None]
    """In WAL that begins at this LSN."""

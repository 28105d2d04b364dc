"""Which pages of a relation file hold a checksum that does not fit them.

Bytes in, block numbers out: no files, no servers. Every fork of a relation has these pages; pg_control, PG_VERSION,
pg_filenode.map and everything outside `base`, `global` and tablespaces has none.
Source: PostgreSQL 18, src/backend/backup/basebackup.c (verify_page_checksum), src/include/storage/bufpage.h.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from safepoint.kernel import PAGE_BYTES, Buffer, page_checksums
from safepoint.model.lsn import Lsn
from safepoint.postgres.control import ControlData

_CHECKSUM = np.uint32(0xFFFF)

_Words = npt.NDArray[np.uint32]


def are_pages_checkable(control: ControlData) -> bool:
    """Whether `bad_pages` can say anything of this cluster: it has checksums, and pages of 8,192 bytes.

    Where it is False, the soundness of its pages is unknown, not proven.
    """
    return control.has_checksums and control.block_size == PAGE_BYTES


def bad_pages(
    buffer: Buffer, first_block: int, *, start_lsn: Lsn | None, end_lsn: Lsn | None = None
) -> tuple[int, ...]:
    """The block numbers, ascending, of the pages in `buffer` whose checksum is wrong.

    `first_block` is the number of the first page within its fork, counted through all segments (131,072 pages each
    by default). A page of zeros is valid. A page with an LSN beyond `start_lsn`, where the backup's WAL begins, may
    have been torn by the copying and is mended by replay: it is not bad, unless its LSN lies beyond `end_lsn`, WAL
    that did not exist when it was read: then the LSN itself is damage. Both are None for files of a server at rest.

    A page that tore so that its old head was read looks bad: read it again before it is called damaged.
    ValueError when `buffer` is no whole number of pages.
    """
    computed = page_checksums(buffer, first_block)
    words = np.frombuffer(buffer, "<u4").reshape(-1, PAGE_BYTES // 4)
    suspects = np.flatnonzero(words[:, 2] & _CHECKSUM != computed)
    if start_lsn is not None:
        suspects = suspects[~_is_mended_by_wal(words[suspects, 0], words[suspects, 1], start_lsn, end_lsn)]
    return tuple(first_block + int(page) for page in suspects if words[page].any())


def _is_mended_by_wal(high: _Words, low: _Words, start: Lsn, end: Lsn | None) -> npt.NDArray[np.bool_]:
    lsns = high.astype(np.uint64) << np.uint64(32) | low
    is_mended = lsns > np.uint64(start.value)
    return is_mended if end is None else is_mended & (lsns <= np.uint64(end.value))

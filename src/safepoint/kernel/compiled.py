"""The library that `hatch_build.py` compiles from kernel.c, when it is there. Calls leave the interpreter to others."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np

from safepoint.kernel.commits import compiled_commits
from safepoint.kernel.library import LIBRARY, open_library
from safepoint.kernel.shapes import PAGE_BYTES, Bytes, Checksums, Fingerprints, Functions


def load(path: Path = LIBRARY) -> Functions | None:
    """Its functions; None when it is not there, made for another machine, or made from another kernel.c."""
    library = open_library(path)
    return None if library is None else _functions(library)


def _functions(library: ctypes.CDLL) -> Functions:
    address, size = ctypes.c_void_p, ctypes.c_size_t
    fill_checksums = library.safepoint_page_checksums
    fill_checksums.argtypes, fill_checksums.restype = (address, size, ctypes.c_uint32, address), None
    fill_fingerprints = library.safepoint_page_fingerprints
    fill_fingerprints.argtypes, fill_fingerprints.restype = (address, size, address, address), None

    crc32c = library.safepoint_crc32c
    crc32c.argtypes, crc32c.restype = (address, size, ctypes.c_uint32), ctypes.c_uint32
    combine = library.safepoint_crc32c_combine
    combine.argtypes, combine.restype = (ctypes.c_uint32, ctypes.c_uint32, ctypes.c_uint64), ctypes.c_uint32

    def checksums(pages: Bytes, first_block: int) -> Checksums:
        result = np.empty(len(pages) // PAGE_BYTES, np.uint16)
        fill_checksums(pages.ctypes.data, len(result), first_block, result.ctypes.data)
        return result

    def fingerprints(pages: Bytes, keys: Bytes) -> Fingerprints:
        result = np.empty(-(-len(pages) // PAGE_BYTES), np.uint64)
        fill_fingerprints(pages.ctypes.data, len(pages), keys.ctypes.data, result.ctypes.data)
        return result

    return Functions(
        checksums=checksums,
        fingerprints=fingerprints,
        crc32c=lambda data, before: crc32c(data.ctypes.data, len(data), before),
        crc32c_combine=combine,
        commits=lambda wal, start: compiled_commits(library, wal.ctypes.data, len(wal), start),
    )

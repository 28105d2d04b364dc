"""Where the compiled library is, and whether it is this version's. Knows no numpy."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

LIBRARY = Path(__file__).with_name("_kernel.so")

_LAYOUT = 3


@cache
def open_library(path: Path = LIBRARY) -> ctypes.CDLL | None:
    """The library; None when it is not there, made for another machine, or made from another kernel.c."""
    try:
        library = ctypes.CDLL(str(path))
        found = library.safepoint_kernel_layout()
    except (OSError, AttributeError):
        return None
    return library if found == _LAYOUT else None

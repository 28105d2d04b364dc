"""The inner loops: page checksums, CRC32C, commits in WAL, our fingerprints; compiled where a compiler was at hand.

Both implementations, `compiled` and `plain`, give the same numbers; only speed differs. Nothing here knows of files,
servers or the repository. What stands on numpy is imported when it is first named here.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from safepoint.kernel.commits import Buffer, CommitSpan, commits_in

if TYPE_CHECKING:
    from safepoint.kernel.pages import (
        FINGERPRINT_KEY_BYTES,
        IS_COMPILED,
        PAGE_BYTES,
        crc32c,
        crc32c_combine,
        page_checksums,
        page_fingerprints,
    )

__all__ = [
    "FINGERPRINT_KEY_BYTES",
    "IS_COMPILED",
    "PAGE_BYTES",
    "Buffer",
    "CommitSpan",
    "commits_in",
    "crc32c",
    "crc32c_combine",
    "page_checksums",
    "page_fingerprints",
]


def __getattr__(name: str) -> Any:
    """One of those above, imported now (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("safepoint.kernel.pages"), name)

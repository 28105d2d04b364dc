"""The inner loops: PostgreSQL's page checksums and CRC32C, our fingerprints; compiled where a compiler was at hand.

Both implementations, `compiled` and `plain`, give the same numbers; only speed differs. Nothing here knows of files,
servers or the repository.
"""

from safepoint.kernel.pages import (
    FINGERPRINT_KEY_BYTES,
    IS_COMPILED,
    PAGE_BYTES,
    Buffer,
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
    "crc32c",
    "crc32c_combine",
    "page_checksums",
    "page_fingerprints",
]

"""How a file is divided, in numbers of the format: pages, groups of pages, chunks of groups; and what nodes there are.

A page is the format's page, whatever the cluster's block size. A group is what a first backup stores as one blob. A
chunk is what one page map and one list of fingerprints speak of. docs/FORMAT.md is the specification.
"""

from __future__ import annotations

from enum import IntEnum

PAGE_BYTES = 8192
GROUP_PAGES = 32
GROUP_BYTES = GROUP_PAGES * PAGE_BYTES
CHUNK_GROUPS = 1024
CHUNK_PAGES = CHUNK_GROUPS * GROUP_PAGES
CHUNK_BYTES = CHUNK_PAGES * PAGE_BYTES

INLINE_BYTES = 65536
MOST_GROUP_BLOBS = 16


class Node(IntEnum):
    """What a node is: its first byte. The changes to a node are numbered one above the whole node."""

    PAGE_MAP = 1
    PAGE_MAP_CHANGES = 2
    FINGERPRINTS = 3
    FINGERPRINT_CHANGES = 4
    LISTING = 5
    LISTING_CHANGES = 6


def pages_of(size: int) -> int:
    """How many pages hold `size` bytes; the last may be short."""
    return -(-size // PAGE_BYTES)


def chunks_of(size: int) -> int:
    """How many chunks hold `size` bytes; the last may be short."""
    return -(-size // CHUNK_BYTES)


def chunk_size(size: int, chunk: int) -> int:
    """How many bytes of a file of `size` bytes lie in its chunk of this number; 0 beyond its end."""
    return min(max(size - chunk * CHUNK_BYTES, 0), CHUNK_BYTES)

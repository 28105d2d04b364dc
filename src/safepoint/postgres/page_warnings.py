"""Which damaged pages a server named while it sent a base backup. Pure.

It warns of the first five of each file, in whatever language `lc_messages` chooses: what stays the same in all of them
are the file's path, the block's number, and the two checksums after it.

Source: PostgreSQL 15-18, src/backend/backup/basebackup.c (sendFile, read_file_data_into_buffer).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

NAMED_OF_A_FILE = 5
"""Of so many damaged pages of one file the server speaks; of more it says only how many there are."""

_FORK_BLOCKS_SINCE = 17
"""From this major on the number counts through the fork's segments, before it counts from the file's beginning."""

_PATH = re.compile(r"(?:base/\d+|global|pg_tblspc/\d+/PG_\d+_\d+/\d+)/[A-Za-z0-9_.-]*[A-Za-z0-9_]", re.ASCII)
_TOKEN = re.compile(r"(?<![0-9A-Za-z])[0-9A-F]+(?![0-9A-Za-z])")
_SEGMENT = re.compile(r"\.(\d{1,6})$")
_BLOCK_AND_CHECKSUMS = 3


def pages_named(
    warnings: Iterable[str], *, tablespaces: Sequence[tuple[int, str]], major: int, segment_blocks: int, block_size: int
) -> tuple[tuple[str, int], ...]:
    """Each page as its path in the data directory and its number within the fork, in order.

    `tablespaces` are the object id and the location of each. Other warnings say nothing of pages.
    """
    found: set[tuple[str, int]] = set()
    for warning in warnings:
        text = _with_listed_paths(warning, tablespaces)
        match = _PATH.search(text)
        block = None if match is None else _block_of(text[match.end() :], block_size)
        if match is not None and block is not None:
            first = _first_block(match[0], segment_blocks) if major < _FORK_BLOCKS_SINCE else 0
            found.add((match[0], first + block))
    return tuple(sorted(found))


def _with_listed_paths(text: str, tablespaces: Sequence[tuple[int, str]]) -> str:
    """Up to 16 the server calls files of tablespaces by where these lie."""
    for oid, location in tablespaces:
        if location.startswith("/"):
            text = text.replace(f"{location}/", f"pg_tblspc/{oid}/")
    return text


def _block_of(text: str, block_size: int) -> int | None:
    """The block of which the rest of a warning says that its checksum is another; None when it says anything else."""
    tokens = _TOKEN.findall(text)
    if len(tokens) != _BLOCK_AND_CHECKSUMS or not tokens[0].isdecimal():
        return None
    _, calculated, stored = tokens
    if stored == str(block_size) and calculated.isdecimal() and int(calculated) % block_size:
        return None  # a file whose end was cut off meanwhile: so many bytes were read where a page has so many
    return int(tokens[0])


def _first_block(path: str, segment_blocks: int) -> int:
    match = _SEGMENT.search(path)
    return 0 if match is None else int(match[1]) * segment_blocks

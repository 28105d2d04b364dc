"""Which pages of a cluster change from one backup to the next, and what they hold then: the same for the same seed.

Pages are picked at random over the main forks of all relations, the case that is hardest to store. A changed page has
another LSN and 64 bytes of its rows replaced by bytes that do not compress, about what the update of a row leaves.
Its checksum is not computed anew: who names changed pages has looked at them already.
"""

from __future__ import annotations

import os
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import zstandard

PAGE_BYTES = 8192
RUN_PAGES = 32

_MAIN_FORK = re.compile(r"(base/\d+|global)/\d+(\.\d+)?")
_TOUCHED_BYTES = 64
_HEADER_BYTES = 24


def is_relation(path: str) -> bool:
    """Whether the file is a main fork's segment, by its name."""
    return _MAIN_FORK.fullmatch(path) is not None


def pick_pages(data: Path, paths: Sequence[str], fraction: float, seed: int) -> Mapping[str, Sequence[int]]:
    """This share of all pages of the relations among `paths`, by file, in order."""
    counts = {path: (data / path).stat().st_size // PAGE_BYTES for path in paths if is_relation(path)}
    total = sum(counts.values())
    wanted = sorted(random.Random(seed).sample(range(total), round(total * fraction)))
    picked: dict[str, list[int]] = defaultdict(list)
    first, files = 0, iter(counts.items())
    path, count = next(files)
    for number in wanted:
        while number >= first + count:
            first += count
            path, count = next(files)
        picked[path].append(number - first)
    return picked


def read_changed(file: Path, pages: Sequence[int], seed: int) -> Iterator[tuple[int, bytes]]:
    """The numbers of these pages with what they hold after the change."""
    chance = random.Random(f"{seed} {file.name}")
    descriptor = os.open(file, os.O_RDONLY)
    try:
        for number in pages:
            page = bytearray(os.pread(descriptor, PAGE_BYTES, number * PAGE_BYTES))
            page[:8] = seed.to_bytes(4, "little") + number.to_bytes(4, "little")
            at = chance.randrange(_HEADER_BYTES, PAGE_BYTES - _TOUCHED_BYTES)
            page[at : at + _TOUCHED_BYTES] = chance.randbytes(_TOUCHED_BYTES)
            yield number, bytes(page)
    finally:
        os.close(descriptor)


def compressed_alone(data: Path, picked: Mapping[str, Sequence[int]], seed: int) -> int:
    """Bytes of the changed pages and nothing else: zstd-1 of each 32 of one file, one after the other."""
    compressor = zstandard.ZstdCompressor(level=1)
    total = 0
    for path, pages in picked.items():
        for first in range(0, len(pages), RUN_PAGES):
            run = read_changed(data / path, pages[first : first + RUN_PAGES], seed)
            total += len(compressor.compress(b"".join(page for _, page in run)))
    return total

"""Which blobs the replacing packs have: of any number of them, looked up by id, on disk.

After a whole repository was sealed anew, these are all its blobs. They lie in a file without a name, of the form of the
index cache (index_file.py): 48 bytes a blob on disk. In memory are, for n blobs, the beginning of each two dozen rows
(4 bytes) and a digest of each 64 of those: 0.2 n bytes; while they are sorted one run of 500,000 rows, twice, and one
256th of all rows, twice. Of 40 million blobs that is 8 + 48 + 15 MB (measured: 100 MB with one index that is read, and
33 s), and twice 1.9 GB of the disk for temporary files, of which half is soon given back.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence

import numpy as np

from safepoint.model.backup import BlobRef
from safepoint.repository.packs.index_file import BUCKETS, PACK, ROW, Binding, CacheFile, CacheFileWriter, Tail
from safepoint.repository.packs.index_sort import RowSorter, rows_of, sort_rows
from safepoint.repository.packs.pack import PackContents

_KEY_BYTES = 32


class MovedBlobs:
    """The blobs of packs that come in numbered groups. One thread at a time; closed when nobody refers to it.

    `numbers_of` has, by pack, the numbers of the groups that it comes in.
    """

    def __init__(self, groups: Iterable[Sequence[PackContents]]) -> None:
        """Takes one group at a time; OSError when the disk for temporary files has no room."""
        self.numbers_of: dict[bytes, tuple[int, ...]] = {}
        with RowSorter(None) as sorter:
            for number, group in enumerate(groups):
                for contents in group:
                    before = self.numbers_of.get(contents.pack)
                    if before is None:
                        sorter.add(rows_of(contents, len(self.numbers_of)))
                    self.numbers_of[contents.pack] = (*(before or ()), number)
            self._file = _written(sorter, list(self.numbers_of))

    def places_of(self, identity: bytes) -> list[tuple[bytes, int]]:
        """Each pack that has the blob, with the number of each group it comes in."""
        packs = {ref.pack for ref in self.refs_of(identity)}
        return [(pack, number) for pack in packs for number in self.numbers_of[pack]]

    def refs_of(self, identity: bytes) -> list[BlobRef]:
        """Each place of the blob; which id and raw length it has is for the caller to know."""
        return list(self._file.lookup_all(identity))


def _written(sorter: RowSorter, packs: Sequence[bytes]) -> CacheFile:
    """The sorted rows, in a file of their own; what it is bound to is nobody's but this process's."""
    binding = Binding(digest=os.urandom(_KEY_BYTES), key=os.urandom(_KEY_BYTES))
    with tempfile.TemporaryFile() as file:
        writer = CacheFileWriter(file.fileno(), binding, at_most=sorter.row_count)
        sorter.spill()
        for bucket in range(BUCKETS):
            writer.append(bucket, sort_rows(np.concatenate([np.empty(0, ROW), *sorter.bucket(bucket)])))
        writer.finish(Tail(packs=np.array([(pack, 0) for pack in packs], PACK), indexes=[]))
        return CacheFile(os.dup(file.fileno()), binding)

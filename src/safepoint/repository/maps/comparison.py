"""Comparing bytes that stand elsewhere with what a backup has, without fetching what it has.

Pages are compared by keyed fingerprints of 64 bits, small files by the keyed ids of their blobs. A page with another
content than the backup's passes for the same with probability 2^-64; nobody without the key can make one.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from safepoint.kernel import page_fingerprints
from safepoint.model.backup import BlobRef
from safepoint.repository.maps.fingerprints import fingerprint_keys
from safepoint.repository.packs.pack import blob_id, blob_id_key
from safepoint.repository.sealing.seal import Keyring

Runs = list[tuple[int, int, bool]]
"""First page, pages, and whether they are the same; ascending, neighbours differ in the last."""


class Comparison:
    """Under the keys of one repository. Any number of threads may use it."""

    def __init__(self, keyring: Keyring) -> None:
        self._blob_ids = blob_id_key(keyring)
        self._fingerprints = fingerprint_keys(keyring.derive("page fingerprint"))

    def runs(self, data: memoryview, known: NDArray[np.uint64]) -> Runs:
        """Which pages of `data` are those with the `known` fingerprints.

        `data` has as many bytes as the backup has in these pages, and `known` a fingerprint for each.
        """
        if not len(known):
            return []
        is_same = page_fingerprints(data, self._fingerprints) == known
        starts = [0, *(np.flatnonzero(is_same[1:] != is_same[:-1]) + 1).tolist(), len(is_same)]
        return [(first, end - first, bool(is_same[first])) for first, end in pairwise(starts)]

    def is_content(self, data: bytes, blobs: Sequence[BlobRef]) -> bool:
        """Whether `data` is these blobs, one after another."""
        if len(data) != sum(blob.raw_length for blob in blobs):
            return False
        start = 0
        for blob in blobs:
            if blob_id(self._blob_ids, data[start : start + blob.raw_length]) != blob.id:
                return False
            start += blob.raw_length
        return True

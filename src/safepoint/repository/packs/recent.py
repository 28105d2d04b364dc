"""What a run has stored lately: equal blobs are stored once without asking an index. Bounded, so it may forget."""

from __future__ import annotations

import threading
from collections import OrderedDict

from safepoint.model.backup import BlobRef

_MOST = 32_768


class RecentBlobs:
    """The refs used last, by blob id; about 12 MB when full. Any number of threads."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._refs: OrderedDict[bytes, BlobRef] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, identity: bytes) -> BlobRef | None:
        """Where the blob lies, when that is remembered."""
        with self._lock:
            ref = self._refs.get(identity)
            if ref is not None:
                self._refs.move_to_end(identity)
            return ref

    def remember(self, ref: BlobRef) -> None:
        """The blob lies there; the one that was asked for longest ago may be forgotten."""
        with self._lock:
            self._refs[ref.id] = ref
            self._refs.move_to_end(ref.id)
            if len(self._refs) > self._most:
                self._refs.popitem(last=False)

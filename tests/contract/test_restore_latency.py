"""A store far away: packs are fetched side by side, and what is held meanwhile is bounded."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

from repository_samples import PASSPHRASE, make_repository
from safepoint.repository import open_repository
from safepoint.repository.maps.shape import PAGE_BYTES
from safepoint.stores import MemoryStore
from written_copies import FILES, back_up_cluster, write_copy

_LATENCY = 0.02
_LARGE_FILE = 8000 * PAGE_BYTES


class FarStore(MemoryStore):
    """Every range read takes its time; counts how many were under way at once."""

    def __init__(self) -> None:
        super().__init__()
        self.is_far = False
        self.calls = self.under_way = self.most_under_way = 0
        self._counting = threading.Lock()

    def get_range(self, name: str, offset: int, length: int) -> bytes:
        """As any store, later."""
        if not self.is_far:
            return super().get_range(name, offset, length)
        with self._counting:
            self.calls += 1
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
        time.sleep(_LATENCY)
        try:
            return super().get_range(name, offset, length)
        finally:
            with self._counting:
                self.under_way -= 1


def test_packs_are_fetched_side_by_side(tmp_path: Path) -> None:
    """Whole and delta restores alike: four range reads at once, so that their number, not their sum, costs time."""
    store = FarStore()
    files = {**FILES, "base/5/8": random.Random(2).randbytes(_LARGE_FILE)}
    back_up_cluster(make_repository(store), files)
    repository = open_repository(store, PASSPHRASE)
    [backup] = repository.backups()
    store.is_far = True

    write_copy(repository, backup, tmp_path / "copy")
    whole = store.most_under_way
    (tmp_path / "copy/base/5/8").write_bytes(bytes(_LARGE_FILE))
    store.most_under_way = 0
    write_copy(repository, backup, tmp_path / "copy", is_delta=True)

    assert (whole, store.most_under_way) == (4, 4)
    assert (tmp_path / "copy/base/5/8").read_bytes() == files["base/5/8"]

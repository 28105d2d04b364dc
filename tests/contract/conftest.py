"""Every store that can run here, behind one fixture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from safepoint.stores import FolderStore, MemoryStore, Store
from safepoint.stores.faults import FaultyStore

_STORES: dict[str, Callable[[Path], Store]] = {
    "folder": lambda path: FolderStore(path / "store"),
    "memory": lambda _: MemoryStore(),
    "wrapped": lambda path: FaultyStore(FolderStore(path / "store")),
}


@pytest.fixture(params=sorted(_STORES))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store of each kind."""
    return _STORES[request.param](tmp_path)

"""What a machine has seen of a repository's keys is missed when it is gone from the store."""

from __future__ import annotations

from pathlib import Path

import pytest

from repository_samples import NOON, PASSPHRASE, make_repository
from safepoint import errors
from safepoint.repository import Places, open_repository
from safepoint.repository.opening import open_keys
from safepoint.repository.sealing.key_changes import rotate
from safepoint.stores.memory import MemoryStore


def _rotated_store() -> MemoryStore:
    store = MemoryStore()
    make_repository(store)
    opened = open_keys(store, PASSPHRASE)
    assert opened.slot is not None
    rotate(store, opened, slots=[opened.slot], clock=lambda: NOON)
    return store


def _hide_the_rotation(store: MemoryStore) -> None:
    [name] = store.list("keys/generation-")
    store.delete(name)


def test_a_hidden_generation_is_noticed_where_it_was_seen(tmp_path: Path) -> None:
    """Nothing is sealed with the older master: RP008. Reading goes on."""
    store, places = _rotated_store(), Places(state=tmp_path)
    open_repository(store, PASSPHRASE, places=places)
    _hide_the_rotation(store)

    with pytest.raises(errors.Misconfigured, match="RP008"):
        open_repository(store, PASSPHRASE, places=places)
    open_repository(store, PASSPHRASE, places=places, is_for_reading=True)


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"x": 1}'])
def test_a_damaged_memory_is_no_memory(tmp_path: Path, damage: bytes) -> None:
    """The repository opens, and what was seen is remembered anew."""
    store, places = _rotated_store(), Places(state=tmp_path)
    repository = open_repository(store, PASSPHRASE, places=places)
    memory = tmp_path / repository.id / "keys.json"
    assert memory.stat().st_mode & 0o777 == 0o600
    memory.write_bytes(damage)

    open_repository(store, PASSPHRASE, places=places)

    assert len(memory.read_bytes()) > len(damage)

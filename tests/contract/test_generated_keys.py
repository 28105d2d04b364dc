"""Generated keys: all that a passphrase may, without stretching; told apart by shape; a mistyped one is never tried."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import second_reader
from key_samples import OTHER, add, made, opens, rotate_all
from repository_samples import BACKUP, PASSPHRASE, back_up, make_repository, sample_files
from safepoint import errors
from safepoint.model.secret import Secret
from safepoint.repository.names import slot_name
from safepoint.repository.opening import open_keys
from safepoint.repository.sealing.key_changes import generate_key
from safepoint.repository.sealing.key_listing import list_keys
from safepoint.repository.sealing.slots import SlotKind
from safepoint.stores import FolderStore, MemoryStore, Store
from second_reading import second_restored


def test_a_repository_is_born_with_one_and_a_passphrase_is_added(store: Store) -> None:
    """Either opens all that there is, before and after a rotation by the generated one."""
    key = generate_key()
    opened = made(store, key)
    add(store, opened, OTHER)
    rotate_all(store, key)

    assert opens(store, key) == opens(store, OTHER) == 2
    assert {slot.kind for slot in list_keys(store, open_keys(store, key))} == {
        SlotKind.GENERATED,
        SlotKind.PASSPHRASE,
    }


def test_one_is_added_to_a_repository_with_a_passphrase(store: Store) -> None:
    """However it is typed it opens."""
    key = generate_key()
    add(store, made(store), key)

    assert opens(store, Secret(key.reveal().lower().replace("-", " "))) == 1


def test_its_slot_asks_for_no_stretching() -> None:
    """HKDF with a salt, and no cost that whoever writes to the store could set."""
    store = MemoryStore()
    slot = made(store, generate_key()).slot

    found = json.loads(store.get_range(slot_name(str(slot)), 0, 1 << 20))

    assert found["kind"] == "generated"
    assert found["kdf"]["name"] == "hkdf-sha256"
    assert set(found["kdf"]) == {"name", "salt"}


def test_a_mistyped_one_is_refused_before_anything_is_tried() -> None:
    """By the place of its group, when a repository is opened, made, or given one more key."""
    store = MemoryStore()
    opened = made(store)
    groups = generate_key().reveal().split("-")
    groups[3] = ("A" if groups[3][0] != "A" else "B") + groups[3][1:]
    mistyped = Secret("-".join(groups))

    for verb in (
        lambda: open_keys(store, mistyped),
        lambda: made(MemoryStore(), mistyped),
        lambda: add(store, opened, mistyped),
    ):
        with pytest.raises(errors.Misconfigured, match="RP003: found group 3 of the generated key") as caught:
            verb()
        assert groups[3] not in str(caught.value)


def test_another_one_opens_nothing() -> None:
    """Whether the repository has a slot of that kind or not."""
    store = MemoryStore()
    add(store, made(store), generate_key())
    for where in (store, _only_a_passphrase()):
        with pytest.raises(errors.Misconfigured, match=r"RP003: .* none opened by the generated key given"):
            open_keys(where, generate_key())


def test_the_second_reader_opens_with_one(tmp_path: Path) -> None:
    """Written from docs/FORMAT.md alone; a passphrase opens no slot of a generated key."""
    key = generate_key()
    back_up(make_repository(FolderStore(tmp_path), key), sample_files())

    assert second_restored(tmp_path, key, BACKUP) == sample_files()
    with pytest.raises(second_reader.Unreadable, match="no slot opens"):
        second_reader.backups(tmp_path, PASSPHRASE.reveal())


def _only_a_passphrase() -> MemoryStore:
    store = MemoryStore()
    made(store)
    return store

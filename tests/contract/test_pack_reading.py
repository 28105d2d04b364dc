"""Reading packs: in sequence by windows, after they were moved, and up to what is damaged."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from pack_samples import MEBIBYTE, must_be_damaged, put_all, sample
from safepoint import errors
from safepoint.model.backup import BlobRef
from safepoint.repository.names import pack_name
from safepoint.repository.packs.pack import check_pack, read_table
from safepoint.repository.packs.reader import BlobReader
from safepoint.repository.packs.windows import Wanted
from safepoint.repository.sealing.seal import Keyring
from safepoint.stores import MemoryStore, Store
from safepoint.stores.faults import FaultyStore


def test_a_missing_pack_is_named(store: Store, keyring: Keyring) -> None:
    """RP004 from every way to read."""
    ref = BlobRef(id=bytes(32), pack=bytes(31) + b"\1", offset=48, length=100, raw_length=100)
    reader = BlobReader(store, keyring)

    for look in (
        lambda: read_table(store, keyring, ref.pack),
        lambda: check_pack(store, keyring, ref.pack),
        lambda: reader.read_blob(ref),
        lambda: list(reader.read_wanted([Wanted(ref, lambda: memoryview(bytearray(100)))])),
        lambda: list(reader.read_blobs([ref, ref])),
    ):
        with pytest.raises(errors.Damaged, match=f"RP004: found no object {pack_name(ref.pack)}"):
            look()


# Many in order.


def test_a_sequence_is_read_by_windows(store: Store, keyring: Keyring) -> None:
    """Thirty sequences interleaved cost requests by bytes, not by blobs: about one per pack here."""
    runs = [
        put_all(store, keyring, [sample(5_000, 100 * run + number) for number in range(10)])[0] for run in range(30)
    ]
    counted = FaultyStore(store)
    refs = [ref for step in zip(*runs, strict=True) for ref in step]

    blobs = list(BlobReader(counted, keyring).read_blobs(refs))

    assert blobs == [sample(5_000, 100 * run + number) for number in range(10) for run in range(30)]
    assert len(counted.calls) == 30


def test_refs_may_come_one_by_one(keyring: Keyring) -> None:
    """From a generator that reads with the same reader while it is asked; an error of its own arrives."""
    store, blobs = MemoryStore(), [sample(9_000, seed) for seed in range(50)]
    refs, _ = put_all(store, keyring, blobs)
    reader = BlobReader(store, keyring)

    def found() -> Iterator[BlobRef]:
        for ref in refs:
            reader.read_blob(ref)
            yield ref

    def failing() -> Iterator[BlobRef]:
        yield refs[0]
        raise LookupError

    assert list(reader.read_blobs(found())) == blobs
    with pytest.raises(LookupError):
        list(reader.read_blobs(failing()))


@pytest.mark.parametrize("bad", [0, 7, 49])
def test_blobs_before_a_damaged_one_are_given(keyring: Keyring, bad: int) -> None:
    """In order, but for the few that were handed to one thread with it; then RP005, and nothing hangs."""
    store, blobs = MemoryStore(), [sample(300_000, seed) for seed in range(50)]
    refs, _ = put_all(store, keyring, blobs)
    name = pack_name(refs[bad].pack)
    data = bytearray(store.get(name))
    data[refs[bad].offset + 500] ^= 1
    store.delete(name)
    store.put_if_absent(name, bytes(data))
    sequence, got = BlobReader(store, keyring).read_blobs(refs), list[bytes]()

    with pytest.raises(errors.Damaged, match="RP005"):
        got.extend(sequence)

    assert got == blobs[: len(got)]
    assert bad - 4 < len(got) <= bad


# Packs that were rewritten.


def test_several_packs_are_gone_at_once(store: Store, keyring: Keyring, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for together, missed one after the other: each blob is found where it lies now."""
    blobs = [sample(3_000, seed) for seed in range(40)]
    old, _ = put_all(store, keyring, blobs, pack_bytes=16 * 1024)
    new, _ = put_all(store, keyring, blobs, pack_bytes=MEBIBYTE)
    gone = list(dict.fromkeys(ref.pack for ref in old))
    for pack in gone:
        store.delete(pack_name(pack))
    fetch = BlobReader._fetch

    def fetch_late(self: BlobReader, pack: bytes, start: int, length: int) -> bytes:
        time.sleep(0.2 if pack in gone[1:] else 0)
        return fetch(self, pack, start, length)

    monkeypatch.setattr(BlobReader, "_fetch", fetch_late)
    places = {ref.id: ref for ref in new}
    assert len(gone) > 3
    assert list(BlobReader(store, keyring, relocate=places.get).read_blobs(old)) == blobs


def test_blobs_are_found_where_they_lie_now(store: Store, keyring: Keyring) -> None:
    """When a pack is gone: one by one, in a named place, and in a sequence, where neighbours still share requests."""
    blobs = [sample(20_000, seed) for seed in range(400)]
    old, _ = put_all(store, keyring, blobs, pack_bytes=MEBIBYTE)
    new, _ = put_all(store, keyring, blobs, pack_bytes=20 * MEBIBYTE)
    for pack in {ref.pack for ref in old[60:]}:
        store.delete(pack_name(pack))
    places = {ref.id: ref for ref in new}
    counted = FaultyStore(store)

    assert list(BlobReader(counted, keyring, relocate=places.get).read_blobs(old)) == blobs
    assert len(counted.calls) < 30
    reader = BlobReader(store, keyring, relocate=places.get)
    room = bytearray(20_000)
    assert len(list(reader.read_wanted([Wanted(old[300], lambda: memoryview(room))]))) == 1
    assert room == blobs[300]
    assert reader.read_blob(old[300]) == blobs[300]


@pytest.mark.parametrize("answer", ["nothing", "itself", "gone too"])
def test_a_blob_that_lies_nowhere_is_missing(keyring: Keyring, answer: str) -> None:
    """RP004 whatever the index says; it is asked, and nothing goes round in circles."""
    store = MemoryStore()
    (ref,), _ = put_all(store, keyring, [b"lost"])
    (other,), _ = put_all(store, keyring, [b"lost"])
    store.delete(pack_name(ref.pack))
    store.delete(pack_name(other.pack))
    place = {"nothing": None, "itself": ref, "gone too": other}[answer]

    for look in (
        lambda reader: reader.read_blob(ref),
        lambda reader: list(reader.read_wanted([Wanted(ref, lambda: memoryview(bytearray(4)))])),
        lambda reader: list(reader.read_blobs([ref])),
    ):
        with pytest.raises(errors.Damaged, match="RP004"):
            look(BlobReader(store, keyring, relocate=lambda _: place))


def test_a_place_that_holds_something_else_is_found(keyring: Keyring) -> None:
    """An index that errs gives RP005, never another blob's data."""
    store = MemoryStore()
    (ref, wrong), _ = put_all(store, keyring, [b"right", b"wrong"], pack_bytes=1)
    store.delete(pack_name(ref.pack))

    must_be_damaged(lambda: BlobReader(store, keyring, relocate=lambda _: wrong).read_blob(ref))

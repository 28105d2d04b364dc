"""Packs: what goes in comes out, in parts too, and whatever was altered in one is found."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache, partial
from itertools import chain

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pack_samples import KEYRINGS, MEBIBYTE, must_be_damaged, put_all, sample
from safepoint import errors
from safepoint.model.backup import BlobRef
from safepoint.repository.names import pack_name
from safepoint.repository.packs.pack import (
    ENTRY,
    LARGEST_BLOB,
    BlobKind,
    PackContents,
    check_pack,
    read_table,
)
from safepoint.repository.packs.reader import BlobReader
from safepoint.repository.packs.windows import Wanted
from safepoint.repository.packs.writer import PackWriter
from safepoint.repository.sealing.seal import HEADER_BYTES, OVERHEAD, Keyring
from safepoint.stores import MemoryStore, Store
from safepoint.stores.faults import FaultyStore

GROUP_BYTES = 256 * 1024
SIZES = (0, 1, 8192, GROUP_BYTES, GROUP_BYTES + 1, 5 * GROUP_BYTES - 1)


# What goes in comes out.


def test_blobs_of_every_size_come_back(store: Store, keyring: Keyring) -> None:
    """Empty, one byte, a group of pages and more than one: one by one, in a sequence, and in a place that is named."""
    blobs = [sample(size) for size in SIZES]

    refs, _ = put_all(store, keyring, blobs)

    reader = BlobReader(store, keyring)
    assert [reader.read_blob(ref) for ref in refs] == blobs
    assert list(reader.read_blobs(refs)) == blobs
    assert [ref.raw_length for ref in refs] == list(SIZES)
    rooms = [bytearray(size) for size in SIZES]
    given = list(
        reader.read_wanted(Wanted(ref, partial(memoryview, room)) for ref, room in zip(refs, rooms, strict=True))
    )
    assert rooms == blobs
    assert [bytes(blob) for blob in given] == blobs


def test_the_largest_blob_comes_back_and_a_larger_one_is_refused(keyring: Keyring) -> None:
    """32 MiB; one byte more is the caller's mistake, and the writer goes on."""
    store, largest = MemoryStore(), sample(LARGEST_BLOB)
    writer = PackWriter(store, keyring)

    with pytest.raises(ValueError, match="expected at most 33554432"):
        writer.put_blob(bytes(LARGEST_BLOB + 1))
    ref = writer.put_blob(memoryview(largest))
    writer.finish()

    reader = BlobReader(store, keyring)
    assert reader.read_blob(ref) == largest
    assert check_pack(store, keyring, ref.pack).refs().__next__() == ref


def test_packs_close_at_their_size_and_hold_one_kind(store: Store, keyring: Keyring) -> None:
    """So maps can be fetched without the data; and what the tables say together is what was put."""
    writer = PackWriter(store, keyring, pack_bytes={BlobKind.DATA: 100_000, BlobKind.NODE: 50_000}, on_packs=None)
    data = [writer.put_blob(sample(40_000, seed)) for seed in range(20)]
    nodes = [writer.put_blob(sample(30_000, seed), kind=BlobKind.NODE) for seed in range(20)]
    writer.finish()

    contents = {pack: check_pack(store, keyring, pack) for pack in writer.put_packs}
    assert sorted(map(pack_name, contents)) == list(store.list("packs/"))
    for refs, kind, least in ((data, BlobKind.DATA, 100_000), (nodes, BlobKind.NODE, 50_000)):
        packs = list(dict.fromkeys(ref.pack for ref in refs))
        assert list(chain.from_iterable(contents[pack].refs() for pack in packs)) == refs
        assert {int(found) for pack in packs for found in contents[pack].entries["kind"]} == {kind}
        assert all(least <= store.size(pack_name(pack)) < least + 50_000 for pack in packs[:-1])
    assert sum(map(len, contents.values())) == 40
    assert writer.stored_bytes == sum(ref.length for ref in data + nodes)


def test_blobs_lie_without_gaps(keyring: Keyring) -> None:
    """From the header to the table, in the order they were put; contents are equal however they are learnt."""
    store = MemoryStore()
    refs, (contents,) = put_all(store, keyring, [sample(size) for size in SIZES])

    ends = [ref.offset + ref.length for ref in refs]
    assert [ref.offset for ref in refs] == [HEADER_BYTES, *ends[:-1]]
    assert store.size(pack_name(contents.pack)) == ends[-1] + len(refs) * 41 + OVERHEAD + 8
    assert read_table(store, keyring, contents.pack) == check_pack(store, keyring, contents.pack) == contents
    assert contents.entries.dtype is ENTRY
    assert contents.entries.tobytes() == contents.table
    assert len(contents) == len(refs)


def test_a_run_without_blobs_puts_nothing(store: Store, keyring: Keyring) -> None:
    """No pack, and nobody is told of any."""
    assert put_all(store, keyring, []) == ([], [])
    assert list(store.list("")) == []


# Wrong bytes.


@cache
def _a_pack(keyring_index: int) -> tuple[bytes, bytes, tuple[BlobRef, ...]]:
    store = MemoryStore()
    same_size = [random.Random(seed).randbytes(9_000) for seed in range(2)]
    refs, (contents,) = put_all(store, KEYRINGS[keyring_index], [b"", sample(100_000), sample(100), *same_size])
    return contents.pack, store.get(pack_name(contents.pack)), tuple(refs)


def _check(keyring: Keyring, pack: bytes, data: bytes) -> PackContents:
    store = MemoryStore()
    store.put_if_absent(pack_name(pack), data)
    return check_pack(store, keyring, pack)


@pytest.mark.parametrize("keyring_index", [0, 1])
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@example(where=0.0, bit=0)
@example(where=0.9999999, bit=0)
def test_a_flipped_bit_anywhere_in_a_pack_is_found(keyring_index: int, where: float, bit: int) -> None:
    """Header, blobs, table, trailer."""
    pack, sound, _ = _a_pack(keyring_index)
    data = bytearray(sound)
    data[int(where * len(data))] ^= 1 << bit

    must_be_damaged(lambda: _check(KEYRINGS[keyring_index], pack, bytes(data)))


@pytest.mark.parametrize("keyring_index", [0, 1])
def test_a_flipped_bit_in_a_header_or_trailer_is_found(keyring_index: int) -> None:
    """In each of the bytes that hypothesis would seldom hit: the header, the codec of a blob, the last ones."""
    pack, sound, refs = _a_pack(keyring_index)
    for at in (*range(HEADER_BYTES), *(ref.offset for ref in refs), *range(len(sound) - 8, len(sound))):
        data = bytearray(sound)
        data[at] ^= 1
        must_be_damaged(lambda data=data: _check(KEYRINGS[keyring_index], pack, bytes(data)))


@pytest.mark.parametrize("keyring_index", [0, 1])
@given(keep=st.floats(0, 1, exclude_max=True), extra=st.binary(max_size=9))
@example(keep=0.0, extra=b"")
@example(keep=0.99999999, extra=b"")
def test_a_pack_cut_short_or_with_more_behind_it_is_found(keyring_index: int, keep: float, extra: bytes) -> None:
    """By whoever checks it, and by whoever reads its table alone."""
    pack, sound, _ = _a_pack(keyring_index)
    data = sound[: int(keep * len(sound))] + extra if keep or not extra else sound + extra
    store = MemoryStore()
    store.put_if_absent(pack_name(pack), data)

    must_be_damaged(lambda: check_pack(store, KEYRINGS[keyring_index], pack))
    must_be_damaged(lambda: read_table(store, KEYRINGS[keyring_index], pack))


@pytest.mark.parametrize("keyring_index", [0, 1])
def test_blobs_that_changed_places_are_found(keyring_index: int) -> None:
    """Two of one stored length: each seal knows its blob and its position."""
    pack, sound, refs = _a_pack(keyring_index)
    one, other = (slice(ref.offset, ref.offset + ref.length) for ref in refs[3:])
    assert refs[3].length == refs[4].length
    data = sound[: one.start] + sound[other] + sound[one] + sound[other.stop :]

    must_be_damaged(lambda: _check(KEYRINGS[keyring_index], pack, data))
    store = MemoryStore()
    store.put_if_absent(pack_name(pack), data)
    swapped = replace(refs[3], offset=refs[4].offset)
    must_be_damaged(lambda: BlobReader(store, KEYRINGS[keyring_index]).read_blob(swapped))


@pytest.mark.parametrize("keyring_index", [0, 1])
@pytest.mark.parametrize(
    "change", [{"id": bytes(32)}, {"offset": 49}, {"length": 20}, {"raw_length": 99}, {"raw_length": (1 << 32) - 1}]
)
def test_a_ref_that_does_not_say_the_truth_opens_nothing(keyring_index: int, change: dict[str, bytes | int]) -> None:
    """Whoever wrote it: RP005, neither other data nor a terabyte asked for."""
    pack, sound, refs = _a_pack(keyring_index)
    ref = BlobRef(**{field: getattr(refs[2], field) for field in BlobRef.__slots__} | change)  # type: ignore[arg-type]
    store = MemoryStore()
    store.put_if_absent(pack_name(pack), sound)
    reader = BlobReader(store, KEYRINGS[keyring_index])

    must_be_damaged(lambda: reader.read_blob(ref))
    must_be_damaged(lambda: list(reader.read_blobs([ref])))
    must_be_damaged(lambda: list(reader.read_wanted([Wanted(ref, lambda: memoryview(bytearray(100)))])))


def test_a_pack_under_the_name_of_another_is_found(keyring: Keyring) -> None:
    """Each is sound; neither is the other."""
    store = MemoryStore()
    one, two = (
        {contents.pack: store.get(pack_name(contents.pack)) for contents in put_all(store, keyring, [blob])[1]}
        for blob in (b"one", b"two")
    )
    ((pack, _),), ((_, other),) = one.items(), two.items()

    must_be_damaged(lambda: _check(keyring, pack, other))


def test_a_pack_of_a_generation_without_a_key_is_no_damage(keyring: Keyring) -> None:
    """RP008 names the generation: a rotation put it out of reach. Without encryption there is none: RP005."""
    code = "RP008" if keyring.is_encrypted else "RP005"
    later = Keyring(family=keyring.family, masters={1: b"m" * 32, 2: b"n" * 32}, is_encrypted=keyring.is_encrypted)
    store = MemoryStore()
    (ref,), _ = put_all(store, later, [b"new"])
    reader = BlobReader(store, keyring)

    for look in (
        lambda: reader.read_blob(ref),
        lambda: check_pack(store, keyring, ref.pack),
        lambda: read_table(store, keyring, ref.pack),
    ):
        with pytest.raises(errors.SafepointError, match=code):
            look()
    assert BlobReader(store, later).read_blob(ref) == b"new"


# Tables.


@pytest.mark.parametrize(("count", "requests"), [(1, 1), (1500, 1), (5000, 2)])
def test_a_table_costs_its_size_and_one_or_two_reads(keyring: Keyring, count: int, requests: int) -> None:
    """Of the end alone, however large the pack."""
    counted = FaultyStore(MemoryStore())
    _, (contents,) = put_all(
        counted, keyring, [number.to_bytes(8) for number in range(count)], pack_bytes=64 * MEBIBYTE
    )
    counted.calls.clear()

    assert read_table(counted, keyring, contents.pack) == contents
    assert [call.split()[0] for call in counted.calls] == ["size", *["get_range"] * requests]

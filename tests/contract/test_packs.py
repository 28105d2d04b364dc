"""Packs over every store: what goes in comes out whole or in part, wrong bytes are found, no thread loses a blob."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import chain

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from safepoint import errors
from safepoint.model.backup import BlobRef
from safepoint.repository.packs.frames import FRAME_BYTES, LARGEST_BLOB, frame_count, table_bytes
from safepoint.repository.packs.pack import ENTRY, BlobKind, PackContents, check_pack, pack_name, read_table
from safepoint.repository.packs.reader import BlobReader
from safepoint.repository.packs.recent import RecentBlobs
from safepoint.repository.packs.writer import PackWriter
from safepoint.repository.sealing.seal import HEADER_BYTES, OVERHEAD, Keyring
from safepoint.stores import MemoryStore, Store
from safepoint.stores.faults import Fault, FaultyStore, Killed
from safepoint.stores.port import Data

MEBIBYTE = 1024 * 1024
SIZES = (0, 1, 8192, FRAME_BYTES, FRAME_BYTES + 1, 4 * FRAME_BYTES, 5 * FRAME_BYTES - 1)
KEYRINGS = [
    Keyring(family=b"f" * 16, masters={1: b"m" * 32}, is_encrypted=is_encrypted) for is_encrypted in (True, False)
]


@pytest.fixture(params=KEYRINGS, ids=["encrypted", "open"])
def keyring(request: pytest.FixtureRequest) -> Keyring:
    """With and without encryption."""
    return request.param


def sample(size: int, seed: int = 1) -> bytes:
    """Bytes of which one half does not compress and the other does, alternating every 16 KiB."""
    source = random.Random(f"{size} {seed}")
    parts = (
        source.randbytes(64) * 256 if number % 2 else source.randbytes(16384) for number in range(size // 16384 + 1)
    )
    return b"".join(parts)[:size]


def put_all(
    store: Store, keyring: Keyring, blobs: Sequence[bytes], *, pack_bytes: int = MEBIBYTE
) -> tuple[list[BlobRef], list[PackContents]]:
    """The blobs, durable, and what their packs contain."""
    contents: list[PackContents] = []
    writer = PackWriter(store, keyring, pack_bytes=dict.fromkeys(BlobKind, pack_bytes), on_packs=contents.extend)
    refs = [writer.put_blob(blob) for blob in blobs]
    writer.finish()
    return refs, contents


# What goes in comes out.


def test_blobs_of_every_size_come_back(store: Store, keyring: Keyring) -> None:
    """Empty, one byte, around one frame and of several: one by one, and in a sequence."""
    blobs = [sample(size) for size in SIZES]

    refs, _ = put_all(store, keyring, blobs)

    reader = BlobReader(store, keyring)
    assert [reader.read_blob(ref) for ref in refs] == blobs
    assert list(reader.read_blobs(refs)) == blobs
    assert [ref.raw_length for ref in refs] == list(SIZES)
    assert [frame_count(size) for size in SIZES] == [1, 1, 1, 1, 2, 4, 5]


def test_the_largest_blob_comes_back_and_a_larger_one_is_refused(keyring: Keyring) -> None:
    """32 MiB are 512 frames; one byte more is the caller's mistake, and the writer goes on."""
    store, largest = MemoryStore(), sample(LARGEST_BLOB)
    writer = PackWriter(store, keyring)

    with pytest.raises(ValueError, match="expected at most 33554432"):
        writer.put_blob(bytes(LARGEST_BLOB + 1))
    ref = writer.put_blob(memoryview(largest))
    writer.finish()

    reader = BlobReader(store, keyring)
    assert reader.read_blob(ref) == largest
    assert reader.read_range(ref, LARGEST_BLOB - 70_000, LARGEST_BLOB) == largest[-70_000:]
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
    assert writer.new_blobs == 40
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


# Parts of blobs.


@cache
def _one_of_each_size() -> tuple[MemoryStore, list[bytes], list[BlobRef]]:
    store, blobs = MemoryStore(), [sample(size) for size in (*SIZES, 20 * FRAME_BYTES)]
    return store, blobs, put_all(store, KEYRINGS[0], blobs)[0]


@given(st.data())
def test_a_part_is_the_slice_of_the_whole(data: st.DataObject) -> None:
    """Any range of any blob, empty ones included."""
    store, blobs, refs = _one_of_each_size()
    index = data.draw(st.integers(0, len(blobs) - 1))
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(blobs[index]))] * 2)))

    assert BlobReader(store, KEYRINGS[0]).read_range(refs[index], start, stop) == blobs[index][start:stop]


@pytest.mark.parametrize(("start", "stop"), [(-1, 1), (2, 1), (0, 8193)])
def test_a_part_outside_the_blob_is_refused(start: int, stop: int) -> None:
    """A mistake of the caller, never fewer bytes."""
    store, _, refs = _one_of_each_size()

    with pytest.raises(ValueError, match="of a blob of 8192 bytes, expected one within"):
        BlobReader(store, KEYRINGS[0]).read_range(refs[2], start, stop)


def test_a_page_of_a_group_costs_two_short_reads(keyring: Keyring) -> None:
    """The lengths of its frames, and the one frame: not the group. A small blob is one read."""
    counted = FaultyStore(MemoryStore())
    group = random.Random(1).randbytes(4 * FRAME_BYTES)
    (ref, small), _ = put_all(counted, keyring, [group, sample(2 * FRAME_BYTES)])
    reader = BlobReader(counted, keyring)
    counted.calls.clear()

    assert reader.read_range(ref, 2 * FRAME_BYTES, 2 * FRAME_BYTES + 8192) == group[2 * FRAME_BYTES :][:8192]
    assert [call.split()[2:] for call in counted.calls] == [
        [str(ref.offset), "16"],
        [str(ref.offset + 16 + 2 * (FRAME_BYTES + OVERHEAD)), str(FRAME_BYTES + OVERHEAD)],
    ]
    counted.calls.clear()
    reader.read_range(small, FRAME_BYTES, FRAME_BYTES + 1)
    assert len(counted.calls) == 1


# Wrong bytes.


@cache
def _a_pack(keyring_index: int) -> tuple[bytes, bytes, tuple[BlobRef, ...]]:
    store = MemoryStore()
    blobs = [b"", sample(3 * FRAME_BYTES), random.Random(2).randbytes(2 * FRAME_BYTES), sample(100)]
    refs, (contents,) = put_all(store, KEYRINGS[keyring_index], blobs)
    return contents.pack, store.get(pack_name(contents.pack)), tuple(refs)


def _check(keyring: Keyring, pack: bytes, data: bytes) -> PackContents:
    store = MemoryStore()
    store.put_if_absent(pack_name(pack), data)
    return check_pack(store, keyring, pack)


def _must_be_damaged(look: Callable[[], object]) -> None:
    with pytest.raises(errors.Damaged) as caught:
        look()
    assert caught.value.spec is errors.RP005


@pytest.mark.parametrize("keyring_index", [0, 1])
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@example(where=0.0, bit=0)
@example(where=0.9999999, bit=0)
def test_a_flipped_bit_anywhere_in_a_pack_is_found(keyring_index: int, where: float, bit: int) -> None:
    """Header, lengths of frames, frames, table, trailer."""
    pack, sound, _ = _a_pack(keyring_index)
    data = bytearray(sound)
    data[int(where * len(data))] ^= 1 << bit

    _must_be_damaged(lambda: _check(KEYRINGS[keyring_index], pack, bytes(data)))


@pytest.mark.parametrize("keyring_index", [0, 1])
def test_a_flipped_bit_in_a_header_or_trailer_is_found(keyring_index: int) -> None:
    """In each of the bytes that hypothesis would seldom hit: the header, the lengths of frames, the last ones."""
    pack, sound, refs = _a_pack(keyring_index)
    for at in (*range(HEADER_BYTES), *range(refs[1].offset, refs[1].offset + 12), *range(len(sound) - 8, len(sound))):
        data = bytearray(sound)
        data[at] ^= 1
        _must_be_damaged(lambda data=data: _check(KEYRINGS[keyring_index], pack, bytes(data)))


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

    _must_be_damaged(lambda: check_pack(store, KEYRINGS[keyring_index], pack))
    _must_be_damaged(lambda: read_table(store, KEYRINGS[keyring_index], pack))


@pytest.mark.parametrize("keyring_index", [0, 1])
def test_frames_that_changed_places_are_found(keyring_index: int) -> None:
    """Two frames of one blob, of one stored length: each seal knows its number and its position."""
    pack, sound, refs = _a_pack(keyring_index)
    ref, stored = refs[2], FRAME_BYTES + OVERHEAD
    first = ref.offset + table_bytes(ref.raw_length)
    assert ref.length == table_bytes(ref.raw_length) + 2 * stored
    data = sound[:first] + sound[first + stored :][:stored] + sound[first:][:stored] + sound[first + 2 * stored :]

    _must_be_damaged(lambda: _check(KEYRINGS[keyring_index], pack, data))


@pytest.mark.parametrize("keyring_index", [0, 1])
@pytest.mark.parametrize("by", [1, -1, 1000])
def test_lengths_of_frames_that_were_altered_are_found(keyring_index: int, by: int) -> None:
    """Also when their sum stays what it was; by who reads all, and by who reads a page."""
    pack, sound, refs = _a_pack(keyring_index)
    keyring, ref = KEYRINGS[keyring_index], refs[1]
    lengths = [int.from_bytes(sound[ref.offset + 4 * number :][:4]) for number in range(3)]
    store = MemoryStore()
    altered = b"".join(value.to_bytes(4) for value in (lengths[0] + by, lengths[1] - by, lengths[2]))
    store.put_if_absent(pack_name(pack), sound[: ref.offset] + altered + sound[ref.offset + 12 :])

    _must_be_damaged(lambda: check_pack(store, keyring, pack))
    _must_be_damaged(lambda: BlobReader(store, keyring).read_range(ref, 0, 10))
    _must_be_damaged(lambda: list(BlobReader(store, keyring).read_blobs(refs)))


@pytest.mark.parametrize("keyring_index", [0, 1])
@pytest.mark.parametrize(
    "change", [{"id": bytes(32)}, {"offset": 49}, {"length": 20}, {"raw_length": 99}, {"raw_length": (1 << 32) - 1}]
)
def test_a_ref_that_does_not_say_the_truth_opens_nothing(keyring_index: int, change: dict[str, bytes | int]) -> None:
    """Whoever wrote it: RP005, neither other data nor a terabyte asked for."""
    pack, sound, refs = _a_pack(keyring_index)
    ref = BlobRef(**{field: getattr(refs[3], field) for field in BlobRef.__slots__} | change)  # type: ignore[arg-type]
    store = MemoryStore()
    store.put_if_absent(pack_name(pack), sound)
    reader = BlobReader(store, KEYRINGS[keyring_index])

    _must_be_damaged(lambda: reader.read_blob(ref))
    _must_be_damaged(lambda: reader.read_range(ref, 0, 1))
    _must_be_damaged(lambda: list(reader.read_blobs([ref])))


def test_damage_of_a_part_that_is_not_read_hides_nothing(keyring: Keyring) -> None:
    """A page whose own frame is sound is read, the frame beside it is RP005."""
    store = MemoryStore()
    (ref,), (contents,) = put_all(store, keyring, [sample(10 * FRAME_BYTES)])
    name = pack_name(contents.pack)
    data = bytearray(store.get(name))
    data[ref.offset + ref.length - 1] ^= 1
    store.delete(name)
    store.put_if_absent(name, bytes(data))
    reader = BlobReader(store, keyring)

    assert reader.read_range(ref, 0, 8192) == sample(10 * FRAME_BYTES)[:8192]
    _must_be_damaged(lambda: reader.read_range(ref, 9 * FRAME_BYTES, 9 * FRAME_BYTES + 1))
    _must_be_damaged(lambda: reader.read_blob(ref))


def test_a_pack_under_the_name_of_another_is_found(keyring: Keyring) -> None:
    """Each is sound; neither is the other."""
    store = MemoryStore()
    one, two = (
        {contents.pack: store.get(pack_name(contents.pack)) for contents in put_all(store, keyring, [blob])[1]}
        for blob in (b"one", b"two")
    )
    ((pack, _),), ((_, other),) = one.items(), two.items()

    _must_be_damaged(lambda: _check(keyring, pack, other))


def test_a_pack_of_a_generation_without_a_key_is_no_damage(keyring: Keyring) -> None:
    """RP008 names the generation; nothing is called broken that a rotation put out of reach."""
    later = Keyring(family=keyring.family, masters={1: b"m" * 32, 2: b"n" * 32}, is_encrypted=keyring.is_encrypted)
    store = MemoryStore()
    (ref,), _ = put_all(store, later, [b"new"])
    reader = BlobReader(store, keyring)

    for look in (
        lambda: reader.read_blob(ref),
        lambda: check_pack(store, keyring, ref.pack),
        lambda: read_table(store, keyring, ref.pack),
    ):
        with pytest.raises(errors.SafepointError, match="RP008"):
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


def test_a_missing_pack_is_named(store: Store, keyring: Keyring) -> None:
    """RP004 from every way to read."""
    ref = BlobRef(id=bytes(32), pack=bytes(31) + b"\1", offset=48, length=100, raw_length=100)
    reader = BlobReader(store, keyring)

    for look in (
        lambda: read_table(store, keyring, ref.pack),
        lambda: check_pack(store, keyring, ref.pack),
        lambda: reader.read_blob(ref),
        lambda: reader.read_range(ref, 0, 1),
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


def test_blobs_are_found_where_they_lie_now(store: Store, keyring: Keyring) -> None:
    """When a pack is gone: one by one, in part, and in a sequence, where neighbours still share requests."""
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
    assert reader.read_range(old[300], 10, 20) == blobs[300][10:20]
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
        lambda reader: reader.read_range(ref, 0, 4),
        lambda reader: list(reader.read_blobs([ref])),
    ):
        with pytest.raises(errors.Damaged, match="RP004"):
            look(BlobReader(store, keyring, relocate=lambda _: place))


def test_a_place_that_holds_something_else_is_found(keyring: Keyring) -> None:
    """An index that errs gives RP005, never another blob's data."""
    store = MemoryStore()
    (ref, wrong), _ = put_all(store, keyring, [b"right", b"wrong"], pack_bytes=1)
    store.delete(pack_name(ref.pack))

    _must_be_damaged(lambda: BlobReader(store, keyring, relocate=lambda _: wrong).read_blob(ref))


# What is known is not stored again.


def test_equal_blobs_of_a_run_are_stored_once(store: Store, keyring: Keyring) -> None:
    """A thousand empty pages cost one; both kinds of buffers are the same blob."""
    refs, (contents,) = put_all(store, keyring, [bytes(8192)] * 1000)

    assert len(set(refs)) == 1
    assert len(contents) == 1
    assert store.size(pack_name(contents.pack)) < 1000


def test_blobs_of_earlier_runs_are_asked_for(store: Store, keyring: Keyring) -> None:
    """What `find_known` knows is neither stored nor counted, and it is asked once per blob."""
    (known,), _ = put_all(store, keyring, [b"known"])
    asked: list[bytes] = []

    def find(identity: bytes) -> BlobRef | None:
        asked.append(identity)
        return known if identity == known.id else None

    writer = PackWriter(store, keyring, find_known=find)
    refs = [writer.put_blob(blob) for blob in (b"known", b"new", b"known", b"new")]
    writer.finish()

    assert refs[0] == refs[2] == known
    assert asked == [known.id, refs[1].id]
    assert writer.new_blobs == 1


def test_what_is_remembered_is_bounded() -> None:
    """The ref asked for longest ago goes first."""
    recent = RecentBlobs(most=2)
    one, two, three = (BlobRef(id=bytes([number]), pack=b"", offset=0, length=0, raw_length=0) for number in range(3))
    recent.remember(one)
    recent.remember(two)
    recent.find(one.id)
    recent.remember(three)

    assert [recent.find(ref.id) for ref in (one, two, three)] == [one, None, three]


# Threads.


def test_many_threads_lose_nothing(store: Store, keyring: Keyring) -> None:
    """Eight threads, two kinds, shared and own blobs, small packs: every ref opens, every pack is sound and listed."""
    contents: list[PackContents] = []
    writer = PackWriter(store, keyring, pack_bytes=dict.fromkeys(BlobKind, 30_000), on_packs=contents.extend)
    gate = threading.Barrier(8)

    def put(thread: int) -> list[tuple[BlobRef, bytes]]:
        gate.wait()
        blobs = [sample(3_000, seed if seed % 3 else 1000 * thread + seed) for seed in range(40)]
        return [(writer.put_blob(blob, kind=BlobKind(index % 2)), blob) for index, blob in enumerate(blobs)]

    with ThreadPoolExecutor(8) as pool:
        put_by_all = list(chain.from_iterable(pool.map(put, range(8))))
    writer.finish()

    listed = {ref for pack in contents for ref in pack.refs()}
    assert {ref for ref, _ in put_by_all} <= listed
    assert list(BlobReader(store, keyring).read_blobs([ref for ref, _ in put_by_all])) == [raw for _, raw in put_by_all]
    assert sorted(pack_name(pack.pack) for pack in contents) == list(store.list("packs/"))
    assert all(check_pack(store, keyring, pack.pack) == pack for pack in contents)
    assert writer.new_blobs == len(listed)


def test_packs_of_threads_that_ended_are_closed(store: Store, keyring: Keyring) -> None:
    """Threads that live one after the other, some with the identity of an earlier one; `finish` by another thread."""
    writer, refs = PackWriter(store, keyring), list[BlobRef]()
    for seed in range(5):
        thread = threading.Thread(target=lambda seed=seed: refs.append(writer.put_blob(sample(1000, seed))))
        thread.start()
        thread.join()

    writer.finish()

    assert list(BlobReader(store, keyring).read_blobs(refs)) == [sample(1000, seed) for seed in range(5)]


# Order, failures, ends.


def test_packs_are_durable_before_they_are_listed_and_lists_before_the_end(keyring: Keyring) -> None:
    """Put, barrier, list, barrier."""
    store = FaultyStore(MemoryStore())

    def list_packs(packs: Sequence[PackContents]) -> None:
        store.put_if_absent("indexes/x", b"".join(pack.table for pack in packs), durable=False)

    writer = PackWriter(store, keyring, on_packs=list_packs)
    writer.put_blob(b"x")
    writer.put_blob(b"y", kind=BlobKind.NODE)
    writer.finish()

    calls = [call.split("/")[0] for call in store.calls]
    assert calls == ["put packs", "put packs", "barrier", "put indexes", "barrier"]


def test_a_long_run_lists_its_packs_on_the_way(keyring: Keyring, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that its tables need not be kept; each pack is listed once, and never before it is durable."""
    monkeypatch.setattr("safepoint.repository.packs.uploads._MOST_UNLISTED_BLOBS", 10)
    store, lists = FaultyStore(MemoryStore()), list[list[PackContents]]()

    def list_packs(packs: Sequence[PackContents]) -> None:
        assert store.calls[-1] == "barrier"
        lists.append(list(packs))

    writer = PackWriter(store, keyring, pack_bytes=dict.fromkeys(BlobKind, 5_000), on_packs=list_packs)
    for seed in range(100):
        writer.put_blob(sample(1000, seed))
    writer.finish()

    assert len(lists) > 5
    assert [pack.pack for packs in lists for pack in packs] == list(writer.put_packs)


@pytest.mark.parametrize("fault", [Fault.FAIL, Fault.FULL, Fault.KILL, Fault.LOST_ANSWER])
@pytest.mark.parametrize("call", [1, 2, 5])
def test_an_upload_that_fails_is_told_with_its_own_error(keyring: Keyring, fault: Fault, call: int) -> None:
    """At one of the next puts or at the end, to every thread, again at each try; nothing hangs, no pack is listed."""
    store, contents = MemoryStore(), list[PackContents]()
    writer = PackWriter(
        FaultyStore(store, fault, at=call), keyring, pack_bytes=dict.fromkeys(BlobKind, 5_000), on_packs=contents.extend
    )

    def put(thread: int) -> None:
        for seed in range(200):
            writer.put_blob(sample(1000, 1000 * thread + seed))

    with ThreadPoolExecutor(3) as pool:
        failures = [future.exception() for future in [pool.submit(put, thread) for thread in range(3)]]

    expected = Killed if fault is Fault.KILL else errors.Unreachable
    assert all(isinstance(failure, expected) for failure in failures)
    for again in (lambda: writer.put_blob(b"again"), writer.finish):
        with pytest.raises(expected):
            again()
    with pytest.raises(RuntimeError, match="writer that has ended"):
        writer.finish()
    assert contents == []
    if fault is not Fault.KILL:
        writer.abandon()
        assert list(store.list("")) == []


@pytest.mark.parametrize("fails", ["barrier", "list"])
def test_an_end_that_fails_is_no_end(keyring: Keyring, fails: str) -> None:
    """The error is raised; packs that no list can name are withdrawn, the others stay: somebody may refer to them."""
    store = MemoryStore()

    def list_packs(packs: Sequence[PackContents]) -> None:
        raise LookupError(len(packs))

    faulty = FaultyStore(store, Fault.FAIL, at=2 if fails == "barrier" else 0)
    writer = PackWriter(faulty, keyring, on_packs=list_packs)
    writer.put_blob(b"x")

    with pytest.raises(errors.Unreachable if fails == "barrier" else LookupError):
        writer.finish()
    (pack,) = store.list("packs/")
    writer.abandon()

    assert list(store.list("")) == ([] if fails == "barrier" else [pack])


def test_a_name_that_is_taken_is_never_taken_over(keyring: Keyring) -> None:
    """RP007: pack names are random, so somebody else's object there means that something is very wrong."""

    class Taken(MemoryStore):
        def put_if_absent(self, name: str, data: Data, *, durable: bool = True) -> bool:
            del name, data, durable
            return False

    writer = PackWriter(Taken(), keyring)
    writer.put_blob(b"x")

    with pytest.raises(errors.Damaged, match="RP007"):
        writer.finish()


def test_an_abandoned_writer_takes_its_packs_along(store: Store, keyring: Keyring) -> None:
    """Those of every thread; it takes nothing more, and abandoning twice is no mistake."""
    writer = PackWriter(store, keyring, pack_bytes=dict.fromkeys(BlobKind, 5_000))
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda seed: writer.put_blob(sample(1000, seed)), range(60)))

    writer.abandon()
    writer.abandon()

    assert writer.put_packs
    assert list(store.list("")) == []
    for late in (lambda: writer.put_blob(b"late"), writer.finish):
        with pytest.raises(RuntimeError, match="writer that has ended"):
            late()


def test_a_finished_writer_takes_no_more_and_keeps_what_it_has(store: Store, keyring: Keyring) -> None:
    """Leaving its context, or abandoning it, changes nothing then."""
    with PackWriter(store, keyring) as writer:
        ref = writer.put_blob(b"kept")
        writer.finish()
        with pytest.raises(RuntimeError, match="writer that has ended"):
            writer.put_blob(b"late")
    writer.abandon()

    assert BlobReader(store, keyring).read_blob(ref) == b"kept"


def test_an_interrupt_while_a_blob_is_placed_ends_the_run(keyring: Keyring) -> None:
    """A pack may be lost by then: what was put before it must not look finished."""
    store = MemoryStore()
    writer = PackWriter(store, keyring)
    writer.put_blob(b"before")
    builder = next(iter(writer._data_lanes.values()))._builder
    assert builder is not None

    class Interrupting:
        def tell(self) -> int:
            return 48

        def write(self, part: object) -> None:
            del part
            raise KeyboardInterrupt

    builder._buffer = Interrupting()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        writer.put_blob(b"interrupted")

    with pytest.raises(KeyboardInterrupt):
        writer.finish()
    assert list(store.list("")) == []

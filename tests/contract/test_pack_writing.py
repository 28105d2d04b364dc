"""Writing packs: nothing is stored twice, nothing is lost between threads, and a run that fails says so."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import pytest

from pack_samples import put_all, sample
from safepoint import errors
from safepoint.model.backup import BlobRef
from safepoint.repository.names import pack_name
from safepoint.repository.packs.pack import BlobKind, PackContents, check_pack
from safepoint.repository.packs.reader import BlobReader
from safepoint.repository.packs.recent import RecentBlobs
from safepoint.repository.packs.writer import PackWriter
from safepoint.repository.sealing.seal import Keyring
from safepoint.stores import MemoryStore, Store
from safepoint.stores.faults import Fault, FaultyStore, Killed
from safepoint.stores.port import Data

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
    assert [len(check_pack(store, keyring, pack)) for pack in writer.put_packs] == [1]


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
    assert sum(map(len, contents)) == len(listed)


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

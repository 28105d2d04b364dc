"""How many range reads it costs to read blobs in a sequence."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import Future

from hypothesis import given
from hypothesis import strategies as st

from safepoint.model.backup import BlobRef
from safepoint.repository.packs.reader import BlobReader
from safepoint.repository.packs.windows import WINDOW_BYTES, Upcoming, Wanted, Window, Windows
from safepoint.repository.packs.writer import PackWriter
from safepoint.repository.sealing.seal import Keyring
from safepoint.stores import MemoryStore
from safepoint.stores.faults import FaultyStore

_MEBIBYTE = 1024 * 1024
_BLOB = 64 * 1024
_KEYRING = Keyring(family=b"f" * 16, masters={1: b"m" * 32}, is_encrypted=True)


def _ref(offset: int, length: int = _BLOB, pack: int = 1) -> BlobRef:
    return BlobRef(id=bytes(32), pack=bytes([pack]) * 32, offset=offset, length=length, raw_length=4 * length)


def _fetches(refs: list[BlobRef], *, most_bytes: int = 160 * _MEBIBYTE) -> list[tuple[BlobRef, int]]:
    """What is fetched to read the refs in this order: the ref that asked for it, and how many bytes."""
    asked: list[int] = []

    def fetch(pack: bytes, start: int, length: int) -> Future[bytes]:
        del pack, start
        asked.append(length)
        return Future()

    windows, upcoming, found = (
        Windows(fetch, most_bytes=most_bytes),
        Upcoming(map(Wanted, refs)),
        list[tuple[BlobRef, int]](),
    )
    for ref in (wanted.ref for wanted in upcoming):
        window = windows.find(ref)
        if window is None:
            window = windows.open(ref, upcoming.end_of_window(ref, windows.end_for(ref)))
            found.append((ref, asked[-1]))
        assert window.pack == ref.pack
        assert window.holds(ref)
    return found


def _pack_in_order(pack: int, size: int) -> list[BlobRef]:
    return [_ref(48 + at, pack=pack) for at in range(0, size, _BLOB)]


def test_a_pack_in_order_costs_a_request_for_each_four_mebibytes() -> None:
    """Sixteen for a pack of 64 MiB, and together they fetch every byte once."""
    fetches = _fetches(_pack_in_order(1, 64 * _MEBIBYTE))

    assert [length for _, length in fetches] == [WINDOW_BYTES] * 16


def test_thirty_interleaved_sequences_cost_no_more_requests() -> None:
    """As when the pages of a file lie in the patch packs of thirty backups: round robin, each pack once through."""
    size = 8 * _MEBIBYTE
    sequences = [_pack_in_order(pack, size) for pack in range(30)]

    fetches = _fetches([ref for refs in zip(*sequences, strict=True) for ref in refs])

    assert len(fetches) == 30 * size // WINDOW_BYTES


def test_what_nobody_will_read_is_not_fetched() -> None:
    """Where the end of the sequence is in sight, a window ends with the last blob that is needed."""
    refs = [_ref(48), _ref(48 + 3 * _BLOB), _ref(48, pack=2)]

    assert _fetches(refs) == [(refs[0], 4 * _BLOB), (refs[2], _BLOB)]


def test_a_blob_larger_than_a_window_is_one_request() -> None:
    """Also when others follow."""
    refs = [_ref(48, length=32 * _MEBIBYTE), _ref(48 + 32 * _MEBIBYTE)]

    assert _fetches(refs) == [(refs[0], 32 * _MEBIBYTE), (refs[1], _BLOB)]


def test_windows_are_bounded() -> None:
    """With room for two windows, a third drops the one used longest ago, which is then fetched again."""
    long = [_ref(48 + at, pack=9) for at in range(0, 2000 * _BLOB, _BLOB)]  # the end is not in sight
    first, second, third = _ref(48, pack=1), _ref(48, pack=2), _ref(48, pack=3)

    fetches = _fetches([first, second, first, third, first, second, *long], most_bytes=2 * WINDOW_BYTES)

    assert [ref for ref, _ in fetches][:4] == [first, second, third, second]


def test_a_pack_that_is_read_slowly_costs_fewer_requests() -> None:
    """As the pack of one day's changes beside the packs of the first backup, as far as there is room."""
    fast, slow = _pack_in_order(1, 64 * _MEBIBYTE), _pack_in_order(2, 24 * _MEBIBYTE)
    refs = [ref for at, ref in enumerate(slow) for ref in (*fast[4 * at : 4 * at + 4], *_far(at), ref)]

    lengths = [length for ref, length in _fetches(refs) if ref.pack == slow[0].pack]

    assert lengths[:3] == [WINDOW_BYTES, 2 * WINDOW_BYTES, 2 * WINDOW_BYTES]
    assert len(lengths) == 4


def _far(at: int) -> list[BlobRef]:
    """A blob of a window of its own."""
    return [_ref(48 + at * WINDOW_BYTES, pack=3)]


def test_small_packs_take_no_room_from_large_ones() -> None:
    """Of a pack that is shorter than a window nothing but its bytes counts, once they are here."""
    windows = Windows(_pack_of(1000), most_bytes=3 * WINDOW_BYTES)
    packs = [_ref(48, length=100, pack=pack) for pack in range(100)]

    for ref in packs:
        windows.settle(windows.open(ref, windows.end_for(ref)))

    assert all(windows.find(ref) for ref in packs)


def _pack_of(size: int) -> Callable[[bytes, int, int], Future[bytes]]:
    """Fetches from packs of this size."""

    def fetch(pack: bytes, start: int, length: int) -> Future[bytes]:
        del pack
        fetched: Future[bytes] = Future()
        fetched.set_result(bytes(max(0, min(length, size - start))))
        return fetched

    return fetch


@given(
    st.lists(st.builds(_ref, st.integers(0, 400).map(lambda number: number * 20_000), pack=st.integers(1, 3))),
    st.sampled_from([1, WINDOW_BYTES, 160 * _MEBIBYTE]),
)
def test_every_blob_lies_in_a_window(refs: list[BlobRef], most_bytes: int) -> None:
    """Whatever the order and however little is kept; nothing is lost, and never is more asked for than two windows."""
    assert [wanted.ref for wanted in Upcoming(map(Wanted, refs))] == refs

    for ref, length in _fetches(refs, most_bytes=most_bytes):
        assert ref.length <= length <= 2 * WINDOW_BYTES


def test_a_window_of_a_pack_that_was_cut_gives_what_there_is() -> None:
    """So that whoever opens the blob sees that bytes are missing."""
    data: Future[bytes] = Future()
    data.set_result(b"x" * 10)

    assert len(Window(b"p", 48, 148, 1, data).cut(_ref(53, length=20))) == 5


def _stored(store: MemoryStore, blobs: list[bytes]) -> list[BlobRef]:
    writer = PackWriter(store, _KEYRING)
    refs = [writer.put_blob(blob) for blob in blobs]
    writer.finish()
    return refs


def test_a_sequence_costs_a_range_read_for_several_mebibytes() -> None:
    """Two hundred small blobs in a row are one request; one blob is one request."""
    store = MemoryStore()
    blobs = [random.Random(number).randbytes(4096) for number in range(200)]
    refs = _stored(store, blobs)
    counted = FaultyStore(store)
    reader = BlobReader(counted, _KEYRING)

    assert list(reader.read_blobs(refs)) == blobs
    assert [call.split()[0] for call in counted.calls] == ["get_range"]
    counted.calls.clear()
    reader.read_blob(refs[100])
    assert [call.split()[0] for call in counted.calls] == ["get_range"]


def test_a_reader_that_is_left_early_stops() -> None:
    """Closing the iterator ends its threads; nothing hangs and nothing warns."""
    store = MemoryStore()
    refs = _stored(store, [number.to_bytes(2) * (_MEBIBYTE // 4) for number in range(30)])

    blobs = BlobReader(store, _KEYRING).read_blobs(refs)

    assert len(next(blobs)) == _MEBIBYTE // 2
    del blobs
    assert not any(thread.name.startswith(("safepoint-read", "safepoint-fetch")) for thread in threading.enumerate())

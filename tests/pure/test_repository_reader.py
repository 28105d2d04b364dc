"""How many range reads a restore costs."""

from __future__ import annotations

from itertools import chain, pairwise

from hypothesis import given
from hypothesis import strategies as st

from repository_samples import make_repository, sample_blobs, store_blobs
from safepoint.model.backup import BlobRef
from safepoint.repository import open_repository
from safepoint.repository.packs.reader import neighbours
from safepoint.stores import MemoryStore
from safepoint.stores.faults import FaultyStore

_MEBIBYTE = 1024 * 1024


def _ref(offset: int, length: int = 20, raw_length: int = 100, pack: str = "aa") -> BlobRef:
    return BlobRef(id="", pack=pack, offset=offset, length=length, raw_length=raw_length)


def test_neighbours_share_a_group() -> None:
    """Only blobs that lie side by side, in order, in one pack."""
    refs = [_ref(0), _ref(20), _ref(60), _ref(80, pack="bb"), _ref(100, pack="bb"), _ref(80, pack="bb")]

    assert list(neighbours(refs)) == [(refs[0], refs[1]), (refs[2],), (refs[3], refs[4]), (refs[5],)]


def test_a_group_opens_to_a_few_mebibytes() -> None:
    """However well its blobs compress."""
    refs = [_ref(20 * number, raw_length=_MEBIBYTE) for number in range(10)]

    assert [len(group) for group in neighbours(refs)] == [4, 4, 2]


@given(st.lists(st.builds(_ref, st.integers(0, 5).map(lambda n: n * 20), raw_length=st.integers(0, 5 * _MEBIBYTE))))
def test_groups_are_a_partition(refs: list[BlobRef]) -> None:
    """Nothing is lost, repeated or reordered, and within a group there is no gap."""
    groups = list(neighbours(refs))

    assert list(chain.from_iterable(groups)) == refs
    assert all(a.offset + a.length == b.offset for group in groups for a, b in pairwise(group))


def test_a_sequence_costs_a_range_read_for_several_mebibytes() -> None:
    """Two hundred small blobs in a row are one request; one blob is one request."""
    store = MemoryStore()
    blobs = sample_blobs(200, size=4096)
    refs = store_blobs(make_repository(store, None), blobs)
    counted = FaultyStore(store)
    repository = open_repository(counted, None)

    counted.calls.clear()
    assert list(repository.read_blobs(refs)) == blobs
    assert [call.split()[0] for call in counted.calls] == ["get_range"]
    counted.calls.clear()
    repository.read_blob(refs[100])
    assert [call.split()[0] for call in counted.calls] == ["get_range"]


def test_a_reader_that_is_left_early_stops() -> None:
    """Closing the iterator ends its threads; nothing hangs and nothing warns."""
    repository = make_repository(MemoryStore(), None)
    refs = store_blobs(repository, sample_blobs(30, size=_MEBIBYTE // 2))

    blobs = repository.read_blobs(refs)

    assert len(next(blobs)) == _MEBIBYTE // 2
    del blobs

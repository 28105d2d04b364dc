"""WAL and records over every store: what was put comes back, the same again is success, anything else is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from repository_samples import (
    CLUSTER,
    MARK,
    MEBIBYTE,
    NOON,
    SEGMENT,
    TIMELINE,
    fill,
    make_repository,
    wal_bytes,
)
from safepoint import errors
from safepoint.model.coverage import Mark, WalPiece
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.model.secret import Secret
from safepoint.repository import Repository, open_repository
from safepoint.stores import MemoryStore, Store
from safepoint.stores.faults import FaultyStore

HISTORY = b"1\t0/300000\tno recovery target specified\n"
OTHER_HISTORY = b"1\t0/280000\tno recovery target specified\n"


def test_wal_comes_back_with_its_marks(repository: Repository) -> None:
    """Segments and ranges, listed by position; the newest mark is a short read."""
    data, ranged = wal_bytes(1), wal_bytes(2, size=8192)
    repository.put_wal_segment(CLUSTER, SEGMENT, data, history=b"", mark=MARK)
    repository.put_wal_range(CLUSTER, TIMELINE, SEGMENT.end, ranged, history=b"", mark=None)

    segment, piece = repository.wal_pieces(CLUSTER)

    assert (segment.start, segment.end, segment.is_partial) == (SEGMENT.start, SEGMENT.end, False)
    assert (piece.start, piece.end, piece.is_partial) == (SEGMENT.end, SEGMENT.end + 8192, True)
    assert repository.read_wal(segment) == data
    assert repository.read_wal(piece) == ranged
    assert repository.read_mark(segment) == MARK
    assert repository.read_mark(piece) is None


def test_pieces_are_listed_by_one_listing_each(store: Store, passphrase: Secret | None) -> None:
    """Coverage of a month costs two listings; ranges first, because their segment is put before they are deleted."""
    repository = make_repository(counted := FaultyStore(store), passphrase)
    fill(repository)
    counted.calls.clear()

    repository.wal_pieces(CLUSTER)

    assert counted.calls == [f"list tmp/wal/{CLUSTER}/", f"list wal/{CLUSTER}/"]


def test_a_listed_range_that_its_segment_replaced_meanwhile_still_reads(repository: Repository) -> None:
    """A reader that listed before the receiver went on gets the bytes and the mark; without a substitute, RP004."""
    data, position = wal_bytes(1), SEGMENT.start + 8192
    repository.put_wal_range(CLUSTER, TIMELINE, position, data[8192:16384], history=b"", mark=None)
    (listed,) = repository.wal_pieces(CLUSTER)
    repository.delete_wal_range(listed)
    with pytest.raises(errors.Damaged, match="RP004"):
        repository.read_wal(listed)
    repository.put_wal_segment(CLUSTER, SEGMENT, data, history=b"", mark=MARK)

    assert repository.read_wal(listed) == data[8192:16384]
    assert repository.read_mark(listed) == MARK


def test_the_same_segment_again_is_success_and_other_bytes_are_not(repository: Repository) -> None:
    """Success is answered for equal bytes only; the first bytes stay."""
    repository.put_wal_segment(CLUSTER, SEGMENT, wal_bytes(1), history=b"", mark=MARK)
    repository.put_wal_segment(CLUSTER, SEGMENT, wal_bytes(1), history=b"", mark=None)

    with pytest.raises(errors.Damaged, match="RP007"):
        repository.put_wal_segment(CLUSTER, SEGMENT, wal_bytes(2), history=b"", mark=None)
    (piece,) = repository.wal_pieces(CLUSTER)
    assert repository.read_wal(piece) == wal_bytes(1)


def test_the_same_range_again_is_success_and_other_bytes_are_not(repository: Repository) -> None:
    """Ranges keep the same promise."""
    repository.put_wal_range(CLUSTER, TIMELINE, Lsn(4096), b"one", history=b"", mark=None)
    repository.put_wal_range(CLUSTER, TIMELINE, Lsn(4096), b"one", history=b"", mark=MARK)

    with pytest.raises(errors.Damaged, match="RP007"):
        repository.put_wal_range(CLUSTER, TIMELINE, Lsn(4096), b"two", history=b"", mark=None)


def test_a_stored_segment_that_is_damaged_acknowledges_nothing(store: Store, repository: Repository) -> None:
    """The same segment again is success only if the stored one can be read back."""
    repository.put_wal_segment(CLUSTER, SEGMENT, wal_bytes(), history=b"", mark=None)
    (piece,) = repository.wal_pieces(CLUSTER)
    data = bytearray(store.get(piece.name))
    data[-40] ^= 1
    store.delete(piece.name)
    store.put_if_absent(piece.name, bytes(data))

    with pytest.raises(errors.Damaged, match="RP005"):
        repository.put_wal_segment(CLUSTER, SEGMENT, wal_bytes(), history=b"", mark=None)


def test_ranges_are_deleted_and_segments_are_not(repository: Repository) -> None:
    """A range that a segment replaced goes, twice is no error; a segment is refused."""
    fill(repository)
    segment, piece = repository.wal_pieces(CLUSTER)

    repository.delete_wal_range(piece)
    repository.delete_wal_range(piece)
    with pytest.raises(ValueError, match="expected a range"):
        repository.delete_wal_range(segment)

    assert repository.wal_pieces(CLUSTER) == (segment,)


@pytest.mark.parametrize("size", [MEBIBYTE, 16 * MEBIBYTE, 1024 * MEBIBYTE])
def test_names_carry_positions_for_every_segment_size(size: int) -> None:
    """A listing alone tells where a segment lies, whatever wal_segment_size is."""
    store = MemoryStore()
    repository = make_repository(store, None)
    segment = replace(SEGMENT, number=5, size=size)
    megabytes = size // MEBIBYTE
    repository.put_wal_range(CLUSTER, TIMELINE, Lsn(0), b"x", history=b"", mark=None)
    folder = next(iter(store.list("tmp/wal/"))).removeprefix("tmp/").rpartition("/")[0]
    store.put_if_absent(f"{folder}/{segment.name}.{megabytes}MB", b"")

    assert repository.wal_pieces(CLUSTER)[1] == WalPiece(
        timeline=TIMELINE,
        start=segment.start,
        end=segment.end,
        name=f"{folder}/{segment.name}.{megabytes}MB",
        is_partial=False,
    )


def test_foreign_names_are_no_wal(store: Store, repository: Repository) -> None:
    """Whatever else lies there is not taken for WAL."""
    for leaf in ("README", "00000001-x/000000010000000000000001.16MB", f"{'0' * 8}-{'a' * 32}/x"):
        store.put_if_absent(f"wal/{CLUSTER}/{leaf}", b"")

    assert repository.wal_pieces(CLUSTER) == ()


def test_bad_wal_is_refused(repository: Repository) -> None:
    """Short segments, empty ranges and clusters that are no number are mistakes of the caller."""
    with pytest.raises(ValueError, match="expected 1048576"):
        repository.put_wal_segment(CLUSTER, SEGMENT, b"short", history=b"", mark=None)
    with pytest.raises(ValueError, match="empty range"):
        repository.put_wal_range(CLUSTER, TIMELINE, Lsn(0), b"", history=b"", mark=None)
    with pytest.raises(ValueError, match="system identifier"):
        repository.wal_pieces("../../etc")


def test_a_history_is_kept_and_its_timeline_has_no_other(repository: Repository) -> None:
    """Absent is None, the same again is success, another one is RP007, also before any WAL of it is put."""
    second = TimelineId(2)
    assert repository.read_history(CLUSTER, second) is None
    repository.put_history(CLUSTER, second, HISTORY)
    repository.put_history(CLUSTER, second, HISTORY)

    with pytest.raises(errors.Damaged, match="RP007"):
        repository.put_history(CLUSTER, second, OTHER_HISTORY)
    with pytest.raises(errors.Damaged, match="RP007"):
        repository.put_wal_range(CLUSTER, second, Lsn(0), b"x", history=OTHER_HISTORY, mark=None)
    repository.put_wal_range(CLUSTER, second, Lsn(0), b"x", history=HISTORY, mark=None)

    assert repository.read_history(CLUSTER, second) == HISTORY


def test_two_servers_that_share_a_timeline_number_are_not_mixed(store: Store, passphrase: Secret | None) -> None:
    """When both arrive at once both are kept under names of their own, and readers refuse instead of mixing."""
    first, second = make_repository(store, passphrase), open_repository(store, passphrase)
    second._wal._require_only_lineage = lambda *_: None  # type: ignore[method-assign] - it looked before the other put
    first.put_wal_range(CLUSTER, TimelineId(2), Lsn(0), b"one", history=HISTORY, mark=None)
    second.put_wal_range(CLUSTER, TimelineId(2), Lsn(0), b"two", history=OTHER_HISTORY, mark=None)

    with pytest.raises(errors.Damaged, match="RP007"):
        first.wal_pieces(CLUSTER)


# Records.


def test_records_stay_in_order(store: Store, passphrase: Secret | None) -> None:
    """Also when the clock stands still or is set back while the process runs; kinds keep apart."""
    now = [NOON]
    make_repository(store, passphrase)
    repository = open_repository(store, passphrase, clock=lambda: now[0])
    for number, instant in enumerate([NOON, NOON, NOON - timedelta(hours=1)]):
        now[0] = instant
        repository.append_record("drill", {"number": number, "text": "é"})
    repository.append_record("proof", {})

    assert repository.records("drill") == tuple({"number": number, "text": "é"} for number in range(3))
    assert repository.records("proof") == ({},)
    assert repository.records("other") == ()


def test_marks_keep_their_instant(repository: Repository) -> None:
    """To the microsecond, with zone."""
    mark = Mark(lsn=Lsn(77), clock=NOON + timedelta(microseconds=1))
    repository.put_wal_range(CLUSTER, TIMELINE, Lsn(0), b"x", history=b"", mark=mark)

    assert repository.read_mark(repository.wal_pieces(CLUSTER)[0]) == mark

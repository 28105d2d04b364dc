"""Commits in WAL: which records count, over whatever lies between them; the same in C and in Python."""

from __future__ import annotations

import ctypes
import mmap
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safepoint import kernel
from safepoint.kernel import CommitSpan, compiled, plain
from safepoint.kernel.shapes import Functions
from wal_records import (
    ABORT,
    ABORT_PREPARED,
    COMMIT,
    COMMIT_PREPARED,
    MAGIC,
    MEBIBYTE,
    PAGE,
    PREPARE,
    Writer,
    ending,
    other,
    record,
    written,
)

_compiled = compiled.load()
BOTH = [plain.FUNCTIONS, *([_compiled] if _compiled is not None else [])]
needs_library = pytest.mark.skipif(_compiled is None, reason="no compiled kernel; enable with: apt-get install gcc")

both = pytest.mark.parametrize("functions", BOTH, ids=["plain", "compiled"][: len(BOTH)])


def found_in(functions: Functions, wal: bytes, start: int) -> CommitSpan | None:
    """By one implementation."""
    return functions.commits(np.frombuffer(wal, np.uint8), start)


@both
@pytest.mark.parametrize("release", MAGIC)
def test_first_and_last_are_by_position_and_latest_by_time(functions: Functions, release: int) -> None:
    """Clocks go back, and sessions overtake each other."""
    writer = Writer(major=release)
    ends = writer.write(ending(COMMIT, 50), other(100), ending(COMMIT, 90), ending(COMMIT_PREPARED, 40), other(9))

    assert found_in(functions, bytes(writer.wal), writer.start.value) == (3, ends[0], 50, ends[3], 40, 90)


@both
@pytest.mark.parametrize("kind", [PREPARE, ABORT, ABORT_PREPARED])
def test_other_ends_of_transactions_are_no_commits(functions: Functions, kind: int) -> None:
    """They begin with a time as well."""
    writer = written([ending(kind, 50)])

    assert found_in(functions, bytes(writer.wal), writer.start.value) is None


@both
def test_what_stands_before_main_data_is_passed_over(functions: Functions) -> None:
    """Where a commit was replicated from; and that it is a long one, with subtransactions, invalidations, drops."""
    writer = Writer()
    ends = writer.write(ending(COMMIT, 1, heads=b"\xfd\x07\x00"), ending(COMMIT, 2, more=70_000))

    assert found_in(functions, bytes(writer.wal), writer.start.value) == (2, ends[0], 1, ends[1], 2, 2)


@both
@given(gap=st.integers(0, 2 * PAGE), more=st.integers(0, 3 * PAGE))
@settings(max_examples=60, deadline=None)
def test_a_commit_is_found_wherever_pages_cut_it(functions: Functions, gap: int, more: int) -> None:
    """In its header, in its time, behind it."""
    writer = Writer()
    _, end, _ = writer.write(other(gap), ending(COMMIT, 77, more=more), other(3))

    assert found_in(functions, bytes(writer.wal), writer.start.value) == (1, end, 77, end, 77, 77)


@both
def test_a_record_that_is_cut_off_does_not_count(functions: Functions) -> None:
    """Neither at the beginning of a piece nor at its end: what is not whole is another piece's."""
    writer = Writer()
    first, last = writer.write(ending(COMMIT, 5, more=MEBIBYTE), ending(COMMIT, 6, more=MEBIBYTE))
    start, wal = writer.start.value, bytes(writer.wal)

    assert found_in(functions, wal[: last - start - 8], start) == (1, first, 5, first, 5, 5)
    assert found_in(functions, wal[PAGE:], start + PAGE) == (1, last, 6, last, 6, 6)
    assert found_in(functions, wal[PAGE : 3 * PAGE], start + PAGE) is None


@both
def test_a_range_is_read_from_the_next_page_on(functions: Functions) -> None:
    """Nobody can say where a record begins within a page."""
    writer = Writer()
    ends = writer.write(*(ending(COMMIT, number) for number in range(1000)))
    at = next(end for end in ends if end % PAGE > 100)
    whole = [end for end in ends if end > (at // PAGE + 1) * PAGE + 60]

    span = found_in(functions, bytes(writer.wal[at - writer.start.value :]), at)

    assert span is not None
    assert span.last_end == ends[-1]
    assert span.count in {len(whole), len(whole) + 1}


@both
def test_zeros_behind_a_switch_end_nothing(functions: Functions) -> None:
    """What follows in the next segment is found."""
    writer = Writer()
    (first,) = writer.write(ending(COMMIT, 5))
    writer.switch()
    (last,) = writer.write(ending(COMMIT, 6))

    assert found_in(functions, bytes(writer.wal), writer.start.value) == (2, first, 5, last, 6, 6)


@both
def test_a_record_that_a_crash_left_unfinished_ends_nothing(functions: Functions) -> None:
    """The page behind it continues nothing (XLP_FIRST_IS_OVERWRITE_CONTRECORD)."""
    writer = Writer()
    writer.write(ending(COMMIT, 5, more=PAGE))
    del writer.wal[PAGE:]
    (end,) = writer.write(ending(COMMIT, 6))

    assert found_in(functions, bytes(writer.wal), writer.start.value) == (1, end, 6, end, 6, 6)


@both
def test_pages_of_another_position_are_no_wal(functions: Functions) -> None:
    """A recycled segment still has those of its last life."""
    writer = written([ending(COMMIT, 5)])

    assert found_in(functions, bytes(writer.wal), writer.start.value + 16 * MEBIBYTE) is None


@both
def test_another_major_is_not_read(functions: Functions) -> None:
    """Its records may look otherwise."""
    writer = written([ending(COMMIT, 5)])
    writer.wal[0] += 1

    assert found_in(functions, bytes(writer.wal), writer.start.value) is None


@both
@pytest.mark.parametrize("at", [1, 9, 22, 27, 32])
def test_a_commit_with_a_changed_byte_is_none(functions: Functions, at: int) -> None:
    """Length, link, CRC, heads and time: its CRC covers all."""
    writer = written([ending(COMMIT, 5), ending(COMMIT, 6)])
    writer.wal[40 + at] ^= 1

    span = found_in(functions, bytes(writer.wal), writer.start.value)

    assert span is None or span.first_time == 6


@both
@pytest.mark.parametrize("body", [b"", b"\xff", b"\xff\x08", b"\xff\x04abcd", b"\xfe\x08\0\0", b"\xfd\0", b"\x00" * 40])
def test_a_commit_without_a_time_is_none(functions: Functions, body: bytes) -> None:
    """Though its CRC is right."""
    writer = written([record(1, COMMIT, body)])

    assert found_in(functions, bytes(writer.wal), writer.start.value) is None


@pytest.mark.parametrize("start", [-1, 1 << 64])
def test_a_start_that_is_no_lsn_is_refused(start: int) -> None:
    """Before anything is read."""
    with pytest.raises(ValueError, match="expected an LSN"):
        kernel.commits_in(b"", start)


@needs_library
def test_garbage_is_read_alike_and_within_its_bounds() -> None:
    """A page that must not be touched lies behind the bytes; before them, lengths and headers are bent at random."""
    chance = random.Random(11)
    guarded = _Guarded(64 * PAGE)
    for _ in range(400):
        start, wal = _bent(chance)
        view = guarded.holding(wal)
        assert _compiled is not None
        assert _compiled.commits(view, start) == found_in(plain.FUNCTIONS, wal, start)


def _bent(chance: random.Random) -> tuple[int, bytes]:
    writer = Writer()
    for number in range(chance.randrange(40)):
        writer.write(ending(COMMIT, number, more=chance.choice((0, 0, 300, 20_000))), other(chance.randrange(5000)))
    wal = writer.wal[: 60 * PAGE]
    for _ in range(chance.choice((0, 1, 3, 30))):
        if wal:
            at = chance.randrange(len(wal)) if chance.random() < 0.3 else chance.randrange(0, len(wal), PAGE)
            at += chance.choice((0, 2, 8, 16, 17, 24, 40))
            wal[at : at + 4] = chance.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", chance.randbytes(4)))
    first, last = sorted(chance.choice((0, len(wal), chance.randrange(len(wal) + 1))) for _ in range(2))
    return writer.start.value + first, bytes(wal[first:last])


class _Guarded:
    """Memory that ends where nothing may be read."""

    def __init__(self, size: int) -> None:
        self._memory = mmap.mmap(-1, size + mmap.PAGESIZE)
        self._size = size
        self._bytes = np.frombuffer(self._memory, np.uint8)
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        assert libc.mprotect(self._bytes.ctypes.data + size, mmap.PAGESIZE, mmap.PROT_READ * 0) == 0

    def holding(self, content: bytes) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
        """The content, with its last byte before the guard."""
        view = self._bytes[self._size - len(content) : self._size]
        view[:] = np.frombuffer(content, np.uint8)
        return view

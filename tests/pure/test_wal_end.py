"""The end of the last whole record, against WAL laid out by the rules of xlogrecord.h."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from safepoint.model.lsn import Lsn
from safepoint.recovery.wal_end import PAGE, last_record_end

SEGMENT = 1 << 20
START = Lsn(3 * SEGMENT)


def lay_out(lengths: list[int], rest: int = 0) -> tuple[bytes, list[int]]:
    """WAL from the first byte of a segment, and the end of each record in it: `rest` bytes belong to one before."""
    wal, ends = bytearray(), list[int]()
    first = True
    for length in [rest, *lengths] if rest else lengths:
        body = b"" if first and rest else struct.pack("<I", length)
        body += b"r" * (length - len(body))
        is_rest = first and bool(rest)
        first = False
        written = 0
        while written < len(body):
            if len(wal) % PAGE == 0:
                continues = written > 0 or is_rest
                wal += header(len(wal), len(body) - written if continues else 0, continues=continues)
            room = PAGE - len(wal) % PAGE
            wal += body[written : written + room]
            written += room
        wal += b"\0" * (-len(wal) % 8)
        ends.append(len(wal))
    return bytes(wal), ends


def header(at: int, remaining: int, *, continues: bool) -> bytes:
    is_long = at % SEGMENT == 0
    flags = (1 if continues else 0) | (2 if is_long else 0)
    short = struct.pack("<HHIQI4x", 0xD118, flags, 1, START.value + at, remaining)
    return short + (struct.pack("<QII", 7, SEGMENT, PAGE) if is_long else b"")


LENGTHS = st.lists(st.integers(24, 3 * PAGE), min_size=1, max_size=30)


@given(LENGTHS, st.integers(0, 2 * PAGE), st.data())
def test_the_last_whole_record_is_found_wherever_wal_is_cut(lengths: list[int], rest: int, data: st.DataObject) -> None:
    """Records before the cut count, the one the cut goes through does not."""
    wal, ends = lay_out(lengths, rest)
    cut = data.draw(st.integers(0, len(wal)))

    found = last_record_end(wal[:cut], START)

    whole = [end for end in ends if end <= cut + 7]
    if found is None:
        assert not [end for end in ends if end <= cut]
    else:
        assert found - START in {*whole, 40}


@given(LENGTHS)
def test_zeros_behind_the_last_record_are_no_record(lengths: list[int]) -> None:
    """As they stand behind a switch to the next segment."""
    wal, ends = lay_out(lengths)

    assert last_record_end(wal + bytes(PAGE), START) == START + ends[-1]


def test_a_record_that_a_crash_left_unfinished_does_not_hide_those_after_it() -> None:
    """The next page then continues nothing (XLP_FIRST_IS_OVERWRITE_CONTRECORD)."""
    broken, _ = lay_out([PAGE - 40 - 100, 5000])
    after = header(PAGE, 0, continues=False) + struct.pack("<I", 64) + bytes(60)

    assert last_record_end(broken[:PAGE] + after, START) == START + PAGE + 24 + 64


def test_no_wal_has_no_end() -> None:
    """Zeros and nothing are not WAL."""
    assert last_record_end(b"", START) is None
    assert last_record_end(bytes(PAGE), START) is None

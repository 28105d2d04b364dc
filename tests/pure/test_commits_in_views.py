"""Commits are found in WAL wherever it lies: bytes, and memory that others write to before and after."""

from __future__ import annotations

import pytest

from safepoint.kernel import commits_in
from wal_records import COMMIT, ending, other, written


@pytest.mark.parametrize("as_lent", [memoryview, bytearray, lambda wal: memoryview(bytearray(wal))])
def test_a_writable_view_says_what_bytes_say(as_lent: type[memoryview]) -> None:
    """The pusher's buffers are writable, and are not copied."""
    writer = written([ending(COMMIT, 50), other(100), ending(COMMIT, 90)])
    wal, start = bytes(writer.wal), writer.start.value
    expected = commits_in(wal, start)

    assert expected is not None
    assert (expected.first_time, expected.last_time) == (50, 90)
    assert commits_in(as_lent(wal), start) == expected


def test_the_buffer_may_serve_again_at_once() -> None:
    """Nothing holds it: what is resized or written afterwards was not lent for longer than the call."""
    writer = written([ending(COMMIT, 50)])
    buffer = bytearray(writer.wal)
    with memoryview(buffer) as view:
        found = commits_in(view, writer.start.value)
    buffer.clear()

    assert found is not None
    assert found.latest == 50

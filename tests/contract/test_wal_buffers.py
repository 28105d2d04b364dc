"""Files of pg_wal read into memory that serves again."""

from __future__ import annotations

from pathlib import Path

from safepoint.backup.archive import wal_buffers
from safepoint.backup.archive.wal_buffers import WalBuffers


def test_a_shorter_file_shows_nothing_of_the_one_before(tmp_path: Path) -> None:
    """What a buffer held before is never taken for a part of the next file."""
    long, short = tmp_path / "long", tmp_path / "short"
    long.write_bytes(b"l" * 100_000)
    short.write_bytes(b"s" * 10)
    buffers = WalBuffers()
    assert _read(buffers, long) == b"l" * 100_000
    assert _read(buffers, short) == b"s" * 10


def test_two_files_at_once_lie_in_different_memory(tmp_path: Path) -> None:
    """A file that is being looked at is not overwritten by another."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(b"1" * 9000)
    second.write_bytes(b"2" * 9000)
    buffers = WalBuffers()
    with first.open("rb") as one, second.open("rb") as other:  # noqa: SIM117 - the second is read inside the first
        with buffers.content(one.fileno()) as content:
            with buffers.content(other.fileno()) as beside:
                assert bytes(beside) == b"2" * 9000
            assert bytes(content) == b"1" * 9000


def test_a_file_beyond_the_buffers_is_read_whole_and_the_position_stays(tmp_path: Path) -> None:
    """Segments may have up to 1 GB; the helper shares the descriptor's position, so nothing moves it."""
    large = tmp_path / "large"
    content = bytes(range(256)) * (wal_buffers._BUFFER_BYTES // 256) + b"end"
    large.write_bytes(content)
    with large.open("rb", buffering=0) as file:
        file.seek(7)
        with WalBuffers().content(file.fileno()) as found:
            assert bytes(found) == content
        assert file.tell() == 7


def _read(buffers: WalBuffers, path: Path) -> bytes:
    with path.open("rb") as file, buffers.content(file.fileno()) as content:
        return bytes(content)

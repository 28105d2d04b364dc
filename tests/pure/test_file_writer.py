"""Restored files: every byte in its place, whatever the sizes and the pieces, and errors that nobody overlooks."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from safepoint.recovery import file_writer
from safepoint.recovery.file_writer import FileWriter

_MEBIBYTE = 1024 * 1024
_SIZES = (0, 1, 8192, _MEBIBYTE - 1, _MEBIBYTE, 4 * _MEBIBYTE, 4 * _MEBIBYTE + 1, 8 * _MEBIBYTE, 30 * _MEBIBYTE + 8192)
_SAMPLE = os.urandom(max(_SIZES))


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _write(path: Path, size: int, error: Exception | None = None) -> None:
    with FileWriter() as writer:
        writer.begin(path)
        writer.write(memoryview(_SAMPLE)[:size])
        if error is not None:
            raise error


@pytest.mark.parametrize("piece", [8192, 256 * 1024, 5 * _MEBIBYTE])
def test_files_of_every_size_are_written_whole(tmp_path: Path, piece: int) -> None:
    """One after another, in pieces of any size; nothing stays open."""
    before = _open_files()

    with FileWriter() as writer:
        for size in _SIZES:
            writer.begin(tmp_path / str(size))
            for start in range(0, size, piece):
                writer.write(memoryview(_SAMPLE)[start : min(start + piece, size)])

    for size in _SIZES:
        assert (tmp_path / str(size)).read_bytes() == _SAMPLE[:size]
        assert (tmp_path / str(size)).stat().st_mode & 0o777 == 0o600
    assert _open_files() == before


def test_what_was_there_before_is_gone(tmp_path: Path) -> None:
    """A shorter file leaves no end of a longer one."""
    (tmp_path / "file").write_bytes(bytes(5 * _MEBIBYTE))

    _write(tmp_path / "file", 5)

    assert (tmp_path / "file").read_bytes() == _SAMPLE[:5]


@pytest.mark.parametrize("size", [8192, 2 * _MEBIBYTE, 30 * _MEBIBYTE])
def test_a_write_that_fails_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """In the thread or not, by the last file or one before: at the latest when the context is left."""

    def refuse(descriptor: int, content: memoryview) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(file_writer, "write_past_cache", refuse)
    monkeypatch.setattr(file_writer, "write_all", refuse)
    before = _open_files()

    with pytest.raises(OSError, match="No space left"):
        _write(tmp_path / "file", size)

    assert _open_files() == before


def test_the_callers_own_error_is_the_one_that_is_raised(tmp_path: Path) -> None:
    """What is half written is closed and left to whoever marked the directory."""
    before = _open_files()

    with pytest.raises(LookupError):
        _write(tmp_path / "file", len(_SAMPLE), LookupError())

    assert _open_files() == before

"""Writing past the page cache: every byte arrives, whatever the file system, the length and the memory allow."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from safepoint import files
from safepoint.buffers import Buffers

_MEBIBYTE = 1024 * 1024
_SAMPLE = os.urandom(_MEBIBYTE)
_LENGTHS = (0, 1, 4095, 4096, 4097, _MEBIBYTE - 1, _MEBIBYTE)


def _write(path: Path, content: bytes | memoryview) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        files.write_past_cache(descriptor, content)
        os.write(descriptor, b"the end")  # plain again: neither its memory nor its place is aligned
    finally:
        os.close(descriptor)


@pytest.fixture(params=["disk", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """On a disk, and in memory, where there is no cache to go past."""
    return tmp_path if request.param == "disk" else request.getfixturevalue("folder_in_memory")


@pytest.fixture
def folder_in_memory() -> Iterator[Path]:
    """A folder of a tmpfs."""
    path = Path("/dev/shm") / f"safepoint-test-{os.getpid()}"
    if not path.parent.is_dir():
        pytest.skip("there is no /dev/shm: run it on Linux")
    path.mkdir()
    yield path
    shutil.rmtree(path)


@pytest.mark.parametrize("length", _LENGTHS)
def test_every_byte_arrives_from_aligned_memory(folder: Path, length: int) -> None:
    """Whole blocks and what is left over; the descriptor is an ordinary one afterwards."""
    buffer = Buffers(_MEBIBYTE).take()
    buffer.write(_SAMPLE)

    _write(folder / "file", memoryview(buffer)[:length])

    assert (folder / "file").read_bytes() == _SAMPLE[:length] + b"the end"


@pytest.mark.parametrize("length", _LENGTHS)
def test_every_byte_arrives_from_other_memory(folder: Path, length: int) -> None:
    """Where the kernel refuses such memory the bytes go through the cache."""
    _write(folder / "file", memoryview(b"x" + _SAMPLE)[1 : 1 + length])

    assert (folder / "file").read_bytes() == _SAMPLE[:length] + b"the end"


def test_a_write_that_stops_between_blocks_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A short write leaves the descriptor where direct writes are refused: the rest goes through the cache."""
    buffer = Buffers(_MEBIBYTE).take()
    buffer.write(_SAMPLE)
    really_write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: really_write(descriptor, bytes(data[:5000])))

    _write(tmp_path / "file", memoryview(buffer))

    assert (tmp_path / "file").read_bytes() == _SAMPLE + b"the end"


def test_a_full_disk_is_not_mistaken_for_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only EINVAL means that this way of writing is not to be had; anything else is raised."""

    def refuse(descriptor: int, data: memoryview) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", refuse)

    with pytest.raises(OSError, match="No space left"):
        _write(tmp_path / "file", memoryview(Buffers(_MEBIBYTE).take()))


def test_a_buffer_is_lent_to_one_at_a_time() -> None:
    """What was given back is lent again, from its start; what is out is not."""
    buffers = Buffers(8192)
    first, second = buffers.take(), buffers.take()
    first.write(b"x" * 100)

    buffers.give_back(first)
    third, fourth = buffers.take(), buffers.take()

    assert third is first
    assert third.tell() == 0
    assert len({id(buffer) for buffer in (second, third, fourth)}) == 3
    assert [len(buffer) for buffer in (second, third, fourth)] == [8192] * 3

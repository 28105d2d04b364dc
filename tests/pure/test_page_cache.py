"""What a restore leaves in memory before replay begins to write here and there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from safepoint.recovery.page_cache import forget_files

_BYTES = 4 * 1024 * 1024

pytestmark = pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="nothing here says what is in the page cache")


def test_large_files_below_are_forgotten_those_of_linked_tablespaces_too(tmp_path: Path) -> None:
    """After a proof has read every file, none of its pages is in memory: the next reader has them in small pieces."""
    data, tablespace = tmp_path / "data", tmp_path / "fast"
    inner, outer = data / "base/5/16384", tablespace / "PG_15_202209061/5/16385"
    for path in (inner, outer):
        _write(path)
    (data / "pg_tblspc").mkdir()
    (data / "pg_tblspc/16400").symlink_to(tablespace)
    if not (_is_in_memory(inner) and _is_in_memory(outer)):
        pytest.skip("this file system does not say what is in memory")

    forget_files(data)

    assert not _is_in_memory(inner)
    assert not _is_in_memory(outer)
    assert inner.read_bytes() == outer.read_bytes() == b"x" * _BYTES


def test_what_cannot_be_opened_is_no_error(tmp_path: Path) -> None:
    """A link that leads nowhere, a pipe, an empty file and a directory that is not there: it is about speed alone."""
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").touch()

    forget_files(tmp_path)
    forget_files(tmp_path / "missing")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "nowhere", "pipe"]


def _write(path: Path) -> None:
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        file.write(b"x" * _BYTES)
        os.fsync(file.fileno())


def _is_in_memory(path: Path) -> bool:
    """Whether its first page is, by a read that may not wait for the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.preadv(descriptor, [bytearray(4096)], 0, os.RWF_NOWAIT) > 0
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)

"""Objects put from memory that serves again, over every store; and files taken in from descriptors."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from repository_samples import (
    CLUSTER,
    DATABASE,
    assert_proven,
    make_repository,
    read_files,
    sample_manifest,
    with_files,
)
from safepoint.buffers import Buffers
from safepoint.repository.maps.intake import BATCH_BYTES
from safepoint.repository.maps.shape import INLINE_BYTES, PAGE_BYTES
from safepoint.stores import MemoryStore, Store

_MEBIBYTE = 1024 * 1024
_SIZES = (0, 1, INLINE_BYTES, INLINE_BYTES + 1, BATCH_BYTES - 1, BATCH_BYTES, BATCH_BYTES + 1, 2 * BATCH_BYTES)


@pytest.mark.parametrize("size", [_MEBIBYTE - 1, _MEBIBYTE, 2 * _MEBIBYTE + 4097])
def test_an_object_stays_when_its_memory_serves_another(store: Store, size: int) -> None:
    """Put, durable or not, from a buffer that is written to again at once."""
    buffer, content = Buffers(3 * _MEBIBYTE).take(), os.urandom(size)
    for is_durable in (True, False):
        buffer[:size] = content
        assert store.put_if_absent(f"large/{is_durable}", memoryview(buffer)[:size], durable=is_durable)
        assert not store.put_if_absent(f"large/{is_durable}", memoryview(buffer)[:size], durable=is_durable)
        buffer[:size] = bytes(size)
    store.barrier()

    assert store.get("large/True") == store.get("large/False") == content
    assert store.get_range("large/True", size - 5, 10) == content[-5:]


def test_files_are_taken_in_from_descriptors(tmp_path: Path) -> None:
    """From where the descriptor stands to the end of the file, of every size, also behind bytes that were written."""
    repository = make_repository(MemoryStore(), None)
    contents = {f"base/{size}": os.urandom(size) for size in _SIZES}

    with repository.write_backup(database=DATABASE, cluster=CLUSTER) as writer:
        for path, content in contents.items():
            (tmp_path / "file").write_bytes(content)
            descriptor = os.open(tmp_path / "file", os.O_RDONLY)
            with writer.ingest.file(path, mode=0o600) as file:
                file.write(os.read(descriptor, PAGE_BYTES + 1))
                file.read_from(descriptor)
            os.close(descriptor)
        manifest = with_files(sample_manifest("x"), writer.ingest.finish())
        writer.commit(manifest)

    assert {path: data for path, data in contents.items() if data} == {
        path: data for path, data in read_files(repository, manifest).items() if data
    }
    assert_proven(repository)


def test_a_file_ends_where_reading_finds_its_end() -> None:
    """A pipe tells no size beforehand and gives little at a time."""
    repository = make_repository(MemoryStore(), None)
    content = os.urandom(100_001)
    source, target = os.pipe()

    def feed() -> None:
        for start in range(0, len(content), 77):
            os.write(target, content[start : start + 77])
        os.close(target)

    feeder = threading.Thread(target=feed)
    feeder.start()
    with repository.write_backup(database=DATABASE, cluster=CLUSTER) as writer:
        with writer.ingest.file("base/1", mode=0o600) as file:
            file.read_from(source)
        os.close(source)
        feeder.join()
        manifest = with_files(sample_manifest("x"), writer.ingest.finish())
        writer.commit(manifest)

    assert read_files(repository, manifest) == {"base/1": content}

"""Taking in: what cannot be right is refused, and every byte that is stored can be looked at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ingest_model import (
    LARGE,
    by_pages,
    pages_of,
    take,
    whole,
    with_pages,
)
from repository_samples import (
    CLUSTER,
    DATABASE,
    MEBIBYTE,
    assert_proven,
    back_up,
    make_repository,
    read_files,
    sample_files,
    take_files,
)
from safepoint.repository import Ingest, Repository
from safepoint.repository.maps.intake import BATCH_BYTES
from safepoint.repository.maps.shape import PAGE_BYTES
from safepoint.stores import FolderStore, MemoryStore


@pytest.fixture
def repository() -> Repository:
    """An open repository in memory."""
    return make_repository(MemoryStore(), None)


@pytest.mark.parametrize(
    ("size", "pages"),
    [
        pytest.param(len(LARGE), [(3, b"x" * PAGE_BYTES), (3, b"y" * PAGE_BYTES)], id="twice"),
        pytest.param(len(LARGE), [(4, b"x" * PAGE_BYTES), (3, b"y" * PAGE_BYTES)], id="descending"),
        pytest.param(len(LARGE), [(-1, b"x" * PAGE_BYTES)], id="negative"),
        pytest.param(len(LARGE), [(3, b"x" * (PAGE_BYTES + 1))], id="too long"),
        pytest.param(len(LARGE), [(3, b"x")], id="too short"),
        pytest.param(len(LARGE), [(3, b"")], id="empty"),
        pytest.param(len(LARGE), [(len(LARGE) // PAGE_BYTES, b"x")], id="beyond the end"),
        pytest.param(len(LARGE) + 1, [], id="grown, nothing named"),
        pytest.param(len(LARGE) + 1, [(3, b"x" * PAGE_BYTES)], id="grown, the last page not named"),
        pytest.param(len(LARGE) + 2 * PAGE_BYTES, [(129, b"x" * PAGE_BYTES)], id="grown, one of two named"),
        pytest.param(len(LARGE) - 1, [], id="cut within a page"),
        pytest.param(70_000 - 1, [(0, b"x" * PAGE_BYTES)], id="cut far within a page"),
        pytest.param(10_000, [(0, b"x" * PAGE_BYTES)], id="became small, the last page not named"),
    ],
)
def test_pages_that_cannot_be_right_are_refused(
    repository: Repository, size: int, pages: list[tuple[int, bytes]]
) -> None:
    """ValueError, and the backup goes on without the file."""
    first = take(repository, whole("base/1", LARGE))

    def fill(ingest: Ingest) -> None:
        with pytest.raises(ValueError, match="expected"):
            ingest.changed_pages("base/1", mode=0o600, size=size, pages=pages)
        take_files(ingest, {"other": b"x"})

    second = take(repository, fill, first, "second")

    assert read_files(repository, second) == {"other": b"x"}


@pytest.mark.parametrize("size", [100, 70_000, 3 * MEBIBYTE])
def test_without_a_parent_all_pages_must_be_named(repository: Repository, size: int) -> None:
    """With them it is a new file; with one missing it is refused."""
    content = LARGE[:size] + bytes(max(size - len(LARGE), 0))
    pages = list(enumerate(pages_of(content)))

    def fill(ingest: Ingest) -> None:
        ingest.changed_pages("whole", mode=0o600, size=size, pages=pages)
        for missing in {0, len(pages) // 2, len(pages) - 1}:
            named = [page for page in pages if page[0] != missing]
            with pytest.raises(ValueError, match=f"found page {missing} of 'holes' not named"):
                ingest.changed_pages("holes", mode=0o600, size=size, pages=named)

    manifest = take(repository, fill)

    assert read_files(repository, manifest) == {"whole": content}


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "base/../../x", "", "base//x", "./x", "base/", "a\0b"])
def test_a_path_that_leads_outside_is_refused(repository: Repository, path: str) -> None:
    """Restores write where paths say."""

    def fail(take_in: Callable[[Ingest], None]) -> None:
        with repository.write_backup(database=DATABASE, cluster=CLUSTER) as writer:
            take_in(writer.ingest)
            writer.ingest.finish()

    for take_in in (whole(path, b"x"), lambda ingest: ingest.directory(path, 0o700)):
        with pytest.raises(ValueError, match="expected one below the directory"):
            fail(take_in)


def test_a_path_is_taken_in_once(repository: Repository) -> None:
    """By whatever way, also while the first is still being stored."""
    first = take(repository, whole("base/1", LARGE))
    ways: list[Callable[[Ingest], object]] = [
        whole("base/1", LARGE),
        by_pages("base/1", LARGE, LARGE),
        lambda ingest: ingest.unchanged("base/1"),
        lambda ingest: ingest.directory("base/1", 0o700),
    ]

    def twice(ingest: Ingest, way: Callable[[Ingest], object], other: Callable[[Ingest], object]) -> None:
        way(ingest)
        other(ingest)
        ingest.drain()

    for way in ways:
        for other in ways:
            with (
                repository.write_backup(database=DATABASE, cluster=CLUSTER, parent=first) as writer,
                pytest.raises(ValueError, match="twice in one backup"),
            ):
                twice(writer.ingest, way, other)


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 9 * MEBIBYTE + 3])
def test_every_byte_is_inspected_once(repository: Repository, size: int) -> None:
    """At its offset, before the backup is finished, also where nothing changed."""
    content = (LARGE * 10)[:size]
    seen: list[tuple[int, bytes]] = []

    def inspect(data: memoryview, offset: int) -> None:
        seen.append((offset, bytes(data)))

    def fill(ingest: Ingest) -> None:
        with ingest.file("base/1", mode=0o600, inspect=inspect) as file:
            file.write(content)

    parent = None
    for number in range(2):
        seen.clear()
        parent = take(repository, fill, parent, str(number))

        seen.sort()
        assert [offset for offset, _ in seen] == list(range(0, size, BATCH_BYTES))
        assert b"".join(data for _, data in seen) == content


def test_what_an_inspection_raises_ends_the_backup(repository: Repository) -> None:
    """Large or small: it reaches whoever writes the file or finishes, and there is no backup."""

    def refuse(data: memoryview, offset: int) -> None:
        raise LookupError(f"found {len(data)} bytes at {offset}")

    def fill(ingest: Ingest, size: int) -> None:
        with ingest.file("base/1", mode=0o600, inspect=refuse) as file:
            file.write(LARGE[:size])

    for size in (100, len(LARGE)):
        with pytest.raises(LookupError):
            take(repository, lambda ingest, size=size: fill(ingest, size))

    assert repository.backups() == ()


def test_what_was_handed_over_may_change_at_once(repository: Repository) -> None:
    """Callers reuse their buffers."""

    def fill(ingest: Ingest) -> None:
        buffer = bytearray(5 * MEBIBYTE)
        with ingest.file("base/1", mode=0o600) as file:
            for number in range(6):
                buffer[:] = bytes([number]) * len(buffer)
                file.write(buffer)
                buffer[:] = bytes(len(buffer))

    manifest = take(repository, fill)

    expected = b"".join(bytes([number]) * 5 * MEBIBYTE for number in range(6))
    assert read_files(repository, manifest) == {"base/1": expected}


def test_a_folder_keeps_what_memory_keeps(tmp_path: Path) -> None:
    """The same through files and their barriers."""
    repository = make_repository(FolderStore(tmp_path / "store"), None)
    first = back_up(repository, {**sample_files(), "base/1": LARGE}, "first")
    after = with_pages(LARGE, {3: b"x" * PAGE_BYTES})

    second = take(repository, by_pages("base/1", LARGE, after), first, "second")

    assert read_files(repository, second) == {"base/1": after}
    assert_proven(repository)

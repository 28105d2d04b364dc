"""Reading backups: with the rights of a reader alone, in bounded memory, by few requests however old the backups."""

from __future__ import annotations

import random
import tracemalloc
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from guarded_stores import GuardedStore, let_pass, let_readers_pass
from repository_samples import (
    BACKUP,
    CLUSTER,
    DATABASE,
    MEBIBYTE,
    assert_proven,
    back_up,
    fill,
    make_repository,
    read_files,
    sample_files,
    sample_manifest,
    snapshot,
    with_files,
)
from safepoint.model.backup import BackupManifest
from safepoint.model.secret import Secret
from safepoint.repository import BackupFiles, Entry, EntryKind, Places, Repository, open_repository
from safepoint.repository.maps import assembly
from safepoint.repository.maps.files import OpenFile, PageCache
from safepoint.repository.maps.shape import GROUP_BYTES, PAGE_BYTES
from safepoint.repository.packs import reader, windows
from safepoint.repository.packs.windows import Windows
from safepoint.stores import FolderStore, MemoryStore, Store

_WINDOW = 600 * 1024  # holds two blobs
_SIZE = 48 * MEBIBYTE
_PAGES = _SIZE // PAGE_BYTES
_DAYS = 30
_CHANGED_PER_DAY = _PAGES // 100


def test_a_reader_writes_nothing(store: Store, passphrase: Secret | None, tmp_path: Path) -> None:
    """Opening, listing, reading whole and at random need no put, delete or barrier, nor a folder of the reader's."""
    fill(make_repository(store, passphrase))
    place = snapshot(tmp_path)

    repository = open_repository(GuardedStore(store, let_readers_pass), passphrase)
    (manifest,) = repository.backups()

    assert repository.readable_backups() == ((manifest,), ())
    assert repository.backup(BACKUP) == manifest
    assert read_files(repository, manifest) == sample_files()
    assert (
        repository.open_file(manifest, "base/5/16385").read(290_000, 20_000) == sample_files()["base/5/16385"][290_000:]
    )
    assert repository.files(manifest).find("no/such/file") is None
    assert_proven(repository)
    assert snapshot(tmp_path) == place


def test_a_reader_of_a_folder_needs_no_right_to_write(tmp_path: Path) -> None:
    """Not even to touch a file's time of access through a lock."""
    folder = tmp_path / "store"
    manifest = fill(make_repository(FolderStore(folder), None))
    before = snapshot(folder)

    repository = open_repository(FolderStore(folder), None, places=Places(cache=tmp_path / "cache"))

    assert read_files(repository, manifest) == sample_files()
    assert snapshot(folder) == before


def test_a_listing_in_order_holds_directories_too(tmp_path: Path) -> None:
    """By the bytes of their paths."""
    repository = make_repository(MemoryStore(), None)
    manifest = back_up(repository, {"b/2": b"x", "b-1": b"y", "a": b""})

    found = [(entry.path, entry.kind) for entry in repository.files(manifest).entries()]

    assert found == [
        ("a", EntryKind.FILE),
        ("b", EntryKind.DIRECTORY),
        ("b-1", EntryKind.FILE),
        ("b/2", EntryKind.FILE),
    ]


def test_only_some_files_are_read(tmp_path: Path) -> None:
    """In the order in which they are asked for, also twice."""
    repository = make_repository(MemoryStore(), None)
    manifest = back_up(repository, expected := sample_files())
    files = repository.files(manifest)
    asked = ["global/1260", "base/5/16385", "PG_VERSION", "base/5/16385"]

    pieces = [(entry.path, offset, bytes(data)) for entry, offset, data in files.contents(map(files.entry, asked))]

    begun = [path for path, offset, _ in pieces if offset == 0]
    assert begun == ["base/5/16385", "PG_VERSION", "base/5/16385"]
    assert b"".join(data for _, _, data in pieces) == b"".join(expected[path] for path in asked)


def test_a_reader_that_stops_early_leaves_nothing_running() -> None:
    """Closing what gives the contents ends its threads; another may then read all."""
    repository = make_repository(MemoryStore(), None)
    manifest = back_up(repository, {"large": random.Random(1).randbytes(5 * MEBIBYTE)})
    files = repository.files(manifest)

    contents = files.contents(files.entries())
    next(contents)
    del contents

    assert sum(len(data) for _, _, data in files.contents(files.entries())) == 5 * MEBIBYTE


@dataclass(frozen=True, slots=True, kw_only=True)
class Month:
    """A file of 48 MiB that was backed up each day for a month, one page in a hundred changed."""

    repository: Repository
    calls: Counter[str]
    backups: list[BackupManifest]
    content: bytes


@pytest.fixture(scope="module")
def month() -> Month:
    """Thirty backups, each of the changed pages alone; half of the changes fall on a tenth of the file."""
    calls = Counter[str]()
    store = GuardedStore(MemoryStore(), let_pass)
    repository = make_repository(store, None)
    source = random.Random(30)
    content = bytearray(source.randbytes(_SIZE))
    backups: list[BackupManifest] = []
    for day in range(_DAYS):
        numbers = {source.randrange(_PAGES if count % 2 else _PAGES // 10) for count in range(_CHANGED_PER_DAY)}
        pages = [(number, source.randbytes(PAGE_BYTES)) for number in sorted(numbers)] if day else []
        for number, page in pages:
            content[number * PAGE_BYTES : (number + 1) * PAGE_BYTES] = page
        backups.append(_back_up(repository, backups, bytes(content), pages))

    def count(call: str, name: str) -> None:
        del name
        calls.update([call])

    store.guard = count
    return Month(repository=repository, calls=calls, backups=backups, content=bytes(content))


def _back_up(
    repository: Repository, backups: list[BackupManifest], content: bytes, pages: list[tuple[int, bytes]]
) -> BackupManifest:
    parent = backups[-1] if backups else None
    with repository.write_backup(database=DATABASE, cluster=CLUSTER, parent=parent) as writer:
        if parent is None:
            with writer.ingest.file("base/1", mode=0o600) as file:
                file.write(content)
        else:
            writer.ingest.changed_pages("base/1", mode=0o600, size=_SIZE, pages=pages)
        manifest = with_files(sample_manifest(str(len(backups))), writer.ingest.finish())
        writer.commit(manifest)
    return manifest


def _bound_tightly(monkeypatch: pytest.MonkeyPatch, window: int) -> None:
    """Fetches so much at once, and holds as much less as that is less than usual."""
    scale = windows.WINDOW_BYTES // window
    monkeypatch.setattr(windows, "WINDOW_BYTES", window)
    monkeypatch.setattr(Windows.__init__, "__kwdefaults__", {"most_bytes": windows.MOST_BYTES // scale})
    monkeypatch.setattr(reader, "_PLANNED_BATCHES", reader._PLANNED_BATCHES // scale)
    monkeypatch.setattr(assembly, "_HELD_BYTES", assembly._HELD_BYTES // scale)


def _read(month: Month, manifest: BackupManifest) -> int:
    """Reads all of it and returns how many requests that took."""
    month.calls.clear()
    files = month.repository.files(manifest)
    assert sum(len(data) for _, _, data in files.contents(files.entries())) == _SIZE
    return month.calls.total()


def test_a_month_of_backups_costs_few_more_requests(month: Month, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last of thirty is read by at most half as many requests again as the first.

    With windows of two blobs: two are to what a day stores here as the usual sixteen are to 4 MiB of a large database.
    """
    _bound_tightly(monkeypatch, _WINDOW)

    first, last = _read(month, month.backups[0]), _read(month, month.backups[-1])

    assert first < 1.2 * _SIZE / (2 * GROUP_BYTES)
    assert last <= 1.5 * first
    assert month.repository.open_file(month.backups[-1], "base/1").read(0, _SIZE) == month.content


def test_reading_takes_bounded_memory(month: Month, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four times as much of the last of thirty backups is read in about as much memory as once."""
    _bound_tightly(monkeypatch, 128 * 1024)
    files = month.repository.files(month.backups[-1])
    entries = [files.entry("base/1")]

    once, often = _peak_of_reading(files, entries), _peak_of_reading(files, entries * 4)

    assert once < _SIZE
    assert often < 1.5 * once


def _peak_of_reading(files: BackupFiles, entries: list[Entry]) -> int:
    tracemalloc.start()
    try:
        assert sum(len(data) for _, _, data in files.contents(entries)) == _SIZE * len(entries)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_pages_and_blobs_are_kept_up_to_a_bound(month: Month) -> None:
    """Those used last cost no request; older ones are fetched again."""
    files = month.repository.files(month.backups[0])
    files.cache = PageCache(month.repository.blobs, most_pages=2, most_bytes=2 * GROUP_BYTES)
    file = OpenFile(files, files.entry("base/1"))
    file.read(0, 10)

    def requests(*places: int) -> int:
        month.calls.clear()
        for place in places:
            assert len(file.read(place, 100)) == 100
        return month.calls["get_range"]

    one, two, three = 0, GROUP_BYTES, 2 * GROUP_BYTES
    assert requests(one) == 0
    assert requests(two) == 1
    assert requests(one, two, one + PAGE_BYTES, two + PAGE_BYTES) == 0  # other pages of the same blobs
    assert requests(three, three + PAGE_BYTES, three) == 1
    assert requests(two) == 0
    assert requests(one) == 1
    assert requests(one, two) == 0
    assert requests(three) == 1

"""Taking in: whatever the files do, every backup reads back equal, and only what changed is stored."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from ingest_model import (
    BOTH_WAYS,
    LARGE,
    IngestModel,
    given,
    pages_of,
    take,
    use_small_chunks,
    whole,
    with_pages,
)
from repository_samples import (
    CLUSTER,
    DATABASE,
    MEBIBYTE,
    Files,
    assert_proven,
    back_up,
    commit_manifest,
    make_repository,
    read_files,
    sample_files,
    sample_manifest,
    take_files,
    with_files,
)
from safepoint.model.backup import BackupManifest
from safepoint.repository import Ingest, Repository
from safepoint.repository.commit.leases import list_packs
from safepoint.repository.maps import page_map
from safepoint.repository.maps.intake import BATCH_BYTES
from safepoint.repository.maps.page_map import PageMap
from safepoint.repository.maps.references import References
from safepoint.repository.maps.shape import (
    CHUNK_BYTES,
    GROUP_BYTES,
    GROUP_PAGES,
    INLINE_BYTES,
    MOST_GROUP_BLOBS,
    PAGE_BYTES,
)
from safepoint.repository.names import pack_name
from safepoint.repository.packs.pack import BlobKind
from safepoint.stores import MemoryStore


@pytest.fixture
def repository() -> Repository:
    """An open repository in memory."""
    return make_repository(MemoryStore(), None)


def page_map_of(repository: Repository, manifest: BackupManifest, path: str, chunk: int = 0) -> PageMap:
    """The map of a file's chunk."""
    files = repository.files(manifest)
    entry = files.entry(path)
    return files.page_map(entry.chunks[chunk].map, len(pages_of(bytes(min(entry.size, CHUNK_BYTES)))))


# The model.


@pytest.mark.parametrize("seed", range(6))
def test_every_backup_reads_back_whatever_the_files_did(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Growing, shrinking within a page, truncated and grown again, scattered and dense changes, whole or by pages, on
    top of any backup; after each backup all others read back too.
    """  # noqa: D205 - one sentence
    use_small_chunks(monkeypatch)
    model = IngestModel(repository=make_repository(MemoryStore(), None), rng=random.Random(seed))
    for _ in range(9):
        model.step()
        model.require_all()
        model.expire_some()
    model.require_all()
    assert_proven(model.repository)


def test_a_file_across_the_boundary_of_chunks(repository: Repository) -> None:
    """With the format's own chunks of 256 MiB: the last page of one, the first of the next, and a short last page."""
    size = CHUNK_BYTES + 2 * PAGE_BYTES + 5
    edges = {CHUNK_BYTES - PAGE_BYTES: b"last", CHUNK_BYTES: b"first", size - 4: b"ends"}

    def fill(ingest: Ingest) -> None:
        piece = bytearray(64 * MEBIBYTE)
        with ingest.file("base/1", mode=0o600) as file:
            for start in range(0, CHUNK_BYTES, len(piece)):
                last = bytes(piece[:-PAGE_BYTES]) + b"last" + bytes(PAGE_BYTES - 4)
                file.write(last if start + len(piece) == CHUNK_BYTES else piece)
            file.write(b"first" + bytes(2 * PAGE_BYTES - 4) + b"ends")

    first = take(repository, fill)
    grown = [(CHUNK_BYTES // PAGE_BYTES + 2, b"12345678"), (CHUNK_BYTES // PAGE_BYTES + 3, b"z")]
    pages = [(grown[0][0], b"x" * PAGE_BYTES), grown[1]]
    second = take(
        repository,
        lambda ingest: ingest.changed_pages("base/1", mode=0o600, size=CHUNK_BYTES + 3 * PAGE_BYTES + 1, pages=pages),
        first,
    )
    third = take(
        repository, lambda ingest: ingest.changed_pages("base/1", mode=0o600, size=CHUNK_BYTES, pages=[]), second
    )

    file = repository.open_file(first, "base/1")
    assert file.size == size
    for offset, content in edges.items():
        assert file.read(offset, len(content)) == content
    assert file.read(CHUNK_BYTES - PAGE_BYTES - 2, 6) == b"\0\0last"
    assert repository.open_file(second, "base/1").read(CHUNK_BYTES + 2 * PAGE_BYTES - 1, 99_999) == (
        b"\0" + b"x" * PAGE_BYTES + b"z"
    )
    assert repository.open_file(third, "base/1").size == CHUNK_BYTES
    assert repository.open_file(third, "base/1").read(CHUNK_BYTES - PAGE_BYTES, 9) == b"last" + bytes(5)
    assert first.added_bytes < MEBIBYTE
    assert len(repository.files(third).entry("base/1").chunks) == 1


def test_files_are_read_from_where_they_lie(repository: Repository, tmp_path: Path) -> None:
    """Empty ones, small ones, and those on both sides of where small ends; all is looked at, in its place."""
    source = random.Random(5)
    sizes = (0, 1, PAGE_BYTES, INLINE_BYTES - 1, INLINE_BYTES, INLINE_BYTES + 1, BATCH_BYTES + 9)
    files = {f"of-{size}": source.randbytes(size) for size in sizes}
    seen: dict[str, bytearray] = {path: bytearray(len(content)) for path, content in files.items()}

    def look(path: str, data: memoryview, offset: int) -> None:
        seen[path][offset : offset + len(data)] = data

    def fill(ingest: Ingest) -> None:
        for path, content in files.items():
            (tmp_path / path).write_bytes(content)
            ingest.read_file(path, str(tmp_path / path), mode=0o600, inspect=partial(look, path))

    manifest = take(repository, fill)

    assert read_files(repository, manifest) == files
    assert seen == files


def test_a_file_that_cannot_be_read_is_no_part_of_the_backup(repository: Repository, tmp_path: Path) -> None:
    """Its path stays free: the caller, to whom the error goes, may give what takes its place."""

    def fill(ingest: Ingest) -> None:
        with pytest.raises(FileNotFoundError):
            ingest.read_file("f", str(tmp_path / "gone"), mode=0o600)
        take_files(ingest, {"f": b"instead"})

    manifest = take(repository, fill)

    assert read_files(repository, manifest) == {"f": b"instead"}


# What is stored.


@pytest.mark.parametrize("has_parent", [True, False])
def test_the_same_files_again_add_nothing(repository: Repository, has_parent: bool) -> None:
    """Compared with the parent, or found by what is indexed."""
    files = {**sample_files(), "base/1": LARGE}
    first = back_up(repository, files, "first")

    second = back_up(repository, files, "second", parent=first if has_parent else None)

    assert second.added_bytes <= (0 if has_parent else first.added_bytes / 100)
    assert read_files(repository, second) == files


def test_one_page_of_a_large_file_costs_one_page(repository: Repository) -> None:
    """And the changes to its map, its fingerprints and its listing."""
    first = take(repository, whole("base/1", LARGE))
    after = with_pages(LARGE, {77: random.Random(1).randbytes(PAGE_BYTES)})

    second = take(repository, whole("base/1", after), first)

    assert PAGE_BYTES < second.added_bytes < PAGE_BYTES + 2000
    assert read_files(repository, second) == {"base/1": after}


def test_another_database_of_the_same_cluster_shares_what_is_stored(repository: Repository) -> None:
    """As a copy of production under another name does: nothing is stored twice, and each backup is whole."""
    files = {**sample_files(), "base/1": LARGE}
    first = back_up(repository, files, "first")

    other = commit_manifest(repository, replace(sample_manifest("other"), database="copy"), files)

    assert other.added_bytes < first.added_bytes / 100
    repository.expire_backup("first", reason="a test")
    assert read_files(repository, other) == files


def test_two_clusters_in_one_repository_keep_apart(repository: Repository) -> None:
    """The same paths with other bytes, in turn, each on top of its own."""
    parents: dict[str, BackupManifest | None] = {"1": None, "2": None}
    expected: dict[str, Files] = {}
    for seed in range(4):
        cluster = "12"[seed % 2]
        like = replace(sample_manifest(f"{cluster}-{seed}"), system_identifier=cluster)
        made = commit_manifest(repository, like, files := sample_files(seed), parent=parents[cluster])
        parents[cluster], expected[made.id] = made, files

    for backup in repository.backups():
        assert read_files(repository, backup) == expected[backup.id]


def test_identical_files_are_stored_once(repository: Repository) -> None:
    """Ten of them cost one and ten entries, when those after the first come after it."""
    one = take(repository, whole("0", LARGE))
    other = make_repository(MemoryStore(), None)

    def fill(ingest: Ingest) -> None:
        take_files(ingest, {"0": LARGE})
        ingest.drain()
        take_files(ingest, {str(number): LARGE for number in range(1, 10)})

    ten = take(other, fill)

    assert ten.added_bytes < one.added_bytes + 1000
    assert set(read_files(other, ten).values()) == {LARGE}


@BOTH_WAYS
@pytest.mark.parametrize(("changed", "is_whole"), [(GROUP_PAGES // 2, False), (GROUP_PAGES // 2 + 1, True)])
def test_a_group_is_written_whole_when_more_than_half_of_it_changed(
    repository: Repository, way: str, changed: int, is_whole: bool
) -> None:
    """Then its pages lie in one blob again."""
    first = take(repository, whole("base/1", LARGE))
    source = random.Random(changed)
    after = with_pages(LARGE, {GROUP_PAGES + number: source.randbytes(PAGE_BYTES) for number in range(changed)})

    second = take(repository, given(way, LARGE, after), first)

    counts = page_map.blob_counts(page_map_of(repository, second, "base/1")).tolist()
    assert counts[:4] == [1, 1 if is_whole else 2, 1, 1]
    assert read_files(repository, second) == {"base/1": after}


def test_a_group_is_written_whole_before_it_is_spread_over_many_blobs(repository: Repository) -> None:
    """One page of it changes with each backup, and its pages never lie in more than 16 blobs.

    One more is let pass: the patches of a backup may be cut within the group.
    """
    content, source = LARGE, random.Random(5)
    manifest = take(repository, whole("base/1", content))
    counts: list[int] = []
    for number in range(40):
        after = with_pages(content, {number % GROUP_PAGES: source.randbytes(PAGE_BYTES)})
        manifest = take(repository, given("whole" if number % 2 else "by pages", content, after), manifest, str(number))
        content = after
        counts.append(int(page_map.blob_counts(page_map_of(repository, manifest, "base/1"))[0]))

    assert max(counts) <= MOST_GROUP_BLOBS + 1
    assert counts.count(1) == 2
    assert read_files(repository, manifest) == {"base/1": content}


# Parents.


def test_a_parent_that_was_expired_is_not_built_upon(repository: Repository) -> None:
    """It counts as none: the backup is whole by itself, and nothing can be taken over unseen."""
    files = {"base/1": LARGE}
    first = back_up(repository, files, "first")
    repository.expire_backup("first", reason="a test")

    with repository.write_backup(database=DATABASE, cluster=CLUSTER, parent=first) as writer:
        with pytest.raises(KeyError):
            writer.ingest.unchanged("base/1")
        take_files(writer.ingest, files)
        second = with_files(sample_manifest("second"), writer.ingest.finish())
        writer.commit(second)

    assert read_files(repository, second) == files


@pytest.mark.parametrize("kind", ["nodes", "data"])
def test_a_parent_of_which_a_pack_is_missing_is_not_built_upon(repository: Repository, kind: str) -> None:
    """What is missing is stored anew, and the new backup is whole."""
    files = {"base/1": LARGE, "PG_VERSION": b"17\n"}
    first = back_up(repository, files, "first")
    nodes = first.root.pack
    for pack in {nodes} if kind == "nodes" else list_packs(repository.store) - {nodes}:
        repository.store.delete(pack_name(pack))

    second = back_up(repository, files, "second", parent=first)

    assert second.added_bytes > 0
    assert read_files(repository, second) == files


def test_a_file_becomes_a_directory_and_back(repository: Repository) -> None:
    """Large and small files alike."""
    states: list[Files] = [{"a": LARGE, "b": b"x"}, {"a/b": b"y", "b/c": LARGE}, {"a": b"z", "b": LARGE}]
    parent = None
    backups: list[BackupManifest] = []
    for number, files in enumerate(states):
        parent = back_up(repository, files, str(number), parent=parent)
        backups.append(parent)

    assert [read_files(repository, backup) for backup in backups] == states


@BOTH_WAYS
def test_what_lies_beyond_a_truncation_never_comes_back(repository: Repository, way: str) -> None:
    """A file cut within a page and grown again with zeros has zeros there."""
    cut = LARGE[: 40 * PAGE_BYTES + 100]
    grown = cut + bytes(len(LARGE) - len(cut))
    first = take(repository, whole("base/1", LARGE), None, "first")
    second = take(repository, given(way, LARGE, cut), first, "second")
    third = take(repository, given(way, cut, grown), second, "third")

    found = [read_files(repository, backup)["base/1"] for backup in (first, second, third)]
    assert found == [LARGE, cut, grown]


@BOTH_WAYS
def test_a_truncated_file_beside_the_file_it_was_like(repository: Repository, way: str) -> None:
    """Both share a map, of which one has fewer pages: read in turn, each ends where it ends."""
    cut = LARGE[: 40 * PAGE_BYTES]
    first = back_up(repository, {"a": LARGE, "b": LARGE}, "first")

    def fill(ingest: Ingest) -> None:
        given(way, LARGE, cut, "a")(ingest)
        given(way, LARGE, LARGE, "b")(ingest)

    files = repository.files(take(repository, fill, first, "second"))

    assert files.open("a").read(0, len(LARGE)) == cut
    assert files.open("b").read(0, len(LARGE)) == LARGE
    assert files.open("a").read(0, len(LARGE)) == cut


@BOTH_WAYS
def test_what_was_cut_off_is_not_kept_for_ever(repository: Repository, way: str) -> None:
    """Of a file cut to a quarter no blob of the rest is needed, though no page of the quarter changed."""
    first = take(repository, whole("base/1", LARGE), None, "first")
    second = take(repository, given(way, LARGE, LARGE[:GROUP_BYTES]), first, "second")

    found = list(References(repository.files(second).nodes).of(second.root))

    assert [ref.raw_length for ref, kind in found if kind is BlobKind.DATA] == [GROUP_BYTES]
    assert read_files(repository, second) == {"base/1": LARGE[:GROUP_BYTES]}


def test_a_writer_at_work_renews_its_lease(repository: Repository) -> None:
    """Also while it takes in nothing but pages that it was told of, and files that it was told are unchanged."""
    first = back_up(repository, {"base/1": LARGE, "base/2": LARGE[:70_000]}, "first")
    now = repository.clock()
    hourly = Repository(repository.store, repository.description, repository.keyring, lambda: now)

    with hourly.write_backup(database=DATABASE, cluster=CLUSTER, parent=first) as writer:
        for path in ("base/1", "base/2"):
            now += timedelta(hours=2)
            writer.ingest.changed_pages(
                path, mode=0o600, size=len(LARGE[: 70_000 if path[-1] == "2" else None]), pages=[]
            )
        now += timedelta(hours=2)
        writer.ingest.directory("empty", 0o700)

        assert sum("renewal" in name for name in repository.store.list("leases/")) == 3

"""Restores of what somebody with the key has forged, or of what broke: never other bytes, never without end."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from repository_samples import (
    CLUSTER,
    DATABASE,
    MEBIBYTE,
    back_up,
    make_repository,
    read_files,
    sample_manifest,
    with_files,
)
from safepoint import errors
from safepoint.model.backup import BackupManifest, BlobRef
from safepoint.recovery.files import write_files
from safepoint.repository import Entry, EntryKind, Ingest, Repository
from safepoint.repository.care.affected import Walk
from safepoint.repository.care.finding import Affected
from safepoint.repository.care.node_source import NodeSource
from safepoint.repository.care.tried_blobs import TriedBlobs
from safepoint.repository.commit.leases import list_packs
from safepoint.repository.maps import fingerprints, listing, page_map, tree
from safepoint.repository.maps.chunk import FINGERPRINTS, PAGE_MAPS
from safepoint.repository.maps.listing import Chunk, ListingNode
from safepoint.repository.maps.nodes import NodeWriter
from safepoint.repository.maps.refs import encode_ref
from safepoint.repository.maps.shape import PAGE_BYTES, pages_of
from safepoint.repository.names import pack_name
from safepoint.repository.packs.pack import LARGEST_BLOB
from safepoint.stores import MemoryStore

Rows = list[tuple[int, int, BlobRef, int]]
Put = Callable[[bytes], BlobRef]


@pytest.mark.parametrize(("sizes", "broken"), [([10_000] * 300, 150), ([MEBIBYTE, 600_000, 300_000, 300_000], 3)])
def test_the_file_that_is_named_is_the_one_that_is_broken(sizes: list[int], broken: int) -> None:
    """Not one of those that are read with it; and what stands before it was given."""
    files = {f"base/{number:05}": random.Random(number).randbytes(size) for number, size in enumerate(sizes)}
    store = MemoryStore()
    repository = make_repository(store)
    manifest = back_up(repository, files)
    held = repository.files(manifest)
    entry = held.entry(f"base/{broken:05}")
    _spoil(store, entry.blobs[0] if entry.blobs else held.page_table(entry, 0).blobs[0])

    read: list[str] = []
    with pytest.raises(errors.Damaged, match=f"RP005: cannot read 'base/{broken:05}'"):
        read.extend(found.path for found, _, _ in held.contents(held.entries()))
    assert set(read) == {f"base/{number:05}" for number in range(broken)}


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(
            lambda put: [(0, 10, put(_bytes(10)), 0), (10, 1, put(b"short"), 0), (11, 89, put(_bytes(89)), 0)],
            id="a page in the middle is short",
        ),
        pytest.param(lambda put: _twice(put(_bytes(32)), is_lie_first=True), id="the first says more than there is"),
        pytest.param(lambda put: _twice(put(_bytes(32)), is_lie_first=False), id="the second says more"),
        pytest.param(lambda put: [(0, 100, replace(put(_bytes(99)), raw_length=100 * PAGE_BYTES), 0)], id="alone"),
    ],
)
def test_a_map_that_lies_of_lengths_restores_nothing_else(rows: Callable[[Put], Rows], tmp_path: Path) -> None:
    """RP005 names the file; whoever reads the place at random is told the same, or is given the right bytes."""
    repository, manifest = _mapped(rows, 100 * PAGE_BYTES)

    with pytest.raises(errors.Damaged, match="RP005"):
        write_files(repository, manifest, tmp_path, lambda _: None)
    with pytest.raises(errors.Damaged, match="RP005"):
        repository.open_file(manifest, "f").read(0, 100 * PAGE_BYTES)


def test_a_check_finds_a_map_that_lacks_pages() -> None:
    """What a restore would refuse is no whole structure."""
    repository, manifest = _mapped(
        lambda put: [(0, 10, put(_bytes(10)), 0), (11, 89, put(_bytes(89)), 0)], 100 * PAGE_BYTES
    )

    found = _harm_to(repository, manifest)

    assert [affected.paths for affected in found] == [("f",)]
    with pytest.raises(errors.Damaged, match="with pages missing, expected all 100 of its chunk"):
        repository.open_file(manifest, "f").read(0, 10)


def test_a_last_page_ends_where_the_file_ends(tmp_path: Path) -> None:
    """Also when the blob has more of it."""
    size = 20 * PAGE_BYTES + 100
    repository, manifest = _mapped(lambda put: [(0, 21, put(_bytes(21)), 0)], size)

    assert write_files(repository, manifest, tmp_path, lambda _: None).bytes == size
    assert (tmp_path / "f").read_bytes() == _bytes(21)[:size] == repository.open_file(manifest, "f").read(0, size + 9)


def test_a_blob_in_place_of_chunks_is_refused() -> None:
    """Larger files than the format keeps in one blob have chunks."""
    entry = Entry(path="f", kind=EntryKind.FILE, mode=0o600, size=MEBIBYTE, blobs=(_ref(MEBIBYTE),))

    with pytest.raises(ValueError, match="found 1048576 bytes without chunks at 'f', expected at most 65536"):
        listing.encode_entry(entry)


def test_a_leaf_listed_twice_is_refused() -> None:
    """Each key is announced above: nothing is written twice into one file."""
    repository, manifest = _listed(
        lambda ingest, writer: _above(writer, _leaf(ingest, writer, [b"f"]), [b"f", b"g"], 1)
    )

    with pytest.raises(errors.Damaged, match=r"RP005: .* found b'f' as its first key, expected b'g'"):
        read_files(repository, manifest)
    assert _harm_to(repository, manifest)


def test_a_tower_of_one_node_ends() -> None:
    """Fourteen levels of a hundred references to the same node are refused at the second."""
    keys = [b"f%03d" % number for number in range(100)]

    def tower(ingest: Ingest, writer: NodeWriter) -> BlobRef:
        node = _leaf(ingest, writer, keys)
        for level in range(1, 15):
            node = _above(writer, node, keys, level)
        return node

    repository, manifest = _listed(tower)

    with pytest.raises(errors.Damaged, match=r"RP005: .* expected all below b'f001'"):
        read_files(repository, manifest)
    assert _harm_to(repository, manifest)


def test_a_reference_to_more_than_a_blob_may_hold_opens_nothing() -> None:
    """Before memory is taken for it, and although the blob itself would open."""
    repository, manifest = _listed(lambda ingest, writer: _leaf(ingest, writer, [b"f"]))
    (entry,) = repository.files(manifest).entries()

    with pytest.raises(errors.Damaged, match="RP005"):
        repository.blobs.read_blob(replace(entry.blobs[0], raw_length=LARGEST_BLOB + 1))


def _harm_to(repository: Repository, manifest: BackupManifest) -> list[Affected]:
    """What a check would say that the backup loses."""
    tried = TriedBlobs(repository, list_packs(repository.store), lambda _: True)
    return [*Walk(NodeSource(repository).reader(), tried).affected(manifest).values()]


def _spoil(store: MemoryStore, ref: BlobRef) -> None:
    name = pack_name(ref.pack)
    data = bytearray(store.get(name))
    data[ref.offset + 99] ^= 1
    store.delete(name)
    store.put_if_absent(name, bytes(data))


def _bytes(pages: int) -> bytes:
    return random.Random(pages).randbytes(pages * PAGE_BYTES)


def _ref(size: int) -> BlobRef:
    return BlobRef(id=bytes(32), pack=bytes(32), offset=48, length=size, raw_length=size)


def _twice(ref: BlobRef, *, is_lie_first: bool) -> Rows:
    lie = replace(ref, raw_length=68 * PAGE_BYTES)
    return [(0, 68, lie, 0), (68, 32, ref, 0)] if is_lie_first else [(0, 32, ref, 0), (32, 68, lie, 0)]


def _mapped(rows: Callable[[Put], Rows], size: int) -> tuple[Repository, BackupManifest]:
    """A backup of one file `f` with this page map."""

    def root(ingest: Ingest, writer: NodeWriter) -> BlobRef:
        count = pages_of(size)
        values = fingerprints.Fingerprints(pages=np.arange(count), values=np.zeros(count, np.uint64))
        chunk = Chunk(
            map=writer.full(PAGE_MAPS, page_map.page_map(rows(ingest.writer.put_blob))),
            fingerprints=writer.full(FINGERPRINTS, values),
        )
        entry = Entry(path="f", kind=EntryKind.FILE, mode=0o600, size=size, chunks=(chunk,))
        return writer.full(tree.LISTINGS, ListingNode(level=0, items=((b"f", listing.encode_entry(entry)),)))

    repository, manifest = _listed(root)
    return repository, replace(manifest, raw_bytes=size)


def _listed(root: Callable[[Ingest, NodeWriter], BlobRef]) -> tuple[Repository, BackupManifest]:
    """A backup with this root of its listing; committed as it is, since a sound writer would refuse it."""
    repository = make_repository(MemoryStore())
    with (
        repository.write_backup(database=DATABASE, cluster=CLUSTER) as writer,
        mock.patch.object(tree, "write", lambda nodes, _entries, _parent: root(writer.ingest, nodes)),
    ):
        manifest = with_files(sample_manifest(), writer.ingest.finish())
    return repository, manifest


def _leaf(ingest: Ingest, writer: NodeWriter, keys: list[bytes]) -> BlobRef:
    data = b"hello"
    blobs = (ingest.writer.put_blob(data),)
    entries = [Entry(path=key.decode(), kind=EntryKind.FILE, mode=0o600, size=len(data), blobs=blobs) for key in keys]
    items = tuple((key, listing.encode_entry(entry)) for key, entry in zip(keys, entries, strict=True))
    return writer.full(tree.LISTINGS, ListingNode(level=0, items=items))


def _above(writer: NodeWriter, below: BlobRef, keys: list[bytes], level: int) -> BlobRef:
    items = tuple((key, encode_ref(below)) for key in keys)
    return writer.full(tree.LISTINGS, ListingNode(level=level, items=items))

"""The listing: entries and nodes are one for one with their bytes, forged ones are refused, listings share nodes."""

from __future__ import annotations

import random
import struct

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from safepoint.model.backup import BlobRef
from safepoint.repository.maps import listing as listings
from safepoint.repository.maps.listing import NODE_ITEMS, Chunk, Entry, EntryKind, Items, ListingNode
from safepoint.repository.maps.refs import REF_BYTES, encode_ref
from safepoint.repository.maps.shape import CHUNK_BYTES, chunks_of

NAMES = st.text(min_size=1, max_size=8).filter(lambda name: name not in {".", ".."} and not {"/", "\0"} & set(name))
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)


def ref(number: int, raw_length: int = 8192) -> BlobRef:
    """A made-up reference."""
    return BlobRef(
        id=number.to_bytes(32, "big"), pack=bytes(32), offset=48, length=raw_length // 2, raw_length=raw_length
    )


BASE = ref(999)
REFS = st.builds(ref, st.integers(0, 99), st.integers(0, 65536))
CHUNKS = st.builds(Chunk, map=REFS, fingerprints=REFS)


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    """Files of each kind, and directories."""
    path, mode = draw(PATHS), draw(st.integers(0, 0o7777))
    shape = draw(st.sampled_from(["directory", "blobs", "chunks"]))
    if shape == "directory":
        return Entry(path=path, kind=EntryKind.DIRECTORY, mode=mode, size=0)
    if shape == "blobs":
        blobs = tuple(draw(st.lists(st.builds(ref, st.integers(0, 99), st.integers(0, 16_384)), max_size=4)))
        size = sum(blob.raw_length for blob in blobs)
        return Entry(path=path, kind=EntryKind.FILE, mode=mode, size=size, blobs=blobs)
    size = draw(st.integers(1, 5 * CHUNK_BYTES))
    chunks = tuple(draw(CHUNKS) for _ in range(chunks_of(size)))
    return Entry(path=path, kind=EntryKind.FILE, mode=mode, size=size, chunks=chunks)


def node_of(model: dict[bytes, bytes | None], *, is_whole: bool = True) -> ListingNode:
    """The node of level 0 that holds these items, or such changes to one."""
    items: Items = tuple((key, model[key]) for key in sorted(model))
    return ListingNode(level=0, items=items, is_whole=is_whole)


KEYS = st.binary(min_size=1, max_size=2) | st.sampled_from([b"base", b"base/1", b"base/10", b"base/2"])
WHOLE = st.dictionaries(KEYS, st.binary(max_size=4), max_size=12)
CHANGES = st.dictionaries(KEYS, st.none() | st.binary(max_size=4), max_size=12)


def encoded_item(key: bytes, value: bytes) -> bytes:
    """An item's bytes, made by hand."""
    return struct.pack(">H", len(key)) + key + struct.pack(">I", len(value)) + value


def nodes_of(keys: list[bytes]) -> set[tuple[bytes, ...]]:
    """The nodes of all levels of the tree over these sorted keys, as the keys they hold."""
    found: set[tuple[bytes, ...]] = set()
    level = 0
    while True:
        ends = listings.boundaries(keys)
        nodes = [tuple(keys[start:end]) for start, end in zip([0, *ends], ends, strict=False)]
        found |= {(bytes([level]), *node) for node in nodes}
        if len(nodes) == 1:
            return found
        keys, level = [node[0] for node in nodes], level + 1


def paths_of(count: int, seed: int) -> list[bytes]:
    """Paths as relations have them, sorted."""
    source = random.Random(seed)
    return sorted({f"base/16384/{source.randrange(16384, 10**7)}".encode() for _ in range(count)})


@given(entries())
def test_an_entry_survives_its_encoding(entry: Entry) -> None:
    """Whatever its path, kind and content."""
    assert listings.decode_entry(listings.key_of(entry.path), listings.encode_entry(entry)) == entry


@given(st.binary(min_size=1, max_size=20))
def test_a_path_of_any_bytes_is_kept_as_it_is_or_refused(key: bytes) -> None:
    """File systems hold names that are not UTF-8: their bytes come back the same."""
    value = struct.pack(">BIQBI", 0, 0o600, 0, 0, 0)
    try:
        entry = listings.decode_entry(key, value)
    except ValueError:
        assert not {b"", b".", b".."}.isdisjoint(key.split(b"/")) or b"\0" in key
        return
    assert listings.key_of(entry.path) == key


@pytest.mark.parametrize("path", ["", "/", "/etc/passwd", "base/", "a//b", ".", "..", "a/../b", "./a", "a/..", "a\0b"])
def test_a_path_that_leads_elsewhere_is_refused(path: str) -> None:
    """Neither written nor read: a forged listing cannot make a restore write outside its directory."""
    with pytest.raises(ValueError, match="expected one below the directory"):
        listings.encode_entry(Entry(path=path, kind=EntryKind.FILE, mode=0, size=0))
    with pytest.raises(ValueError, match="expected one below the directory"):
        listings.decode_entry(path.encode(), struct.pack(">BIQBI", 0, 0, 0, 0, 0))


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (b"", "found 0 bytes at byte 0 of a node, expected 18"),
        (struct.pack(">BIQBI", 2, 0, 0, 0, 0), "found an entry of kind 2"),
        (struct.pack(">BIQBI", 0, 0, 0, 2, 0), "with content 2"),
        (struct.pack(">BIQBI", 0, 0, 0, 0, 0) + b"x", "found 1 bytes after byte 18"),
        (struct.pack(">BIQBI", 0, 0, 0, 0, 2**32 - 1), "expected 326417514420"),
        (struct.pack(">BIQBI", 0, 0, 1, 0, 0), "found blobs of 0 bytes at 'x', expected 1 bytes"),
        (
            struct.pack(">BIQBI", 0, 0, CHUNK_BYTES + 1, 1, 1) + bytes(152),
            "found 1 chunks and 0 blobs at 'x', expected 2",
        ),
        (struct.pack(">BIQBI", 0, 0, 0, 1, 1) + bytes(152), "found 1 chunks and 0 blobs at 'x', expected 0 chunks"),
        (struct.pack(">BIQBI", 0, 0, 0, 1, 0), "found no chunks at 'x', expected some"),
        (struct.pack(">BIQBI", 1, 0, 5, 0, 0), "found 5 bytes at 'x', expected an empty directory"),
        (struct.pack(">BIQBI", 1, 0, 0, 0, 1) + bytes(76), "found 0 bytes at 'x', expected an empty directory"),
    ],
)
def test_an_entry_that_contradicts_itself_is_refused(value: bytes, told: str) -> None:
    """Kinds, counts, sizes and trailing bytes are checked against one another."""
    with pytest.raises(ValueError, match=told):
        listings.decode_entry(b"x", value)


def test_a_file_cannot_have_blobs_and_chunks() -> None:
    """Nothing could tell which of them is the file."""
    both = Entry(
        path="a",
        kind=EntryKind.FILE,
        mode=0,
        size=5,
        blobs=(ref(1, 5),),
        chunks=(Chunk(map=ref(1), fingerprints=ref(2)),),
    )
    with pytest.raises(ValueError, match="found 1 chunks and 1 blobs at 'a', expected 1 chunks for 5 bytes"):
        listings.encode_entry(both)


@given(CHANGES)
def test_a_node_survives_its_encoding(model: dict[bytes, bytes | None]) -> None:
    """Whole nodes and changes; what is removed stays told apart from what is empty."""
    changes = node_of(model, is_whole=False)
    whole = node_of({key: value for key, value in model.items() if value is not None})

    assert listings.decode_node(listings.encode_node(changes, BASE)) == (changes, BASE)
    assert listings.decode_node(listings.encode_node(whole, None)) == (whole, None)


@given(WHOLE, WHOLE)
def test_the_changes_between_two_nodes_lead_from_one_to_the_other(
    before: dict[bytes, bytes], after: dict[bytes, bytes]
) -> None:
    """Additions, removals and new values, and nothing that stayed the same."""
    old, new = node_of(dict(before)), node_of(dict(after))

    changes = listings.changes_between(old, new)

    assert listings.overlay(old, changes) == new
    assert all(before.get(key) != value for key, value in changes.items)


@given(WHOLE, CHANGES, CHANGES)
def test_changes_may_be_merged_before_they_are_laid_over_a_node(
    base: dict[bytes, bytes], older: dict[bytes, bytes | None], newer: dict[bytes, bytes | None]
) -> None:
    """Overlay is associative and equals the model: a chain says the same however many changes were swallowed."""
    whole = node_of(dict(base))
    first, second = node_of(older, is_whole=False), node_of(newer, is_whole=False)

    found = listings.overlay(whole, listings.overlay(first, second))

    merged = dict(base) | older | newer
    assert found == node_of({key: value for key, value in merged.items() if value is not None})
    assert found == listings.overlay(listings.overlay(whole, first), second)


@given(CHANGES, st.booleans(), st.data())
@settings(max_examples=300)
def test_changed_bytes_are_refused_or_mean_something(
    model: dict[bytes, bytes | None], is_whole: bool, data: st.DataObject
) -> None:
    """Whatever one does to a node's bytes, the decoder ends with ValueError or the node that those bytes say."""
    kept = {key: value for key, value in model.items() if value is not None or not is_whole}
    encoded = bytearray(listings.encode_node(node_of(kept, is_whole=is_whole), None if is_whole else BASE))
    for _ in range(data.draw(st.integers(1, 3))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    mutated = bytes(encoded[: data.draw(st.sampled_from([len(encoded), len(encoded) - 1]))])

    try:
        node, base = listings.decode_node(mutated)
    except ValueError:
        return
    assert listings.encode_node(node, base) == mutated


@given(entries(), st.data())
@settings(max_examples=200)
def test_a_changed_entry_is_refused_or_means_something(entry: Entry, data: st.DataObject) -> None:
    """Whatever one does to an entry's bytes, the decoder ends with ValueError or the entry that those bytes say."""
    encoded = bytearray(listings.encode_entry(entry))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))

    try:
        found = listings.decode_entry(b"x", bytes(encoded))
    except ValueError:
        return
    assert listings.encode_entry(found) == encoded


@pytest.mark.parametrize(
    ("node", "told"),
    [
        (b"\x01", "found a node of type 1, expected 5 or 6"),
        (b"\x05\0\xff\xff\xff\xff", "found 0 bytes at byte 6 of a node, expected 2"),
        (b"\x05\0\0\0\0\0x", "found 1 bytes after byte 6 of a node, expected 0"),
        (b"\x05\0\0\0\0\x02" + encoded_item(b"b", b"") * 2, "found key b'b' after b'b', expected keys to ascend"),
        (b"\x05\0\0\0\0\x01\0\1b\xff\xff\xff\xff", "found a removal at b'b' in a whole node of level 0"),
        (b"\x05\1\0\0\0\x01" + encoded_item(b"b", b"x"), "found 1 bytes at b'b' in a whole node of level 1"),
        (b"\x06" + bytes(76) + b"\1\0\0\0\0", "found changes to a node of level 1, expected level 0"),
    ],
)
def test_each_lie_in_a_node_is_told_from_the_others(node: bytes, told: str) -> None:
    """Order, counts, removals and the level are checked."""
    with pytest.raises(ValueError, match=told):
        listings.decode_node(node)


def test_a_node_with_too_many_items_is_refused() -> None:
    """A whole node holds at most 1,024."""
    items: Items = tuple((index.to_bytes(2, "big"), b"") for index in range(NODE_ITEMS + 1))

    with pytest.raises(ValueError, match="found 1025 items in a node, expected at most 1024"):
        listings.encode_node(ListingNode(level=0, items=items), None)


def test_changes_cannot_be_written_as_a_whole_node() -> None:
    """Nor the other way round: a reader would take a part for all, or a removal for an entry."""
    with pytest.raises(ValueError, match="found changes to one, expected a whole node"):
        listings.encode_node(node_of({b"a": b""}, is_whole=False), None)
    with pytest.raises(ValueError, match="found a whole node, expected changes to one"):
        listings.encode_node(node_of({b"a": b""}), BASE)
    with pytest.raises(ValueError, match="found a removal at b'a' in a whole node of level 0, expected an entry"):
        listings.encode_node(node_of({b"a": None}), None)


def test_a_node_above_level_0_holds_references() -> None:
    """Its children come back in order, each with its first key."""
    items: Items = tuple((bytes([97 + i]), encode_ref(ref(i))) for i in range(3))

    node, _ = listings.decode_node(listings.encode_node(ListingNode(level=1, items=items), None))

    assert list(listings.children(node)) == [(b"a", ref(0)), (b"b", ref(1)), (b"c", ref(2))]
    assert all(value is not None and len(value) == REF_BYTES for _, value in node.items)


@given(st.lists(KEYS, unique=True, max_size=60).map(sorted))
def test_every_level_has_at_most_half_the_nodes_of_the_one_below(keys: list[bytes]) -> None:
    """So each tree has a top, whatever the keys: all keys stand in a node, and only the last may stand alone."""
    ends = listings.boundaries(keys)

    assert ends == sorted(set(ends))
    assert (ends[-1] if ends else 0) == len(keys)
    assert all(end - start > 1 for start, end in zip([0, *ends], ends[:-1], strict=False))


def test_a_tree_of_keys_that_all_end_nodes_has_a_top() -> None:
    """Keys chosen so that every one of them would end a node: the tree is a binary one, not an endless tower."""
    keys = [key for n in range(20_000) if blake3(key := b"%06d" % n).digest(length=1)[0] < 2]

    assert len(keys) > 100
    assert max(node[0][0] for node in nodes_of(keys)) <= len(keys).bit_length()


def test_nodes_have_at_most_1024_items() -> None:
    """Where chance sets no end, the count does."""
    keys = [key for n in range(3_000) if blake3(key := b"%06d" % n).digest(length=1)[0] >= 2]

    assert listings.boundaries(keys) == [1024, 2048, len(keys)]


@pytest.mark.parametrize("seed", range(5))
def test_one_new_path_changes_a_node_or_two_of_each_level(seed: int) -> None:
    """Two listings of 10,000 files that differ in one have all other nodes in common, wherever that one is."""
    keys = paths_of(10_000, seed)
    before = nodes_of(keys)
    for new in random.Random(seed).sample(range(len(keys)), 20):
        after = nodes_of(keys[:new] + keys[new + 1 :])

        assert len(after - before) <= 6
        assert len(before - after) <= 6
    assert 40 < len(before) < 160

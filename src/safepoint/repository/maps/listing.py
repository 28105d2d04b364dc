"""The listing of a backup: its files and directories as a persistent tree, so that a backup stores what changed of it.

Level 0 holds entries by path; each level above holds, by first key, references to the nodes below. Where a node ends
is decided by the keys near there alone, so two listings of nearly the same paths have nearly all nodes in common.
A node's `Items` are sorted by key; in changes to a node a value of None removes the key.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise

from blake3 import blake3

from safepoint.model.backup import BlobRef
from safepoint.repository.maps.refs import REF_BYTES, Cursor, decode_ref, encode_ref, encode_start
from safepoint.repository.maps.shape import INLINE_BYTES, Node, chunks_of

Items = tuple[tuple[bytes, bytes | None], ...]

NODE_ITEMS = 1024
_END_BELOW = 2  # of a digest's first byte: one key in 128
_REMOVED = 0xFFFFFFFF
_ENTRY = struct.Struct(">BIQBI")
_NODE = struct.Struct(">BI")
_KEY_LENGTH = struct.Struct(">H")
_VALUE_LENGTH = struct.Struct(">I")
_IN_BLOBS = 0
_IN_CHUNKS = 1


class EntryKind(IntEnum):
    """What a path is."""

    FILE = 0
    DIRECTORY = 1


_KINDS = {int(kind): kind for kind in EntryKind}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A chunk of a file: the node of its page map and that of its fingerprints."""

    map: BlobRef
    fingerprints: BlobRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file of `size` bytes, or a directory. A file is its blobs one after another, or its chunks; never both."""

    path: str
    kind: EntryKind
    mode: int
    size: int
    blobs: tuple[BlobRef, ...] = ()
    chunks: tuple[Chunk, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListingNode:
    """A node, or the changes to one. Level 0 holds entries."""

    level: int
    items: Items
    is_whole: bool = True


def key_of(path: str) -> bytes:
    """What the path is sorted and found by; ValueError unless it is relative and stays below where it begins."""
    key = path.encode("utf-8", "surrogateescape")
    if "\0" in path or not {"", ".", ".."}.isdisjoint(path.split("/")):
        raise ValueError(f"found path {path!r}, expected one below the directory, in its shortest form")
    return key


def encode_entry(entry: Entry) -> bytes:
    """The value that the listing holds under key_of(entry.path); ValueError for an entry that contradicts itself."""
    _check(entry)
    content, count = (_IN_CHUNKS, len(entry.chunks)) if entry.chunks else (_IN_BLOBS, len(entry.blobs))
    refs = (*entry.blobs, *(ref for chunk in entry.chunks for ref in (chunk.map, chunk.fingerprints)))
    return _ENTRY.pack(entry.kind, entry.mode, entry.size, content, count) + b"".join(map(encode_ref, refs))


def decode_entry(key: bytes, value: bytes) -> Entry:
    """The entry of this key; ValueError for anything that encode_entry cannot have written."""
    cursor = Cursor(value)
    kind, mode, size, content, count = cursor.unpack(_ENTRY)
    if content not in {_IN_BLOBS, _IN_CHUNKS} or kind not in _KINDS:
        raise ValueError(f"found an entry of kind {kind} with content {content} at {key!r}, expected 0 or 1 and 0 or 1")
    cursor.expect_left(count * REF_BYTES * (1 + content))
    entry = Entry(
        path=key.decode("utf-8", "surrogateescape"),
        kind=_KINDS[kind],
        mode=mode,
        size=size,
        blobs=tuple(cursor.ref() for _ in range(count if content == _IN_BLOBS else 0)),
        chunks=tuple(Chunk(map=cursor.ref(), fingerprints=cursor.ref()) for _ in range(count if content else 0)),
    )
    _check(entry)
    if content == _IN_CHUNKS and not count:
        _contradiction(entry, "no chunks", "some")
    return entry


def encode_node(node: ListingNode, base: BlobRef | None) -> bytes:
    """The node: whole, or changes to the node `base`. Only nodes of level 0 are ever written as changes."""
    _check_node(node, base)
    head = encode_start(Node.LISTING, base) + _NODE.pack(node.level, len(node.items))
    return head + b"".join(_encode_item(key, value) for key, value in node.items)


def decode_node(data: bytes | memoryview) -> tuple[ListingNode, BlobRef | None]:
    """What encode_node was given; ValueError for anything that it cannot have written. Entries are not looked into."""
    cursor = Cursor(data)
    base = cursor.start(Node.LISTING)
    level, count = cursor.unpack(_NODE)
    items = tuple(_decode_item(cursor) for _ in range(count))
    node = ListingNode(level=level, items=items, is_whole=base is None)
    cursor.expect_left(0)
    _check_node(node, base)
    return node, base


def children(node: ListingNode) -> Iterator[tuple[bytes, BlobRef]]:
    """The nodes below a node above level 0, each with its first key."""
    for key, value in node.items:
        yield key, decode_ref(value or b"", 0)


def boundaries(keys: Sequence[bytes]) -> list[int]:
    """Where the nodes of a level with these sorted keys end: the index after each node's last key.

    A node ends after a key whose BLAKE3 begins with a byte below 2, but never after its first key (so each level has
    at most half the nodes of the one below, and the tree has a top), and at NODE_ITEMS.
    """
    ends: list[int] = []
    start = 0
    for index, key in enumerate(keys):
        count = index + 1 - start
        if count == NODE_ITEMS or (count > 1 and blake3(key).digest(length=1)[0] < _END_BELOW):
            start = index + 1
            ends.append(start)
    return ends if start == len(keys) else [*ends, len(keys)]


def changes_between(before: ListingNode, after: ListingNode) -> ListingNode:
    """What makes `after` of `before`, both whole: new values, and None for keys that are gone."""
    old, new = dict(before.items), dict(after.items)
    removed: Items = tuple((key, None) for key in old if key not in new)
    return _changes(after.level, (*removed, *(item for item in after.items if old.get(item[0]) != item[1])))


def overlay(base: ListingNode, changes: ListingNode) -> ListingNode:
    """What both say, where both speak of a key what the changes say. `base` may be whole, or older changes."""
    merged = dict(base.items) | dict(changes.items)
    if not base.is_whole:
        return _changes(base.level, merged.items())
    return ListingNode(level=base.level, items=_sorted(item for item in merged.items() if item[1] is not None))


def _changes(level: int, items: Iterable[tuple[bytes, bytes | None]]) -> ListingNode:
    return ListingNode(level=level, items=_sorted(items), is_whole=False)


def _sorted(items: Iterable[tuple[bytes, bytes | None]]) -> Items:
    return tuple(sorted(items, key=lambda item: item[0]))


def _encode_item(key: bytes, value: bytes | None) -> bytes:
    length = _REMOVED if value is None else len(value)
    return b"".join((_KEY_LENGTH.pack(len(key)), key, _VALUE_LENGTH.pack(length), value or b""))


def _decode_item(cursor: Cursor) -> tuple[bytes, bytes | None]:
    key = bytes(cursor.take(cursor.unpack(_KEY_LENGTH)[0]))
    (length,) = cursor.unpack(_VALUE_LENGTH)
    return key, None if length == _REMOVED else bytes(cursor.take(length))


def _check_node(node: ListingNode, base: BlobRef | None) -> None:
    """ValueError for items out of order, for removals in a whole node, and for what a level cannot hold."""
    for (key, _), (following, _) in pairwise(node.items):
        if following <= key:
            raise ValueError(f"found key {following!r} after {key!r}, expected keys to ascend")
    if node.is_whole is not (base is None):
        raise ValueError(f"found {_a_node(node.is_whole)}, expected {_a_node(base is None)}")
    if node.is_whole:
        _check_whole(node)
    elif node.level:
        raise ValueError(f"found changes to a node of level {node.level}, expected level 0")


def _a_node(is_whole: bool) -> str:
    return "a whole node" if is_whole else "changes to one"


def _check_whole(node: ListingNode) -> None:
    if len(node.items) > NODE_ITEMS:
        raise ValueError(f"found {len(node.items)} items in a node, expected at most {NODE_ITEMS}")
    for key, value in node.items:
        if value is None or (node.level and len(value) != REF_BYTES):
            found = "a removal" if value is None else f"{len(value)} bytes"
            expected = f"a reference of {REF_BYTES} bytes" if node.level else "an entry"
            raise ValueError(f"found {found} at {key!r} in a whole node of level {node.level}, expected {expected}")


def _check(entry: Entry) -> None:
    """ValueError unless the path is one, and what holds the content fits kind and size."""
    key_of(entry.path)
    if entry.kind is EntryKind.DIRECTORY and (entry.size or entry.blobs or entry.chunks):
        _contradiction(entry, f"{entry.size} bytes", "an empty directory")
    if entry.chunks:
        if entry.blobs or len(entry.chunks) != chunks_of(entry.size):
            found = f"{len(entry.chunks)} chunks and {len(entry.blobs)} blobs"
            _contradiction(entry, found, f"{chunks_of(entry.size)} chunks for {entry.size} bytes")
    elif (total := _raw_bytes(entry.blobs)) != entry.size:
        _contradiction(entry, f"blobs of {total} bytes", f"{entry.size} bytes")
    elif entry.size > INLINE_BYTES:
        _contradiction(entry, f"{entry.size} bytes without chunks", f"at most {INLINE_BYTES}")


def _raw_bytes(blobs: Iterable[BlobRef]) -> int:
    return sum(blob.raw_length for blob in blobs)


def _contradiction(entry: Entry, found: str, expected: str) -> None:
    raise ValueError(f"found {found} at {entry.path!r}, expected {expected}")

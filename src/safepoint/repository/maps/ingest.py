"""Taking in the files of one backup: what changed since its parent is stored, everything else is referred to.

Two ways in. A file that is given whole is compared page by page with its parent through fingerprints; a file of which
the caller knows the changed pages costs in proportion to them. Both end in chunks: a page map and fingerprints, whole
for what is new, changes on top of the parent's for what is not. Examining and storing run in worker threads, but for
small files; the order of things is decided in the caller's. Memory is bounded by the work in flight and the packs being
filled, plus some 500 bytes for each file of the backup and of its parent.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from safepoint.model.backup import BlobRef
from safepoint.repository.maps import tree
from safepoint.repository.maps.file_ingest import FileIngest
from safepoint.repository.maps.files import BackupFiles
from safepoint.repository.maps.intake import IngestKeys, Inspect, Intake
from safepoint.repository.maps.listing import Entry, EntryKind, key_of
from safepoint.repository.maps.named_pages import NamedPages
from safepoint.repository.maps.parent_pages import ParentPages
from safepoint.repository.maps.shape import INLINE_BYTES
from safepoint.repository.maps.tree import ParentListing
from safepoint.repository.packs.writer import PackWriter


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """The files of a backup, stored durably. `node_bytes` is what listing and maps added, `added_bytes` is all."""

    root: BlobRef
    files: int
    raw_bytes: int
    added_bytes: int
    node_bytes: int


class Ingest:
    """Stores the files of one backup; `Repository.write_backup()` makes it. One thread at a time may use it.

    Leaving the context without `finish()` makes no backup; what was stored is left to be found by the next one.
    """

    def __init__(
        self, writer: PackWriter, keys: IngestKeys, parent: BackupFiles | None, renew: Callable[[], None]
    ) -> None:
        self.writer = writer
        self.keys = keys
        self._intake = Intake(writer, keys, parent, renew)
        self._parent = ParentListing() if parent is None else tree.read_parent(parent.nodes, parent.root)
        self._is_finished = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._intake.stop()
        if not self._is_finished:
            self.writer.abandon()

    def directory(self, path: str, mode: int) -> None:
        """The backup has this directory."""
        self._intake.add(Entry(path=path, kind=EntryKind.DIRECTORY, mode=mode, size=0))

    def file(self, path: str, *, mode: int, inspect: Inspect | None = None) -> FileIngest:
        """A file to be written whole, in order, and closed; what its parent has of it is not stored again."""
        self._intake.require_new(path)
        return FileIngest(self._intake, path, mode, self._parent.entry(path), inspect)

    def read_file(self, path: str, source: str, *, mode: int, inspect: Inspect | None = None) -> None:
        """The backup has this file as it is read at `source`, the fastest way to take one in; OSError."""
        descriptor = os.open(source, os.O_RDONLY)
        try:
            data = os.read(descriptor, INLINE_BYTES + 1)
            if len(data) <= INLINE_BYTES and not os.read(descriptor, 1):
                self._intake.add_small(path, mode, data, self._parent.entry(path), inspect)
                return
            os.lseek(descriptor, 0, os.SEEK_SET)
            with self.file(path, mode=mode, inspect=inspect) as file:
                file.read_from(descriptor)
        finally:
            os.close(descriptor)

    def parent_entry(self, path: str) -> Entry | None:
        """What the parent lists under this path, None for nothing; RP005."""
        return self._parent.entry(path)

    def parent_pages(self, path: str) -> ParentPages:
        """What the parent has of a file, page by page; KeyError when it has none."""
        entry = self._parent.entry(path)
        if entry is None or self._intake.parent is None:
            raise KeyError(path)
        return ParentPages(self._intake.parent, entry, self.keys)

    def forget(self, path: str) -> None:
        """The backup has this file no more: it may be taken in once more, or is gone; KeyError when it had none."""
        self.drain()
        del self._intake.entries[path]

    def unchanged(self, path: str) -> None:
        """The backup has this file as its parent has it; KeyError when the parent has none."""
        entry = self._parent.entry(path)
        if entry is None:
            raise KeyError(path)
        self._intake.add(entry)

    def changed_pages(self, path: str, *, mode: int, size: int, pages: Iterable[tuple[int, bytes]]) -> None:
        """The backup has this file: `pages`, in ascending order, and in all other places what its parent has.

        The last page may be short. ValueError unless every page is named that the parent does not have, or has with
        another length; and for pages out of order, beyond `size`, or not as long as they must be.
        """
        self._intake.require_new(path)
        entry = Entry(path=path, kind=EntryKind.FILE, mode=mode, size=size)
        NamedPages(self._intake, entry, self._parent.entry(path)).take(pages)

    def finish(self) -> Taken:
        """Everything is durable, and what it is made of can be named in a manifest."""
        self.drain()
        entries = sorted(self._intake.entries.values(), key=lambda entry: key_of(entry.path))
        root = tree.write(self._intake.nodes, entries, self._parent)
        self.writer.finish()
        self._is_finished = True
        return Taken(
            root=root,
            files=sum(entry.kind is EntryKind.FILE for entry in entries),
            raw_bytes=sum(entry.size for entry in entries),
            added_bytes=self.writer.stored_bytes,
            node_bytes=self._intake.nodes.stored_bytes,
        )

    def drain(self) -> None:
        """Nothing is in flight any more."""
        self._intake.drain()

"""Blobs in, packs out: hashing, compressing and sealing in the caller's threads, uploads in one of the writer's own.

Each thread fills a data pack of its own, once there is enough for several, and all share a node pack. A full pack
waits for the one that is being put, so that memory stays bounded: a pack per thread, one being put. Packs go to the
store without a sync each; they are made durable before an index names them, and the index before `finish` returns:
killed anywhere in between, what is left is packs that nobody names.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

from safepoint import errors
from safepoint.model.backup import BlobRef
from safepoint.repository.packs.pack import (
    LARGEST_BLOB,
    BlobKind,
    PackBuilder,
    PackContents,
    blob_id,
    blob_id_key,
    pack_buffers,
)
from safepoint.repository.packs.recent import RecentBlobs
from safepoint.repository.packs.uploads import Uploads
from safepoint.repository.sealing.seal import DEFAULT_LEVEL, Codec, Keyring, compress
from safepoint.stores.port import Store

PACK_BYTES: Mapping[BlobKind, int] = {BlobKind.DATA: 64 * 1024 * 1024, BlobKind.NODE: 8 * 1024 * 1024}
"""At how many bytes a pack is closed."""

_SHARED_BYTES = 16 * 1024 * 1024
_SHARED = 0  # is no thread's


class _Lane:
    """A sequence of packs of one kind, one after the other. Callers of one lane wait for one another."""

    def __init__(self, new_pack: Callable[[], PackBuilder], pack_bytes: int, uploads: Uploads) -> None:
        self._new_pack = new_pack
        self._pack_bytes = pack_bytes
        self._uploads = uploads
        self._builder: PackBuilder | None = None
        self._is_closed = False
        self._lock = threading.Lock()

    def append(self, identity: bytes, raw_length: int, codec: Codec, payload: bytes) -> BlobRef:
        """Where the blob lies; the pack that it made full is on its way, or what an earlier upload raised is."""
        with self._lock:
            if self._is_closed:
                raise _ended()
            try:
                return self._append(identity, raw_length, codec, payload)
            except BaseException as error:  # an interrupt in here may have lost a pack: then nothing may be finished
                self._uploads.fail(error)
                raise

    def close(self) -> PackBuilder | None:
        """Takes no more; the pack that is not full, if any."""
        with self._lock:
            self._is_closed = True
            builder, self._builder = self._builder, None
            return builder

    def _append(self, identity: bytes, raw_length: int, codec: Codec, payload: bytes) -> BlobRef:
        if self._builder is None:
            self._builder = self._new_pack()
        ref = self._builder.append(identity, raw_length, codec, payload)
        if len(self._builder) >= self._pack_bytes:
            full, self._builder = self._builder, None
            self._uploads.put(full)
        return ref


class PackWriter:
    """Stores blobs. Any number of threads may put; one ends it, by `finish` or `abandon`, when they are done.

    `tag` becomes part of the packs' ids. `find_known` tells where a blob lies that an earlier run stored. `on_packs` is
    given the tables of packs, each once, when the packs are durable; what it puts is durable when `finish` returns.
    `keeps_packs`: when it ends by `abandon`, what it has put is listed as far as possible, for the next writer to find.
    """

    def __init__(
        self,
        store: Store,
        keyring: Keyring,
        *,
        level: int = DEFAULT_LEVEL,
        pack_bytes: Mapping[BlobKind, int] = PACK_BYTES,
        tag: bytes = b"",
        find_known: Callable[[bytes], BlobRef | None] | None = None,
        on_packs: Callable[[Sequence[PackContents]], object] | None = None,
        keeps_packs: bool = False,
    ) -> None:
        self._keeps_packs = keeps_packs
        self._store = store
        self._keyring = keyring
        self._tag = tag
        self._id_key = blob_id_key(keyring)
        self._level = level
        self._pack_bytes = pack_bytes
        self._buffers = pack_buffers(max(pack_bytes.values()))
        self._find_known = find_known
        self._recent = RecentBlobs()
        self._lock = threading.Lock()
        self._uploads = Uploads(store, on_packs)
        self._node_lane = self._new_lane(BlobKind.NODE)
        self._data_lanes: dict[int, _Lane] = {}
        self._is_ended = False
        self._is_finished = False
        self._stored_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.abandon()

    @property
    def stored_bytes(self) -> int:
        """Stored bytes of the blobs that were new."""
        return self._stored_bytes

    @property
    def put_packs(self) -> tuple[bytes, ...]:
        """The ids of the packs that this writer has put, or tried to."""
        return self._uploads.packs

    def put_blob(self, raw: bytes | memoryview, *, kind: BlobKind = BlobKind.DATA) -> BlobRef:
        """Where the blob lies, or will when `finish` returns. Of equal blobs put at the same instant each may be kept.

        At most 32 MiB, ValueError; RuntimeError when the writer has ended; or what an earlier pack's upload raised.
        """
        if len(raw) > LARGEST_BLOB:
            raise ValueError(f"found a blob of {len(raw)} bytes, expected at most {LARGEST_BLOB}")
        if self._is_ended:
            raise _ended()
        self._uploads.require_sound()
        identity = blob_id(self._id_key, raw)
        known = self._find(identity)
        if known is not None:
            return known
        ref = self._lane(kind).append(identity, len(raw), *compress(raw, self._level))
        self._count(ref)
        return ref

    def finish(self) -> None:
        """All blobs are durable, and so is what `on_packs` put; raises what an upload raised. Nothing more is taken."""
        for builder in self._end():
            self._uploads.put(builder)
        self._uploads.finish()
        self._is_finished = True

    def abandon(self) -> None:
        """Nothing more is taken, and what was put is deleted as far as possible; nothing happens after `finish`.

        Of one that keeps its packs only those are deleted that could not be listed. Killed in here? As killed before.
        """
        if self._is_finished:
            return
        with self._lock:
            self._is_ended = True
        builders = self._close_lanes()
        if self._keeps_packs:
            self._keep(builders)
        self._uploads.fail(_ended())
        self._uploads.withdraw()

    def _keep(self, builders: Sequence[PackBuilder]) -> None:
        """The packs that are not full, too, unless something had failed: then theirs may be half a blob."""
        with contextlib.suppress(errors.SafepointError, RuntimeError, OSError):
            for builder in builders:
                self._uploads.put(builder)
        self._uploads.keep()

    def _find(self, identity: bytes) -> BlobRef | None:
        ref = self._recent.find(identity)
        if ref is None and self._find_known is not None:
            ref = self._find_known(identity)
            if ref is not None:
                self._recent.remember(ref)
        return ref

    def _lane(self, kind: BlobKind) -> _Lane:
        if kind is BlobKind.NODE:
            return self._node_lane
        # A small backup makes one data pack, not one for each thread: whoever restores reads fewer of them.
        thread = threading.get_ident() if self._stored_bytes >= _SHARED_BYTES else _SHARED
        lane = self._data_lanes.get(thread)
        if lane is None:
            with self._lock:
                if self._is_ended:
                    raise _ended()
                lane = self._data_lanes[thread] = self._new_lane(kind)
        return lane

    def _new_lane(self, kind: BlobKind) -> _Lane:
        return _Lane(
            lambda: PackBuilder(self._keyring, kind, self._buffers, self._tag), self._pack_bytes[kind], self._uploads
        )

    def _count(self, ref: BlobRef) -> None:
        self._recent.remember(ref)
        with self._lock:
            self._stored_bytes += ref.length

    def _end(self) -> list[PackBuilder]:
        with self._lock:
            if self._is_ended:
                raise _ended()
            self._is_ended = True
        return self._close_lanes()

    def _close_lanes(self) -> list[PackBuilder]:
        """The packs that are not full, also of threads that have ended."""
        builders = [lane.close() for lane in (*self._data_lanes.values(), self._node_lane)]
        return [builder for builder in builders if builder is not None]


def _ended() -> RuntimeError:
    return RuntimeError("found a writer that has ended, expected one that takes blobs")

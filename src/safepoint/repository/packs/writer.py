"""Ingest: blobs in, packs out. Hashing and compression run in threads, sealing and order in the caller's.

Memory is bounded: raw data in flight, one pack being filled, one being put. Packs go to the store without a sync each;
`finish` ends with the store's barrier, and only then may a manifest name the blobs.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from safepoint import errors
from safepoint.model.backup import BlobRef
from safepoint.repository.packs.pack import PackBuilder, blob_id, pack_name
from safepoint.repository.sealing.seal import Codec, Keyring, compress
from safepoint.stores.port import NotFound, Store

LARGEST_BLOB = 32 * 1024 * 1024
_PACK_BYTES = 32 * 1024 * 1024
_IN_FLIGHT_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Prepared:
    identity: bytes
    raw_length: int
    codec: Codec
    payload: bytes


class Writer:
    """Stores blobs; `Repository.writer()` makes it. One thread at a time may use it.

    Leaving the context without `finish()` deletes, as far as possible, the packs this writer has put.
    """

    def __init__(self, store: Store, keyring: Keyring, id_key: bytes, *, pack_bytes: int = _PACK_BYTES) -> None:
        self._store = store
        self._keyring = keyring
        self._id_key = id_key
        self._pack_bytes = pack_bytes
        self._workers = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="safepoint-blob")
        self._uploader = ThreadPoolExecutor(1, thread_name_prefix="safepoint-pack")
        self._in_flight: deque[tuple[Future[_Prepared], int]] = deque()
        self._in_flight_bytes = 0
        self._tickets = 0
        self._refs: list[BlobRef] = []
        self._ref_of: dict[bytes, BlobRef] = {}
        self._builder: PackBuilder | None = None
        self._upload: Future[None] | None = None
        self._put_packs: list[str] = []
        self._is_finished = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._workers.shutdown(wait=True, cancel_futures=True)
        self._uploader.shutdown(wait=True, cancel_futures=True)
        if not self._is_finished:
            self._withdraw()

    @property
    def stored_bytes(self) -> int:
        """Sealed bytes of the distinct blobs placed so far."""
        return sum(ref.length for ref in self._ref_of.values())

    def add(self, data: bytes) -> int:
        """Takes a blob of at most 32 MiB (1 MiB reads best) and returns its ticket: its index in `finish()`'s result.

        Blobs lie in the repository in the order of their tickets. Raises what an earlier blob's pack raised.
        """
        if len(data) > LARGEST_BLOB:
            raise ValueError(f"found a blob of {len(data)} bytes, expected at most {LARGEST_BLOB}")
        if self._is_finished:
            raise RuntimeError("the writer is finished, expected no more blobs")
        while self._in_flight and (self._is_ready() or self._in_flight_bytes + len(data) > _IN_FLIGHT_BYTES):
            self._place_oldest()
        self._in_flight.append((self._workers.submit(self._prepare, data), len(data)))
        self._in_flight_bytes += len(data)
        self._tickets += 1
        return self._tickets - 1

    def finish(self) -> tuple[BlobRef, ...]:
        """Where each ticket's blob lies; all of it durable."""
        while self._in_flight:
            self._place_oldest()
        self._close_pack()
        self._wait_for_upload()
        self._store.barrier()
        self._is_finished = True
        return tuple(self._refs)

    def _prepare(self, data: bytes) -> _Prepared:
        identity = blob_id(self._id_key, data)
        if identity in self._ref_of:
            return _Prepared(identity, len(data), Codec.RAW, b"")
        return _Prepared(identity, len(data), *compress(data))

    def _is_ready(self) -> bool:
        return self._in_flight[0][0].done()

    def _place_oldest(self) -> None:
        future, size = self._in_flight.popleft()
        self._in_flight_bytes -= size
        self._refs.append(self._place(future.result()))

    def _place(self, blob: _Prepared) -> BlobRef:
        known = self._ref_of.get(blob.identity)
        if known is not None:
            return known
        if self._builder is None:
            self._builder = PackBuilder(self._keyring)
        ref = self._builder.append(blob.identity, blob.raw_length, blob.codec, blob.payload)
        self._ref_of[blob.identity] = ref
        if len(self._builder) >= self._pack_bytes:
            self._close_pack()
        return ref

    def _close_pack(self) -> None:
        if self._builder is None:
            return
        builder, self._builder = self._builder, None
        self._wait_for_upload()
        self._put_packs.append(pack_name(builder.id))
        self._upload = self._uploader.submit(self._put, self._put_packs[-1], builder)

    def _put(self, name: str, builder: PackBuilder) -> None:
        if not self._store.put_if_absent(name, builder.finish(), durable=False):
            raise errors.RP007.error(f"found {name} in the store, expected a random name to be free")

    def _wait_for_upload(self) -> None:
        if self._upload is not None:
            upload, self._upload = self._upload, None
            upload.result()

    def _withdraw(self) -> None:
        """No manifest names these packs; what cannot be deleted now is garbage that harms nobody."""
        for name in self._put_packs:
            with contextlib.suppress(NotFound, errors.SafepointError):
                self._store.delete(name)

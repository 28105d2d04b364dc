"""Packs on their way to the store: one is put at a time, in a thread of its own, and who brings the next one waits.

The order is what makes a kill harmless: packs, barrier, what lists them, barrier. A failure is final.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from safepoint import errors
from safepoint.repository.names import pack_name
from safepoint.repository.packs.pack import PackBuilder, PackContents
from safepoint.stores.port import NotFound, Store

_MOST_UNLISTED_BLOBS = 65_536
_LISTED_EVERY_SECONDS = 300.0
"""What is listed is found by the next writer, should this one be killed."""


class Uploads:
    """Puts packs and has them listed by `on_packs`, each once, when they are durable."""

    def __init__(self, store: Store, on_packs: Callable[[Sequence[PackContents]], object] | None) -> None:
        self._store = store
        self._on_packs = on_packs
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="safepoint-pack")
        self._room = threading.Semaphore()
        self._attempted: list[bytes] = []
        self._unlisted: list[PackContents] = []
        self._listed: set[bytes] = set()
        self._listed_at = time.monotonic()
        self._failure: BaseException | None = None

    @property
    def packs(self) -> tuple[bytes, ...]:
        """The ids of the packs that are in the store, or may be."""
        return tuple(self._attempted)

    def require_sound(self) -> None:
        """Raises what an earlier upload, or a blob's place in a pack, raised."""
        if self._failure is not None:
            raise self._failure

    def fail(self, error: BaseException) -> None:
        """Nothing more is put, and nothing that was put will be listed."""
        self._failure = self._failure or error

    def put(self, builder: PackBuilder) -> None:
        """The pack is on its way, as soon as the one before it is in the store; raises what that raised."""
        self._room.acquire()
        try:
            self.require_sound()
            self._thread.submit(self._upload, builder)  # which releases it
        except BaseException:
            self._room.release()
            raise

    def finish(self) -> None:
        """All packs, and what lists them, are durable."""
        self._thread.shutdown(wait=True)
        self.require_sound()
        if self._unlisted:
            self._list()
        self._store.barrier()

    def keep(self) -> None:
        """No upload is under way, and the packs that are whole in the store are listed, as far as that is possible.

        Also after a failure: what is listed is what was put and is durable, whatever became of the rest.
        """
        self._thread.shutdown(wait=True)
        if self._unlisted:
            with contextlib.suppress(errors.SafepointError):
                self._list()
                self._store.barrier()

    def withdraw(self) -> None:
        """No upload is under way, and what was put and not listed is deleted; what cannot be is garbage.

        What was listed stays: another writer may have found it and referred to it since.
        """
        self._thread.shutdown(wait=True)
        for pack in self._attempted:
            if pack in self._listed:
                continue
            with contextlib.suppress(NotFound, errors.SafepointError):
                self._store.delete(pack_name(pack))

    def _upload(self, builder: PackBuilder) -> None:
        try:
            self.require_sound()
            self._put(builder)
            builder.release()
        except BaseException as error:  # noqa: BLE001 - raised to the next caller, whatever it is
            self.fail(error)
        finally:
            self._room.release()

    def _put(self, builder: PackBuilder) -> None:
        name, contents = pack_name(builder.id), builder.contents()
        self._attempted.append(builder.id)
        if not self._store.put_if_absent(name, builder.finish(), durable=False):
            raise errors.RP007.error(f"found {name} in the store, expected a random name to be free")
        self._unlisted.append(contents)
        is_time = time.monotonic() - self._listed_at > _LISTED_EVERY_SECONDS
        if is_time or sum(map(len, self._unlisted)) >= _MOST_UNLISTED_BLOBS:
            self._list()

    def _list(self) -> None:
        """The packs are durable first: a list that survives a power cut names no pack that did not."""
        self._store.barrier()
        unlisted, self._unlisted = self._unlisted, []
        self._listed_at = time.monotonic()
        if self._on_packs is not None:
            self._listed.update(contents.pack for contents in unlisted)
            self._on_packs(unlisted)

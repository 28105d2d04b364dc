"""The adapter that the cloud stores share: the port on top of `obstore`.

Nothing is tried again here (`retry.py` does that, and must know of each attempt), except pages of a listing and parts
of an upload: only obstore knows where those stopped.

A put is one conditional request. An object larger than `Service.largest_put` is uploaded in parts to a name that no
listing shows, copied to its own name by the store on condition that it is free, and deleted: obstore offers no
condition for an upload in parts. Killed in between, `tmp/.put-…` stays; a later writer removes it once it is a day
old. Without conditional put (`Capabilities`), a put looks first, then puts, then reads back and compares: right with
one writer, a race with two.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Callable, Generator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError

from safepoint import errors
from safepoint.model.measures import format_bytes
from safepoint.stores._object_client import Clients, Deadlines, Service
from safepoint.stores._object_errors import Answer, answer_of, explained, is_beyond_the_end, is_taken
from safepoint.stores.port import Capabilities, Data, NotFound, check_name, check_prefix

_PIECE_BYTES = 16 * 1024 * 1024
_PART_BYTES = 16 * 1024 * 1024
_PARTS_AT_ONCE = 4
_REPEATS = 3
_TEMPORARY = "tmp/.put-"
_STALE = timedelta(days=1)
_PAGE = 1000

# Its listings are typed by what they would return as Arrow tables, a package that is not installed.
_untyped: Any = obstore


class ObjectStore:
    """The port over a bucket. May be used from several threads; opening touches nothing."""

    def __init__(self, service: Service, deadlines: Deadlines) -> None:
        self._service = service
        self._root = f"{service.prefix}/" if service.prefix else ""
        self._client = Clients(service.connect, deadlines).client
        self._lock = threading.Lock()
        self._is_swept = False

    def __repr__(self) -> str:
        return f"ObjectStore({self._service.place!r})"

    def __str__(self) -> str:
        return self._service.place

    @property
    def capabilities(self) -> Capabilities:
        """As the port says."""
        return self._service.capabilities

    def put_if_absent(self, name: str, data: Data, *, durable: bool = True) -> bool:
        """As the port says. An object store that answers has the object durably: `durable` changes nothing."""
        del durable
        data = bytes(data)  # a call past its deadline may still be sending when the caller goes on
        key = self._key(name)
        self._require_room(name, len(data))
        with self._asked(f"store {name}", name):
            if not self.capabilities.conditional_put:
                return self._put_and_compare(name, key, data)
            if len(data) > self._service.largest_put:
                return self._put_in_parts(name, key, data)
            return self._created(
                lambda: obstore.put(self._client(len(data)), key, data, mode="create", use_multipart=False)
            )

    def get(self, name: str) -> bytes:
        """As the port says, in pieces of 16 MiB."""
        key = self._key(name)
        with self._asked(f"read {name}", name):
            try:
                first = obstore.get(self._client(_PIECE_BYTES, is_read=True), key, options={"range": (0, _PIECE_BYTES)})
                size, data = first.meta["size"], bytes(first.bytes())
            except BaseError as error:
                if is_beyond_the_end(answer_of(error)):
                    return b""
                raise
            whole = data if len(data) == size else data + self._pieces(key, len(data), size)
        if len(whole) != size:
            raise self._cut_short(f"read {name}", len(whole), size)
        return whole

    def get_range(self, name: str, offset: int, length: int) -> bytes:
        """As the port says, in pieces of 16 MiB."""
        key = self._key(name)
        if length < 1:
            self.size(name)
            return b""
        with self._asked(f"read {name}", name):
            return self._pieces(key, offset, offset + length)

    def list(self, prefix: str) -> Iterator[str]:
        """As the port says, from memory once all pages are there: stores differ in what they take for order."""
        folder, _, rest = check_prefix(prefix).rpartition("/")
        with self._asked(f"list {prefix or 'everything'}"):
            under = self._root + (f"{folder}/" if folder else "")
            names = self._names(under) if not rest else self._names_beginning(under, rest)
        yield from sorted(name for name in names if _is_name(name))

    def size(self, name: str) -> int:
        """As the port says."""
        key = self._key(name)
        with self._asked(f"look at {name}", name):
            return self._head(key)

    def delete(self, name: str) -> None:
        """As the port says. Stores answer alike whether or not there was something to delete: so it looks first."""
        key = self._key(name)
        with self._asked(f"delete {name}", name):
            self._head(key)
            obstore.delete(self._client(0), key)

    def barrier(self) -> None:
        """Nothing to do: every put that was answered is durable."""

    def _key(self, name: str) -> str:
        return self._root + check_name(name)

    def _require_room(self, name: str, size: int) -> None:
        largest = self.capabilities.largest_object
        if largest is not None and size > largest:
            raise errors.ST005.error(
                f"found {format_bytes(size)} to store as {name}, expected at most {format_bytes(largest)}",
                changed="nothing was stored",
            )

    @staticmethod
    def _created(put: Callable[[], object]) -> bool:
        try:
            put()
        except AlreadyExistsError as error:
            if is_taken(answer_of(error)):
                return False
            raise
        return True

    def _put_in_parts(self, name: str, key: str, data: bytes) -> bool:
        if self._exists(key):
            return False
        self._sweep()
        temporary = f"{self._root}{_TEMPORARY}{secrets.token_hex(16)}"
        try:
            obstore.put(
                self._client(_PART_BYTES, repeats=_REPEATS),
                temporary,
                data,
                use_multipart=True,
                chunk_size=_part_bytes(len(data)),
                max_concurrency=_PARTS_AT_ONCE,
            )
            self._require_size(name, temporary, len(data))
            is_new = self._created(lambda: obstore.copy(self._client(len(data)), temporary, key, overwrite=False))
            if is_new:
                self._require_size(name, key, len(data))
            return is_new
        finally:
            with contextlib.suppress(BaseError, OSError):
                obstore.delete(self._client(0), temporary)

    def _require_size(self, name: str, key: str, expected: int) -> None:
        """An upload or copy that was answered well and is not there as a whole is no success."""
        found = self._head(key)
        if found != expected:
            raise self._cut_short(f"store {name}", found, expected)

    def _cut_short(self, doing: str, found: int, expected: int) -> errors.SafepointError:
        return errors.ST001.error(
            f"cannot {doing}: found {found} bytes at {self._service.place}, expected {expected}",
            changed="nothing is known to have been stored" if doing.startswith("store") else errors.NOTHING_CHANGED,
            hints=[errors.ask("does a proxy, or the server, answer with success before it has done its work?")],
        )

    def _put_and_compare(self, name: str, key: str, data: bytes) -> bool:
        if self._exists(key):
            return False
        obstore.put(self._client(len(data)), key, data, mode="overwrite", use_multipart=False)
        if self.get(name) != data:
            raise errors.ST001.error(
                f"cannot store {name}: found other bytes at {self._service.place} afterwards, expected those just put",
                changed="an object of this name is there, from another writer",
                hints=[errors.ask("is a second writer at work? Without conditional put there may be only one")],
            )
        return True

    def _exists(self, key: str) -> bool:
        try:
            self._head(key)
        except FileNotFoundError as error:
            if not answer_of(error).is_absent:
                raise
            return False
        return True

    def _head(self, key: str) -> int:
        """Its size. An answer to HEAD that says little is asked for again by GET, whose answer tells the cause."""
        try:
            return obstore.head(self._client(0), key)["size"]
        except (BaseError, FileNotFoundError) as error:
            if not answer_of(error).tells_little:
                raise
        try:
            return obstore.get(self._client(0), key, options={"range": (0, 1)}).meta["size"]
        except BaseError as error:
            if is_beyond_the_end(answer_of(error)):
                return 0
            raise

    def _pieces(self, key: str, start: int, end: int) -> bytes:
        """Bytes [start, end) of the object, fewer where it ends before."""
        pieces: list[bytes] = []
        while start < end:
            stop = min(start + _PIECE_BYTES, end)
            try:
                piece = bytes(obstore.get_range(self._client(stop - start, is_read=True), key, start=start, end=stop))
            except BaseError as error:
                if not is_beyond_the_end(answer_of(error)):
                    raise
                break
            pieces.append(piece)
            if len(piece) < stop - start:
                break
            start = stop
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _names(self, under: str) -> list[str]:
        pages = _untyped.list(self._client(0, repeats=_REPEATS), prefix=under or None, chunk_size=_PAGE)
        return [entry["path"][len(self._root) :] for page in pages for entry in page]

    def _names_beginning(self, under: str, rest: str) -> list[str]:
        """obstore lists whole folders only: one listing of the folder, and one of each sub-folder that fits."""
        found = _untyped.list_with_delimiter(self._client(0, repeats=_REPEATS), prefix=under or None)
        begin = under + rest
        names = [path[len(self._root) :] for entry in found["objects"] if (path := entry["path"]).startswith(begin)]
        for folder in found["common_prefixes"]:
            if folder.startswith(begin):
                names.extend(self._names(folder.rstrip("/") + "/"))
        return names

    def _sweep(self) -> None:
        """Removes what writers that died a day ago left of uploads in parts, as far as that is allowed."""
        with self._lock:
            if self._is_swept:
                return
            self._is_swept = True
        oldest = datetime.now(UTC) - _STALE
        with contextlib.suppress(BaseError, OSError):
            found = _untyped.list_with_delimiter(self._client(0), prefix=f"{self._root}tmp/")
            for entry in found["objects"]:
                is_ours = entry["path"].startswith(self._root + _TEMPORARY)
                if is_ours and entry["last_modified"] < oldest:
                    obstore.delete(self._client(0), entry["path"])

    @contextlib.contextmanager
    def _asked(self, doing: str, name: str = "") -> Generator[None]:
        try:
            yield
        except (BaseError, FileNotFoundError, PermissionError) as error:
            raise self._reported(answer_of(error), doing, name) from None

    def _reported(self, answer: Answer, doing: str, name: str) -> Exception:
        is_read = not doing.startswith(("store", "list"))
        return NotFound(name) if is_read and answer.is_absent else explained(answer, doing, self._service.place)


def _part_bytes(size: int) -> int:
    """S3 takes 10,000 parts at most; parts grow so that 9,000 hold the object."""
    return max(_PART_BYTES, size // 9000 + 1)


def _is_name(name: str) -> bool:
    try:
        check_name(name)
    except ValueError:
        return False
    return True

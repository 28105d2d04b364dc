"""Moving blobs from packs that shall go into new ones, so that every reference to them holds at every moment.

Under a lease of its own: new packs, durable; then the index that lists them and says what they replace, durable; then
the end of the lease, which names that index. Only with that end the replacement counts. Killed before it, the new
packs are garbage and nothing has changed; after it, the old ones are. Nothing is deleted here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Generator, Iterable
from contextlib import contextmanager
from datetime import UTC

from safepoint import errors
from safepoint.model.backup import BlobRef
from safepoint.repository.care.journalled_store import with_journalled_indexes
from safepoint.repository.commit.lease_objects import End, Outcome, read_end, seal_end
from safepoint.repository.commit.leases import HeldLease, begin_lease
from safepoint.repository.names import end_name
from safepoint.repository.packs.index import MOST_REPLACED, put_index
from safepoint.repository.packs.pack import BlobKind, PackContents
from safepoint.repository.packs.replacements import read_replacements
from safepoint.repository.packs.writer import PackWriter
from safepoint.repository.repository import Repository
from safepoint.stores.port import NotFound


class Move:
    """Blobs on their way into new packs, under one lease; `moving` makes it. One thread at a time."""

    def __init__(self, repository: Repository, lease: HeldLease) -> None:
        self.lease = lease
        self._repository = repository
        self._contents: list[PackContents] = []
        self._replaces: set[bytes] = set()
        self.writer = PackWriter(repository.store, repository.keyring, tag=lease.tag, on_packs=self._contents.extend)

    @property
    def replaced(self) -> frozenset[bytes]:
        """The packs that are replaced when this ends well."""
        return frozenset(self._replaces)

    def put(self, raw: bytes, kind: BlobKind) -> BlobRef:
        """The blob, to be found in a new pack when this has ended well."""
        self.lease.renew()
        return self.writer.put_blob(raw, kind=kind)

    def replace(self, packs: Iterable[bytes]) -> None:
        """Blobs of these packs were put: whoever refers to one there, is served from here."""
        self._replaces |= set(packs)

    def serve_from(self, contents: PackContents) -> None:
        """This pack, usable under the lease and listed before, serves what is replaced, too."""
        self._contents.append(contents)

    def finish(self, cluster: str) -> str | None:
        """The replacement counts, durably: the name of its index, None when nothing was put. RP013."""
        self.writer.finish()
        if not self._contents:
            return None
        name = self._put_index(cluster)
        self._end(name)
        return name

    def _put_index(self, cluster: str) -> str:
        """The index says of all packs of the chain that they are replaced, also if a copy made it longer meanwhile.

        Killed here, or outgrown by a later one? An index that the end does not name never counts.
        """
        store, keyring = self._repository.store, self._repository.keyring
        replaces, names = self._chain(), list[str]()
        while True:
            name = put_index(
                store, keyring, cluster, self._contents, names[-1:], replaces=replaces, lease=self.lease.id
            )
            names.append(name)
            now = self._chain()
            if now <= replaces:
                return name
            replaces = now

    def _chain(self) -> frozenset[bytes]:
        """What is replaced and what led there before; at most as many as an index may name.

        Upkeep keeps the links of whatever there was no room for (`packs/index_upkeep.py`).
        """
        earlier = _read_earlier(self._repository, self._replaces) - self._replaces
        return frozenset({*self._replaces, *sorted(earlier)[: max(0, MOST_REPLACED - len(self._replaces))]})

    def _end(self, index: str) -> None:
        """When no answer comes it is unknown whether it counts; both are sound, and the next run tells."""
        store, keyring, lease_id = self._repository.store, self._repository.keyring, self.lease.id
        at = self._repository.clock().astimezone(UTC).isoformat()
        end = End(outcome=Outcome.ABANDONED, manifest=index, at=at)
        if store.put_if_absent(end_name(lease_id), seal_end(keyring, lease_id, end)):
            return
        found = read_end(store, keyring, lease_id)
        if found != end:  # it is, when an answer was lost and the put was made again
            raise _revoked(lease_id, found)


@contextmanager
def moving(repository: Repository, *, purpose: str, database: str = "") -> Generator[Move]:
    """A context in which blobs are moved; left without `finish`, nothing has changed. The journal tells of indexes."""
    repository = with_journalled_indexes(repository)
    lease = begin_lease(
        repository.store, repository.keyring, purpose=purpose, database=database, clock=repository.clock
    )
    try:
        move = Move(repository, lease)
        try:
            yield move
        finally:
            move.writer.abandon()
    finally:
        with contextlib.suppress(NotFound, errors.SafepointError):
            lease.abandon()


def _read_earlier(repository: Repository, packs: Collection[bytes]) -> frozenset[bytes]:
    """Read again when an index was superseded and deleted under our eyes."""
    known = None
    while True:
        replacements = read_replacements(repository.store, repository.keyring)
        try:
            return replacements.earlier(packs)
        except errors.Damaged as error:
            before, known = known, error.message
            if error.spec is not errors.RP004 or before == known:
                raise


def _revoked(lease_id: str, found: End) -> errors.SafepointError:
    by = f" by {found.by}" if found.by else ""
    return errors.RP013.error(
        f"found lease {lease_id} {found.outcome.value}{by}, expected it to be held until the new packs counted",
        changed="nothing was replaced; what was stored for it is left to the next collection",
        hints=[
            errors.ask("did this machine sleep for a day, is a clock wrong, or was `unlock` or `gc --force` run?"),
            errors.run("run it again"),
        ],
    )

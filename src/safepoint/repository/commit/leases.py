"""Leases: who is writing, and the one object by which a backup comes to exist or never will.

A writer puts its lease before it looks at tombstones and packs, in this order; what it may reuse is decided once,
then. Whoever puts the end first wins: the writer commits, or somebody revokes. Clocks say only when to try. Nothing
of a lease is ever deleted, so that a writer that wakes up late loses.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from blake3 import blake3

from safepoint import errors
from safepoint.model.json_value import Json
from safepoint.model.measures import Clock, format_duration
from safepoint.repository.commit.lease_objects import (
    End,
    LeaseNames,
    Outcome,
    list_leases,
    new_lease_id,
    read_end,
    seal_end,
    seal_fact,
    tag_of,
)
from safepoint.repository.commit.tombstones import condemned_packs
from safepoint.repository.commit.writer_process import WriterProcess, process_of, this_process, why_gone
from safepoint.repository.names import PACKS_PREFIX, begin_name, end_name, lease_named_by, pack_of, renewal_name
from safepoint.repository.parallel import in_threads
from safepoint.repository.sealing.objects import read_own
from safepoint.repository.sealing.seal import Keyring, Kind
from safepoint.stores.port import NotFound, Store

RENEWAL_INTERVAL = timedelta(hours=1)
STALE_AFTER = timedelta(hours=24)
_COPIES = "copies"
_PROCESS = "process"
_PURPOSE = "purpose"
REPAIR = "repair"
"""The purpose of a lease that commits again what this repository had committed: its manifest comes from here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenLease:
    """A lease that has not ended. What could not be read is None: then nothing says that it is stale."""

    id: str
    purpose: str | None = None
    database: str | None = None
    host: str | None = None
    pid: int | None = None
    begun_at: datetime | None = None
    seen_at: datetime | None = None
    process: WriterProcess | None = None
    copies: str | None = None
    """The manifest that another lease had first: that comes from elsewhere, or is committed again."""

    def why_dead(self) -> str | None:
        """How it is proven on this machine that the writer does not run any more; None when it may."""
        return None if self.process is None else why_gone(self.process)

    def makes(self, manifest: str) -> bool:
        """Whether the lease began for the backup of this name."""
        return manifest == self.copies or lease_named_by(manifest) == self.id

    def is_stale(self, now: datetime) -> bool:
        """Nothing was heard of its writer for a day, by clocks that may differ."""
        return self.seen_at is not None and now - self.seen_at > STALE_AFTER

    def describe(self, now: datetime) -> str:
        """`backup of shop by host db1, process 4711, last heard of 3h 10m ago`."""
        heard = "at an unknown time" if self.seen_at is None else f"{format_duration(now - self.seen_at)} ago"
        return (
            f"{self.purpose or 'unknown work'} of {self.database or 'an unknown database'} by host "
            f"{self.host or 'unknown'}, process {self.pid or 'unknown'}, last heard of {heard}"
        )


class HeldLease:
    """The lease of a writer at work, made by `begin_lease`. May be used from several threads.

    `id` is also the last part of the manifest's name, unless the backup was made elsewhere. `tag` belongs into the
    ids of the packs that are put under the lease, as bytes [22, 30): a collection then leaves them alone until the
    lease has ended. `unreadable` names tombstones that do not open: then no pack is usable.
    """

    def __init__(
        self,
        store: Store,
        keyring: Keyring,
        lease_id: str,
        *,
        clock: Clock,
        usable: AbstractSet[bytes],
        unreadable: tuple[str, ...] = (),
    ) -> None:
        self.id = lease_id
        self.tag = tag_of(lease_id)
        self.unreadable = unreadable
        self._store = store
        self._keyring = keyring
        self._clock = clock
        self._usable = usable
        self._lock = threading.Lock()
        self._renewed_at = clock()
        self._renewals = 0
        self._own_end: tuple[End, bytes] | None = None

    def is_usable(self, pack: bytes) -> bool:
        """Whether blobs of this pack, which another lease put, may be reused. What is not known here is not."""
        return pack in self._usable

    def renew(self) -> None:
        """Says that the writer lives, when it has not done so for an hour. To be called often."""
        with self._lock:
            if abs(self._clock() - self._renewed_at) < RENEWAL_INTERVAL:
                return
            self._renewed_at = self._clock()
            self._renewals += 1
            name = renewal_name(self.id, self._renewals)
        self._store.put_if_absent(name, seal_fact(self._keyring, Kind.LEASE, name, {}, self._clock))

    def commit(self, manifest: str, sealed: bytes) -> None:
        """The backup exists, durably. Everything it refers to must be durable before.

        BK001 when the lease was revoked: then it never will. RP007 when the name is taken. ST001 when no answer came:
        calling again with the same arguments settles it.
        """
        self._put_manifest(manifest, sealed)
        end = End(outcome=Outcome.COMMITTED, manifest=manifest, digest=blake3(sealed).hexdigest())
        found = self._put_end(end)
        if found != end:
            self._withdraw(manifest)
            raise _voided(manifest, found)

    def abandon(self) -> bool:
        """The lease has ended; True when nothing was committed under it. What was put is left to a collection.

        Packs must not be deleted here: since an index lists them, others may have reused them.
        """
        at = self._clock().astimezone(UTC).isoformat()
        return self._put_end(End(outcome=Outcome.ABANDONED, at=at)).outcome is not Outcome.COMMITTED

    def _put_manifest(self, manifest: str, sealed: bytes) -> None:
        while not self._store.put_if_absent(manifest, sealed):
            with contextlib.suppress(NotFound):  # expired since an answer was lost: the end knows, put it again
                if _has(self._store, manifest, sealed):
                    return
                raise errors.RP007.error(f"found another backup stored as {manifest}, expected the name free")

    def _put_end(self, end: End) -> End:
        """The end that holds, of whomever."""
        sealed = self._sealed_end(end)
        try:
            is_ours = self._store.put_if_absent(end_name(self.id), sealed)
        except errors.Unreachable as error:
            is_ours = self._has_arrived(sealed, error)
        if is_ours or _has(self._store, end_name(self.id), sealed):
            return end
        return read_end(self._store, self._keyring, self.id)

    def _sealed_end(self, end: End) -> bytes:
        """The same bytes when asked again: an answer that was lost must not read as somebody else's end."""
        with self._lock:
            if self._own_end is None or self._own_end[0] != end:
                self._own_end = end, seal_end(self._keyring, self.id, end)
            return self._own_end[1]

    def _has_arrived(self, sealed: bytes, error: errors.SafepointError) -> bool:
        """Whether the put without an answer took effect; raises when that cannot be told: it may do so yet."""
        try:
            return _has(self._store, end_name(self.id), sealed)
        except (NotFound, errors.Unreachable):
            raise error.spec.error(
                error.message,
                changed=f"it is unknown whether lease {self.id} ended with this; nothing that exists was changed",
                hints=error.hints,
            ) from error

    def _withdraw(self, manifest: str) -> None:
        """A name that only this lease can commit is of no use to anybody; a copied one may be committed by another."""
        if lease_named_by(manifest) == self.id:
            with contextlib.suppress(NotFound, errors.SafepointError):
                self._store.delete(manifest)


def begin_lease(
    store: Store, keyring: Keyring, *, purpose: str, database: str, clock: Clock, copies: str | None = None
) -> HeldLease:
    """A lease, durably begun, that knows which packs it may reuse: one listing of packs/.

    `copies` is the manifest that comes from elsewhere or is committed again: another lease named it.
    RP010 when the store has no conditional put and another lease is open.
    """
    lease_id = new_lease_id(clock())
    name = begin_name(lease_id)
    who: dict[str, Json] = {"purpose": purpose, "database": database, "host": socket.gethostname(), "pid": os.getpid()}
    who |= {_PROCESS: dict(this_process().to_facts())} | ({} if copies is None else {_COPIES: copies})
    store.put_if_absent(name, seal_fact(keyring, Kind.LEASE, name, who, clock))
    try:
        if not store.capabilities.conditional_put:
            _require_alone(store, keyring, lease_id, clock())
        condemned = condemned_packs(store, keyring)
        packs = list_packs(store)
    except BaseException:
        unused = HeldLease(store, keyring, lease_id, clock=clock, usable=frozenset())
        with contextlib.suppress(NotFound, errors.SafepointError):
            unused.abandon()
        raise
    usable = frozenset[bytes]() if condemned.unreadable else packs - condemned.packs
    return HeldLease(store, keyring, lease_id, clock=clock, usable=usable, unreadable=condemned.unreadable)


def list_packs(store: Store) -> frozenset[bytes]:
    """The ids of all packs that are there, from one listing; other names below packs/ are left out."""
    return frozenset(pack for name in store.list(PACKS_PREFIX) if (pack := pack_of(name)) is not None)


def open_leases(store: Store, keyring: Keyring) -> tuple[OpenLease, ...]:
    """All leases that have not ended, oldest first by their writers' clocks."""
    return read_leases(store, keyring, [names for names in list_leases(store).values() if not names.has_end])


def read_leases(store: Store, keyring: Keyring, leases: list[LeaseNames]) -> tuple[OpenLease, ...]:
    """What these leases say of their writers."""
    found = in_threads(lambda names: _read_lease(store, keyring, names), leases)
    return tuple(sorted(found, key=lambda lease: lease.id))


def manifests_copied(store: Store, keyring: Keyring) -> frozenset[str]:
    """The manifests that came, or were to come, from elsewhere under some lease. Reads the begin of every lease."""
    begun = [begin_name(names.id) for names in list_leases(store).values() if names.has_begin]
    found = in_threads(lambda name: _try_facts(store, keyring, name), begun)
    names = (_text(facts.get(_COPIES)) for facts in found if facts.get(_PURPOSE) != REPAIR)
    return frozenset(name for name in names if name is not None)


def revoke(store: Store, keyring: Keyring, lease_id: str, *, by: str, clock: Clock) -> End:
    """The lease has ended; returns how. A writer that committed before has won, every other one has lost."""
    end = End(outcome=Outcome.REVOKED, by=by, at=clock().astimezone(UTC).isoformat())
    if store.put_if_absent(end_name(lease_id), seal_end(keyring, lease_id, end)):
        return end
    return read_end(store, keyring, lease_id)


def _require_alone(store: Store, keyring: Keyring, lease_id: str, now: datetime) -> None:
    for lease in open_leases(store, keyring):
        if lease.id != lease_id:
            raise errors.RP010.error(
                f"found lease {lease.id} open ({lease.describe(now)}), expected none: {store} cannot tell which of "
                "two writers comes first",
                hints=[
                    errors.ask("is another backup running?"),
                    errors.run("wait for it; when its writer is dead: `safepoint repository unlock`"),
                ],
            )


def _read_lease(store: Store, keyring: Keyring, names: LeaseNames) -> OpenLease:
    begin = _try_facts(store, keyring, begin_name(names.id))
    begun_at = _instant(begin.get("at"))
    renewal = _try_facts(store, keyring, names.newest_renewal) if names.newest_renewal else {"at": begin.get("at")}
    pid = begin.get("pid")
    return OpenLease(
        id=names.id,
        purpose=_text(begin.get("purpose")),
        database=_text(begin.get("database")),
        host=_text(begin.get("host")),
        pid=pid if isinstance(pid, int) else None,
        begun_at=begun_at,
        seen_at=_instant(renewal.get("at")),
        process=process_of(begin.get(_PROCESS)),
        copies=_text(begin.get(_COPIES)),
    )


def _try_facts(store: Store, keyring: Keyring, name: str) -> dict[str, object]:
    try:
        return read_own(store, keyring, Kind.LEASE, name).facts
    except errors.Damaged:
        return {}


def _has(store: Store, name: str, sealed: bytes) -> bool:
    """Whether the object is these bytes; NotFound. Fetches no more than tells."""
    return store.get_range(name, 0, len(sealed) + 1) == sealed


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _instant(text: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def _voided(manifest: str, end: End) -> errors.SafepointError:
    by = f" by {end.by}" if end.by else ""
    when = f" at {end.at}" if end.at else ""
    return errors.BK001.error(
        f"found the lease of {manifest} {end.outcome.value}{by}{when}, expected it to be held until the backup existed",
        changed="no backup was made; what was stored for it is left to the next collection",
        hints=[
            errors.ask("did the writer sleep for a day, is a clock wrong, or was `unlock` or `gc --force` run?"),
            errors.run("take the backup again"),
        ],
    )

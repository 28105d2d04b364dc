"""Which backups exist: those whose manifest is there and whose lease ended with it, and was not expired since.

Nothing here is silent: what cannot be known is named. Costs one listing of leases/, one of backups/, and a small read
for each lease that ended and did not expire.
"""

from __future__ import annotations

import contextlib
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from safepoint import errors
from safepoint.model.measures import Clock
from safepoint.repository.commit.lease_objects import (
    End,
    LeaseNames,
    Outcome,
    begin_name,
    end_name,
    expired_name,
    lease_named_by,
    list_leases,
    read_end,
    seal_end,
    seal_fact,
)
from safepoint.repository.commit.parallel import in_threads
from safepoint.repository.sealing.seal import Keyring, Kind
from safepoint.stores.port import NotFound, Store

BACKUPS_PREFIX = "backups/"


@dataclass(frozen=True, slots=True, kw_only=True)
class CommittedBackup:
    """A manifest's name, the BLAKE3 of its object in hex, and the lease that committed it."""

    manifest: str
    digest: str
    lease: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Backups:
    """What the repository says of its backups, each part sorted by name.

    `missing`: committed, not expired, and the manifest is not there: hidden or lost. `unreadable`: ends that do not
    open, so that it is unknown whether a backup exists. `void`: manifests that are no backup and never will be.
    `undecided`: other manifests that are no backup: their writers are at work, or unknown here. `unbegun`: those of
    them of whose own lease no begin is there: they come from elsewhere (`manifests_copied`), or somebody hides it.
    """

    existing: tuple[CommittedBackup, ...]
    missing: tuple[CommittedBackup, ...] = ()
    unreadable: tuple[str, ...] = ()
    void: tuple[str, ...] = ()
    undecided: tuple[str, ...] = ()
    unbegun: tuple[str, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether `existing` is all there is: otherwise nothing may be deleted on its word."""
        return not self.unknown

    @property
    def unknown(self) -> tuple[str, ...]:
        """The objects, missing or not to be opened, that would say what else exists."""
        return (*(backup.manifest for backup in self.missing), *self.unreadable)


def existing_backups(store: Store, keyring: Keyring) -> Backups:
    """What exists now. Leases are listed before manifests: a manifest is put before its end, and deleted after."""
    leases = list_leases(store)
    manifests = frozenset(store.list(BACKUPS_PREFIX))
    committed, unreadable = _read_ends(store, keyring, leases)
    existing = [backup for backup in committed if backup.manifest in manifests]
    missing: list[CommittedBackup] = []
    for backup in committed:
        if backup.manifest not in manifests:
            is_there, is_expired = _look_again(store, backup)
            if not is_expired:
                (existing if is_there else missing).append(backup)
    undecided = manifests - {backup.manifest for backup in existing}
    void = _void(store, keyring, leases, undecided, unreadable)
    return Backups(
        existing=tuple(sorted(existing, key=lambda backup: backup.manifest)),
        missing=tuple(sorted(missing, key=lambda backup: backup.manifest)),
        unreadable=tuple(sorted(end_name(lease_id) for lease_id in unreadable)),
        void=tuple(sorted(void)),
        undecided=tuple(sorted(undecided - void)),
        unbegun=tuple(sorted(name for name in undecided - void if _is_unbegun(store, leases, name))),
    )


def names_ever_committed(store: Store, keyring: Keyring) -> frozenset[str]:
    """The names of all manifests that are or were backups: none may be committed again. RP005 for a damaged end."""
    ended = [names.id for names in list_leases(store).values() if names.has_end]
    ends = in_threads(lambda lease_id: read_end(store, keyring, lease_id), ended)
    return frozenset(end.manifest for end in ends if end.manifest is not None)


def expire(
    store: Store, keyring: Keyring, name: str, reason: str, clock: Clock, claimed: AbstractSet[str] = frozenset()
) -> None:
    """The backup does not exist any more, durably; BK003 when there was none. Its packs are a collection's.

    Also for a backup whose manifest is missing, whose end does not open or whose lease is gone, and for one that is
    only `claimed` to exist: that is how each is given up. Killed here: it exists, or is given up again.
    """
    for lease_id in _expirable(store, keyring, name, claimed):
        end = End(outcome=Outcome.REVOKED, manifest=name, by="expiry")  # only when there is none
        store.put_if_absent(end_name(lease_id), seal_end(keyring, lease_id, end))
        expired = expired_name(lease_id)
        store.put_if_absent(expired, seal_fact(keyring, Kind.END, expired, {"reason": reason}, clock))
    with contextlib.suppress(NotFound):
        store.delete(name)
    store.barrier()


def require_expirable(store: Store, keyring: Keyring, name: str, claimed: AbstractSet[str] = frozenset()) -> None:
    """BK003 unless `expire` would find something of this name."""
    _expirable(store, keyring, name, claimed)


def _expirable(store: Store, keyring: Keyring, name: str, claimed: AbstractSet[str]) -> list[str]:
    """The leases that make, or may make, a backup of this manifest; none for one that is no backup. BK003."""
    backups = existing_backups(store, keyring)
    leases = [backup.lease for backup in (*backups.existing, *backups.missing) if backup.manifest == name]
    own = lease_named_by(name)
    is_lost = own is not None and end_name(own) in backups.unreadable
    if own is not None and not leases and (is_lost or name in backups.unbegun or name in claimed):
        leases.append(own)
    if not leases and name not in backups.void:
        raise errors.BK003.error(
            f"found no backup {name} among {len(backups.existing)}, expected one",
            hints=[errors.run("list them: `safepoint backups`")],
        )
    return leases


def _read_ends(
    store: Store, keyring: Keyring, leases: dict[str, LeaseNames]
) -> tuple[list[CommittedBackup], frozenset[str]]:
    """The committed backups that did not expire, and the leases whose end does not open."""
    ended = [names.id for names in leases.values() if names.has_end and not names.is_expired]
    committed: list[CommittedBackup] = []
    unreadable: set[str] = set()
    for lease_id, end in zip(ended, in_threads(lambda each: _try_end(store, keyring, each), ended), strict=True):
        if end is None:
            unreadable.add(lease_id)
        elif end.outcome is Outcome.COMMITTED and end.manifest is not None and end.digest is not None:
            committed.append(CommittedBackup(manifest=end.manifest, digest=end.digest, lease=lease_id))
    return committed, frozenset(unreadable)


def _void(
    store: Store,
    keyring: Keyring,
    leases: dict[str, LeaseNames],
    manifests: frozenset[str],
    unreadable: frozenset[str],
) -> frozenset[str]:
    """Those of the manifests that no lease can commit any more."""
    void: set[str] = set()
    foreign: set[str] = set()
    for name in manifests:
        own = leases.get(lease_named_by(name) or "")
        if own is None:
            foreign.add(name)
        elif own.has_end and own.id not in unreadable:
            void.add(name)
    return frozenset(void | (foreign & _expired_names(store, keyring, leases) if foreign else set()))


def _is_unbegun(store: Store, leases: dict[str, LeaseNames], name: str) -> bool:
    """Asks again for a begin that was put since the leases were listed."""
    own = lease_named_by(name)
    if own is None or (own in leases and leases[own].has_begin):
        return False
    try:
        store.size(begin_name(own))
    except NotFound:
        return True
    return False


def _expired_names(store: Store, keyring: Keyring, leases: dict[str, LeaseNames]) -> frozenset[str]:
    expired = [names.id for names in leases.values() if names.has_end and names.is_expired]
    ends = in_threads(lambda lease_id: _try_end(store, keyring, lease_id), expired)
    return frozenset(end.manifest for end in ends if end is not None and end.manifest is not None)


def _try_end(store: Store, keyring: Keyring, lease_id: str) -> End | None:
    try:
        return read_end(store, keyring, lease_id)
    except errors.Damaged:
        return None


def _look_again(store: Store, backup: CommittedBackup) -> tuple[bool, bool]:
    """Whether the manifest is there after all, and whether it is not because it was expired since the listing."""
    expired = expired_name(backup.lease)
    try:
        store.size(backup.manifest)
    except NotFound:
        return False, expired in store.list(expired)
    return True, expired in store.list(expired)

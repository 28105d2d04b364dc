"""Which backups exist: those whose manifest is there, whose lease ended with it, and whose name is not spent.

A name is spent, for ever and whoever commits it again, once the lease that it ends with has `expired`.

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
    list_leases,
    read_end,
    seal_end,
    seal_fact,
)
from safepoint.repository.names import BACKUPS_PREFIX, begin_name, end_name, expired_name, lease_named_by
from safepoint.repository.parallel import in_threads
from safepoint.repository.sealing.seal import Keyring, Kind
from safepoint.stores.port import NotFound, Store


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
    open, so that it is unknown whether a backup exists. `void`: manifests that are no backup, since their own lease
    ended without them or is expired; those that are `spent` never will be one, the others only if a repair or a copy
    commits what it knows to be one. `undecided`: other manifests that are no backup: their writers are at work, or
    unknown here. `unbegun`: those of them of whose own lease no begin is there: they come from elsewhere
    (`manifests_copied`), or somebody hides it.
    """

    existing: tuple[CommittedBackup, ...]
    missing: tuple[CommittedBackup, ...] = ()
    unreadable: tuple[str, ...] = ()
    void: tuple[str, ...] = ()
    spent: tuple[str, ...] = ()
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
    by_name, unreadable = _read_ends(store, keyring, leases)
    committed = by_name.values()
    existing = [backup for backup in committed if backup.manifest in manifests]
    missing: list[CommittedBackup] = []
    for backup in committed:
        if backup.manifest not in manifests:
            is_there, is_expired = _look_again(store, backup)
            if not is_expired:
                (existing if is_there else missing).append(backup)
    undecided = manifests - {backup.manifest for backup in existing}
    void, spent = _void(leases, undecided, unreadable)
    return Backups(
        existing=tuple(sorted(existing, key=lambda backup: backup.manifest)),
        missing=tuple(sorted(missing, key=lambda backup: backup.manifest)),
        unreadable=tuple(sorted(end_name(lease_id) for lease_id in unreadable)),
        void=tuple(sorted(void)),
        spent=tuple(sorted(spent)),
        undecided=tuple(sorted(undecided - void)),
        unbegun=tuple(sorted(name for name in undecided - void if _is_unbegun(store, leases, name))),
    )


def names_ever_committed(store: Store, keyring: Keyring) -> frozenset[str]:
    """The names of all manifests that are or were backups: none may be committed again. RP005 for a damaged end.

    One that is damaged does not matter where its lease is expired, or where another one's end has what it had.
    """
    ended = [names for names in list_leases(store).values() if names.has_end]
    ends = in_threads(lambda names: _try_end(store, keyring, names.id), ended)
    found = frozenset(end.manifest for end in ends if end is not None and end.manifest is not None)
    known = frozenset(map(lease_named_by, found))
    for names, end in zip(ended, ends, strict=True):
        if end is None and not names.is_expired and names.id not in known:
            read_end(store, keyring, names.id)
    return found


def is_spent(store: Store, manifest: str) -> bool:
    """Whether the backup of this name was given up: then none of this name exists, whoever commits it. One listing.

    Who commits a name that another lease had first asks afterwards: if it is not spent then, the backup existed.
    """
    own = lease_named_by(manifest)
    return own is not None and expired_name(own) in store.list(expired_name(own))


def is_taken(store: Store, keyring: Keyring, manifest: str) -> bool:
    """Whether the name is a backup's now, or was one's: no copy may commit it. Reads ends only if it is stored."""
    if is_spent(store, manifest):
        return True
    try:
        store.size(manifest)
    except NotFound:
        return False
    return manifest in names_ever_committed(store, keyring)


def expire(
    store: Store, keyring: Keyring, name: str, reason: str, clock: Clock, claimed: AbstractSet[str] = frozenset()
) -> None:
    """The backup does not exist any more, durably; BK003 when there was none. Its packs are a collection's.

    Also for a backup whose manifest is missing, whose end does not open or whose lease is gone, and for one that is
    only `claimed` to exist: that is how each is given up. The lease that the name ends with comes first: it decides,
    also on who is about to commit the name again. Killed here: it exists, or is given up again.
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
    """The lease that the name ends with, and the one that made a backup of it. BK003."""
    backups = existing_backups(store, keyring)
    leases = [backup.lease for backup in (*backups.existing, *backups.missing) if backup.manifest == name]
    own = lease_named_by(name)
    is_lost = own is not None and end_name(own) in backups.unreadable
    if not leases and not is_lost and name not in {*backups.unbegun, *claimed, *backups.void}:
        raise errors.BK003.error(
            f"found no backup {name} among {len(backups.existing)}, expected one",
            hints=[errors.run("list them: `safepoint backups`")],
        )
    return [*([] if own is None else [own]), *(lease for lease in leases if lease != own)]


def _read_ends(
    store: Store, keyring: Keyring, leases: dict[str, LeaseNames]
) -> tuple[dict[str, CommittedBackup], frozenset[str]]:
    """The committed backups that did not expire, by name, and the leases whose end does not open.

    An end that does not open is known where another lease committed the one manifest that it can have had. A name that
    several committed, as two copies at once do, is one backup: that of the first lease.
    """
    ended = [names.id for names in leases.values() if names.has_end and not names.is_expired]
    committed: dict[str, CommittedBackup] = {}
    unreadable: set[str] = set()
    for lease_id, end in zip(ended, in_threads(lambda each: _try_end(store, keyring, each), ended), strict=True):
        if end is None:
            unreadable.add(lease_id)
        elif end.outcome is Outcome.COMMITTED and end.manifest is not None and end.digest is not None:
            backup = CommittedBackup(manifest=end.manifest, digest=end.digest, lease=lease_id)
            if not _is_spent(leases, end.manifest):
                committed.setdefault(end.manifest, backup)
    return committed, frozenset(unreadable - {lease_named_by(manifest) for manifest in committed})


def _is_spent(leases: dict[str, LeaseNames], manifest: str) -> bool:
    own = leases.get(lease_named_by(manifest) or "")
    return own is not None and own.is_expired


def _void(
    leases: dict[str, LeaseNames], manifests: frozenset[str], unreadable: frozenset[str]
) -> tuple[frozenset[str], frozenset[str]]:
    """Those of the manifests whose own lease ended without them, and those of them whose name is spent."""
    spent = frozenset(name for name in manifests if _is_spent(leases, name))
    ended = {names.id for names in leases.values() if names.has_end} - unreadable
    return spent | {name for name in manifests if lease_named_by(name) in ended}, spent


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


def _try_end(store: Store, keyring: Keyring, lease_id: str) -> End | None:
    try:
        return read_end(store, keyring, lease_id)
    except errors.Damaged:
        return None


def _look_again(store: Store, backup: CommittedBackup) -> tuple[bool, bool]:
    """Whether the manifest is there after all, and whether it is not because it was expired since the listing."""
    try:
        store.size(backup.manifest)
        is_there = True
    except NotFound:
        is_there = False
    expired = expired_name(backup.lease)
    return is_there, is_spent(store, backup.manifest) or expired in store.list(expired)

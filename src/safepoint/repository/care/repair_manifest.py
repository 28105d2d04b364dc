"""One manifest that a repair looks at, what is to be done with it, and how it becomes a backup again."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from safepoint import errors
from safepoint.model.backup import BackupManifest
from safepoint.repository.care.finding import FindingKind
from safepoint.repository.care.repair_exchange import exchange
from safepoint.repository.care.repair_values import RepairAction, Repaired, RepairKind, finding_about
from safepoint.repository.care.sound_objects import fetch_if_there
from safepoint.repository.commit.backups import is_spent
from safepoint.repository.commit.leases import REPAIR, HeldLease, begin_lease
from safepoint.repository.maps.nodes import NodeReader
from safepoint.repository.maps.references import References
from safepoint.repository.names import end_name
from safepoint.repository.packs.usable import UsableBlobs
from safepoint.repository.repository import Repository
from safepoint.stores.port import NotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownManifest:
    """A manifest that is or was a backup: its sound bytes, from here or a sibling, and what is to be done with it.

    `source` is None when it is the journal that knows it.

    `action` is None when it is in its place and counts. `lease` is one whose end does not open.
    """

    name: str
    data: bytes
    manifest: BackupManifest
    action: RepairKind | None = None
    source: str | None = None
    lease: str | None = None


def manifest_action(found: KnownManifest) -> RepairAction:
    """What is done about it; FINISH when nothing else is to be."""
    action = found.action or RepairKind.FINISH
    text = f"{action.value} {found.name}, as {found.source or 'the journal'} has it"
    sources = () if found.source is None else (found.source,)
    return RepairAction(kind=action, objects=objects_of(found), text=text, sources=sources)


def objects_of(found: KnownManifest) -> tuple[str, ...]:
    """The manifest, and the end that does not open."""
    return (found.name,) if found.lease is None else (found.name, end_name(found.lease))


def commit_again(repository: Repository, found: KnownManifest) -> Repaired:
    """The backup exists, if all that it needs is there; otherwise `unrepaired` says why not.

    An expiry counts whenever it came: one that is not seen after the end came after the backup existed again.
    """
    lease = begin_lease(
        repository.store,
        repository.keyring,
        purpose=REPAIR,
        database=found.manifest.database,
        clock=repository.clock,
        copies=found.name,
    )
    try:
        if is_spent(repository.store, found.name):
            return _expired(repository, found)
        _require_all(repository, found, lease)
        if fetch_if_there(repository, found.name) not in {None, found.data}:
            exchange(repository, found.name, found.data)
        lease.commit(found.name, found.data)
    except errors.SafepointError as error:
        if not isinstance(error, errors.Damaged) and error.spec is not errors.BK001:
            raise
        return _undone(found, error.message)
    finally:
        with contextlib.suppress(NotFound, errors.SafepointError):
            lease.abandon()  # nothing happens when it was committed
    if is_spent(repository.store, found.name):
        return _expired(repository, found)
    return Repaired(actions=(manifest_action(found),))


def put_back(repository: Repository, found: KnownManifest) -> Repaired:
    """The manifest, which was missing, is in its place, unless the backup was expired meanwhile."""
    repository.store.put_if_absent(found.name, found.data)
    if is_spent(repository.store, found.name):
        return _expired(repository, found)
    return Repaired(actions=(manifest_action(found),))


def put_right(repository: Repository, found: KnownManifest) -> Repaired:
    """The manifest has the bytes that were committed, unless the backup was expired meanwhile."""
    if not exchange(repository, found.name, found.data):
        return _undone(found, "the store still has other bytes there")
    if is_spent(repository.store, found.name):
        return _expired(repository, found)
    return Repaired(actions=(manifest_action(found),))


def _expired(repository: Repository, found: KnownManifest) -> Repaired:
    """The name is spent for ever, so that nobody needs what was put there."""
    with contextlib.suppress(NotFound):
        repository.store.delete(found.name)
    return _undone(found, "it was expired meanwhile")


def _undone(found: KnownManifest, why: str) -> Repaired:
    text = f"no repair of {found.name} ({manifest_action(found).kind.value}): {why}"
    return Repaired(unrepaired=(finding_about(FindingKind.UNDECIDED_MANIFEST, text, objects_of(found)),))


def _require_all(repository: Repository, found: KnownManifest, lease: HeldLease) -> None:
    """RP004 when a pack is gone or condemned. Looked at anew: its packs may have been refilled just now."""
    usable = UsableBlobs(repository.store, repository.keyring, lease)
    anew = repository.through(repository.store)
    references = References(NodeReader(anew.blobs.read_blob)).of(found.manifest.root)
    lost = usable.first_unusable(ref for ref, _ in references)
    if lost is not None:
        raise errors.RP004.error(f"found pack {lost.pack.hex()[:16]} gone or condemned, expected it")

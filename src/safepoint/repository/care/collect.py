"""Collection of a repository: packs that no backup needs are deleted, beside writers at work (care/collection.py)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

from safepoint import errors
from safepoint.repository.care import collection
from safepoint.repository.care.check import metered_by
from safepoint.repository.care.collection_values import Collected
from safepoint.repository.care.journalled_store import with_journalled_indexes
from safepoint.repository.care.node_source import NodeSource
from safepoint.repository.care.progress import Report, no_report
from safepoint.repository.care.verification_memory import damaged_packs
from safepoint.repository.commit.backups import CommittedBackup
from safepoint.repository.commit.journal_event import packs_collected
from safepoint.repository.packs.index_upkeep import drop_packs
from safepoint.repository.repository import Repository
from safepoint.repository.reserve import with_room
from safepoint.stores.metering import Call, Meter

_IN_PART = (
    "leases may have ended, and packs that no backup needs may be condemned or deleted, in part; no backup was "
    "touched, and the next `safepoint repository gc` carries it on"
)
_FEW = 64
"""Packs that are condemned first on a full disk: 2 KiB for their names, and many times that is free afterwards."""


def plan_collection(repository: Repository, *, force: bool = False) -> Collected:
    """What `collect` would do now; writes nothing. RP011, and RP010 without conditional put."""
    return collection.plan_collection(
        repository.store,
        repository.keyring,
        mark=_marking(repository),
        clock=repository.clock,
        force=force,
        claimed=repository.claimed_backups,
    )


def collect(repository: Repository, *, force: bool = False, report: Report = no_report) -> Collected:
    """Everything is gone, durably, that no backup needs and that no writer at work may come to refer to.

    Leases of which nothing was heard for a day are revoked; with `force` all are. Killed anywhere, it is carried on by
    the next run. RP011, and nothing is ended or deleted, when it is unknown what backups refer to; RP010 without
    conditional put while a lease is open. The journal tells of it, and of indexes that came and went. Where the disk is
    full, a few packs go first.
    """
    meter = Meter()
    metered = metered_by(meter, repository)
    journalled = with_journalled_indexes(metered)

    def run(most: int | None = None) -> Collected:
        return collection.collect(
            metered.store,
            repository.keyring,
            mark=_marking(repository),
            drop_packs_from_indexes=lambda packs: drop_packs(journalled.store, repository.keyring, packs),
            clock=repository.clock,
            force=force,
            claimed=repository.claimed_backups,
            report=report,
            most=most,
        )

    with _told(meter):
        collected = with_room(repository.store, run, lambda: _both(run(_FEW), run()))
    if collected.deleted_packs:
        repository.journal.note([packs_collected(collected.deleted_packs)])
    return collected


@contextlib.contextmanager
def _told(meter: Meter) -> Generator[None]:
    """An error says that something may have been changed, when something was put or was to be deleted before it."""
    try:
        yield
    except errors.SafepointError as error:
        usage = meter.usage()
        if not usage.bytes_put and Call.DELETE not in usage.calls:
            raise
        raise error.spec.error(error.message, changed=_IN_PART, hints=error.hints) from error


def _both(first: Collected, second: Collected) -> Collected:
    return replace(
        second,
        deleted_packs=first.deleted_packs + second.deleted_packs,
        deleted_bytes=first.deleted_bytes + second.deleted_bytes,
        removed_manifests=(*first.removed_manifests, *second.removed_manifests),
        revoked=(*first.revoked, *second.revoked),
    )


def _marking(repository: Repository) -> Callable[[Sequence[CommittedBackup]], AbstractSet[bytes]]:
    """What backups need; behind a pack that a verification found damaged, what it replaced."""
    damaged = damaged_packs(repository)

    def mark(backups: Sequence[CommittedBackup]) -> AbstractSet[bytes]:
        return repository.needed_packs(backups, NodeSource(repository).reader(), damaged=damaged)

    return mark

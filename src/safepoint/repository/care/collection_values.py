"""What a collection tells, and would do: the packs that are gone, spared, or waiting for leases to end."""

from __future__ import annotations

from dataclasses import dataclass

from safepoint.repository.commit.leases import OpenLease


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingSet:
    """Packs that may be deleted when these leases have ended."""

    packs: int
    stored_bytes: int
    leases: tuple[OpenLease, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What a collection did, or what it would do.

    `referenced_packs` are the packs that backups need, `spared_packs` those of writers at work. `undeletable` names
    packs whose deletion the store refused (a lock, a right): they stay condemned. `unreadable` names objects of sets
    that do not open. `strangers` are objects in the place of sets that nobody with this repository's key put: they
    were passed over.
    """

    referenced_packs: int
    spared_packs: int
    deleted_packs: int
    deleted_bytes: int
    removed_manifests: tuple[str, ...]
    revoked: tuple[OpenLease, ...]
    waiting: tuple[WaitingSet, ...]
    undeletable: tuple[str, ...]
    unreadable: tuple[str, ...]
    strangers: tuple[str, ...] = ()

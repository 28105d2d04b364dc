"""Backups that the journal says are stored, and that do not exist: their end, their manifest or both are gone."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from safepoint import errors
from safepoint.repository.commit.backups import Backups
from safepoint.repository.commit.journal_audit import readable_entries
from safepoint.repository.commit.journal_claims import claimed_backups
from safepoint.repository.commit.lease_objects import list_leases, read_end
from safepoint.repository.names import lease_named_by
from safepoint.repository.repository import Repository


def lost_backups(repository: Repository) -> tuple[Backups, dict[str, str | None]]:
    """What exists, and the manifests that signed entries claim besides: their digests, None where entries contradict.

    The journal is read before and after: what was committed or expired meanwhile is not lost.
    """
    before = _claims(repository)
    state = repository.backup_state()
    known = {backup.manifest for backup in (*state.existing, *state.missing)}
    if before.keys() <= known:
        return state, {}
    after = _claims(repository)
    return state, {name: after[name] for name in sorted(before.keys() & after.keys() - known)}


def names_expired(repository: Repository) -> frozenset[str]:
    """The manifests whose lease says that they expired. One whose end says nothing is told by its name."""
    store, keyring = repository.store, repository.keyring
    expired = [names for names in list_leases(store).values() if names.is_expired]
    found: set[str] = set()
    for names in expired:
        with contextlib.suppress(errors.Damaged):
            if (manifest := read_end(store, keyring, names.id).manifest) is not None:
                found.add(manifest)
    ids = {names.id for names in expired}
    found |= {name for name in _claims(repository) if lease_named_by(name) in ids} if ids else set()
    return frozenset(found)


def _claims(repository: Repository) -> Mapping[str, str | None]:
    return claimed_backups(readable_entries(repository.store, repository.keyring, repository.id))

"""Objects that keep their names: one that does not open is exchanged for the bytes that a sibling has.

The bytes are put aside first (`tmp/repair/<run>/`), so that a kill between deleting and putting loses nothing: the next
run ends from there what was begun. Each run has its own place there, and takes what it put there away itself; another
run leaves it alone for a day, since its owner may be about to delete what it had read, and to die then.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from safepoint.repository.care.finding import Finding, FindingKind
from safepoint.repository.care.repair_values import RepairAction, RepairKind, RepairScope, finding_about
from safepoint.repository.care.sound_objects import fetch_if_there, is_sound
from safepoint.repository.commit.backups import is_spent
from safepoint.repository.commit.journal_entry import digest_of
from safepoint.repository.commit.lease_objects import new_lease_id
from safepoint.repository.commit.leases import STALE_AFTER
from safepoint.repository.names import (
    ASIDE_PREFIX,
    RANGES_PREFIX,
    RECORDS_PREFIX,
    WAL_PREFIXES,
    is_lease_id,
    kind_of,
)
from safepoint.repository.repository import Repository
from safepoint.repository.sealing import objects
from safepoint.repository.sealing.seal import Kind
from safepoint.stores.port import NotFound

EXCHANGED = (*WAL_PREFIXES, RECORDS_PREFIX)
_INSTANT = 16
"""Characters of a lease's id, and of a run's: `20260301T120000Z`."""


def unfinished_actions(repository: Repository) -> list[RepairAction]:
    """What `finish_exchanges` would do."""
    found: list[RepairAction] = []
    for aside in _all_aside(repository):
        action = None if aside.name is None else _finish_action(repository, aside, aside.name)
        if action is not None:
            found.append(action)
    return found


def finish_exchanges(repository: Repository) -> list[RepairAction]:
    """What another run put aside is in its place; what lies there for a day, and is not needed, is gone.

    The run may be at work, or wake up and delete what it had found damaged: what it put aside outlives that.
    """
    done: list[RepairAction] = []
    for aside in _all_aside(repository):
        action = None if aside.name is None else _finish_action(repository, aside, aside.name)
        if action is not None and _finish(repository, aside, action.objects[0]):
            done.append(action)
        if aside.is_old(repository.clock()) and (aside.name is None or _is_needless(repository, aside, aside.name)):
            _delete(repository, aside.path)
    return done


def exchange_actions(scope: RepairScope) -> Iterator[RepairAction | Finding]:
    """For what was named and does not open; a finding when nobody has it. Manifests go with their backups.

    A range of WAL that is gone was replaced by its receiver: nobody misses it.
    """
    for name in sorted(name for name in scope.damaged if name.startswith(EXCHANGED)):
        data = fetch_if_there(scope.repository, name) if kind_of(name) is not None else None
        if (data is None and name.startswith(RANGES_PREFIX)) or _is_sound(scope.repository, name, data):
            continue
        sibling, other = sound_elsewhere(scope, name)
        if other:
            yield RepairAction(
                kind=RepairKind.EXCHANGE,
                objects=(name,),
                text=f"exchange {name} for the one that {sibling} has",
                sources=(sibling,),
                read_bytes=len(other),
            )
        else:
            text = f"found {name} {'missing' if data is None else 'damaged'}, and no sibling that was given has it"
            yield finding_about(FindingKind.DAMAGED_OBJECT, text, (name,))


def sound_elsewhere(scope: RepairScope, name: str) -> tuple[str, bytes]:
    """The id of the first sibling whose object of this name opens, and its bytes; nothing when there is none."""
    for sibling in scope.siblings if kind_of(name) is not None else ():
        data = fetch_if_there(sibling, name)
        if data is not None and _is_sound(scope.repository, name, data):
            return sibling.id, data
    return "", b""


def exchange(repository: Repository, name: str, data: bytes) -> bool:
    """The object has these bytes, or is sound, durably; False when it could not be read back, and is aside still.

    Killed at any line: the bytes are aside, under a name that is this run's alone, or in their place.
    """
    aside = f"{ASIDE_PREFIX}{new_lease_id(repository.clock())}/{name}"
    repository.store.put_if_absent(aside, data)
    if not _is_right(repository, name, data):
        _delete(repository, name)
        repository.store.put_if_absent(name, data)
    is_right = _is_right(repository, name, data)
    if is_right:
        _delete(repository, aside)
    repository.store.barrier()
    return is_right


@dataclass(frozen=True, slots=True, kw_only=True)
class _Aside:
    """What a run put aside: where, when it began by its clock, and for which name; None unless it is whole."""

    path: str
    begun: datetime | None
    name: str | None

    def is_old(self, now: datetime) -> bool:
        """Whether its run is dead by all accounts."""
        return self.begun is None or now - self.begun > STALE_AFTER


def _all_aside(repository: Repository) -> list[_Aside]:
    found: list[_Aside] = []
    for path in repository.store.list(ASIDE_PREFIX):
        rest = path.removeprefix(ASIDE_PREFIX)
        run, _, last = rest.partition("/")
        begun, name = _begun(run), last if is_lease_id(run) else rest
        data = _fetch_aside(repository, path, name)
        is_whole = data is not None and is_sound(repository.keyring, name, data)
        found.append(_Aside(path=path, begun=begun, name=name if is_whole else None))
    return found


def _begun(run: str) -> datetime | None:
    try:
        return datetime.strptime(run[:_INSTANT], "%Y%m%dT%H%M%S%z") if is_lease_id(run) else None
    except ValueError:  # no such day
        return None


def _finish_action(repository: Repository, aside: _Aside, name: str) -> RepairAction | None:
    """None when the object is in its place, or is that of a backup that was expired."""
    here = fetch_if_there(repository, name)
    if _is_sound(repository, name, here) or is_spent(repository.store, name):
        return None
    with contextlib.suppress(NotFound):
        size = repository.store.size(aside.path)
        text = f"put {name} in its place, from {ASIDE_PREFIX}"
        return RepairAction(kind=RepairKind.FINISH, objects=(name,), text=text, read_bytes=size)
    return None


def _finish(repository: Repository, aside: _Aside, name: str) -> bool:
    data = _fetch_aside(repository, aside.path, name)
    return data is not None and is_sound(repository.keyring, name, data) and exchange(repository, name, data)


def _is_needless(repository: Repository, aside: _Aside, name: str) -> bool:
    """Whether the object is sound in its place; of two manifests that differ an end says which is right."""
    here = fetch_if_there(repository, name)
    if is_spent(repository.store, name):
        return True
    if kind_of(name) is not Kind.MANIFEST or here == _fetch_aside(repository, aside.path, name):
        return _is_sound(repository, name, here)
    committed = {backup.manifest: backup.digest for backup in repository.backup_state().existing}
    return here is not None and digest_of(here) == committed.get(name)


def _fetch_aside(repository: Repository, path: str, name: str) -> bytes | None:
    """No more of it than any object of the name's kind has: None when it is gone, or no safepoint put it there."""
    kind = kind_of(name)
    if kind is None:
        return None
    try:
        return repository.store.get_range(path, 0, objects.largest_object(kind) + 1)
    except NotFound:
        return None


def _is_right(repository: Repository, name: str, data: bytes) -> bool:
    """Whether the object is what was to be put there; another sound one does as well, but for a manifest."""
    here = fetch_if_there(repository, name)
    return here == data or (kind_of(name) is not Kind.MANIFEST and _is_sound(repository, name, here))


def _is_sound(repository: Repository, name: str, data: bytes | None) -> bool:
    return data is not None and is_sound(repository.keyring, name, data)


def _delete(repository: Repository, name: str) -> None:
    with contextlib.suppress(NotFound):
        repository.store.delete(name)

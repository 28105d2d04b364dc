"""Marking: in which packs the blobs lie that backups need, as it is after packs were replaced."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from safepoint import errors
from safepoint.model.backup import BlobRef
from safepoint.repository.commit import tombstones
from safepoint.repository.commit.leases import list_packs
from safepoint.repository.maps.nodes import NodeReader
from safepoint.repository.maps.references import References
from safepoint.repository.names import pack_name, verdict_name
from safepoint.repository.packs.replacements import Exists, Replacements
from safepoint.repository.sealing.seal import Keyring
from safepoint.stores.port import Store


def packs_needed_by(
    roots: Iterable[BlobRef],
    nodes: NodeReader,
    replacements: Replacements,
    exists: Exists,
    damaged: AbstractSet[bytes] = frozenset(),
) -> frozenset[bytes]:
    """The packs that must stay for the backups with these roots, all of which exist.

    Where a blob lies in a pack known to be damaged, those that it replaced and that are still there stay, too. RP011
    when no pack that serves a reference exists: what says where its blob was moved may be hidden, so that it is unknown
    which pack has it. RP004, RP005 when a node cannot be read.
    """
    references, needed = References(nodes), set[bytes]()
    for root in roots:
        for ref, _ in references.of(root):
            if ref.pack in needed and ref.pack not in replacements.packs:
                continue
            places = replacements.places(ref, exists)
            if not places:
                raise _nowhere(ref)
            needed |= places
            if places & damaged:
                needed |= replacements.places(ref, lambda pack: pack not in damaged and exists(pack))
    return frozenset(needed)


def surviving_packs(store: Store, keyring: Keyring) -> frozenset[bytes]:
    """The packs that are there and not about to be deleted for good.

    Of a set whose verdict does not open, any pack may be; RP011 when these do not open either.
    """
    decided = [names.id for names in tombstones.list_sets(store, keyring) if names.is_open and names.has_verdict]
    dead = frozenset[bytes]().union(*(_doomed(store, keyring, set_id) for set_id in decided))
    return list_packs(store) - dead


def _doomed(store: Store, keyring: Keyring, set_id: str) -> frozenset[bytes]:
    with contextlib.suppress(errors.Damaged):
        return tombstones.read_verdict(store, keyring, set_id)
    try:
        return tombstones.read_packs(store, keyring, set_id)
    except errors.Damaged:
        require_known([verdict_name(set_id)])
        raise


def _nowhere(ref: BlobRef) -> errors.SafepointError:
    return errors.RP011.error(
        f"found no pack that has blob {ref.id.hex()[:16]}, expected {pack_name(ref.pack)} or one that replaced it",
        hints=[
            errors.ask("were packs, or the indexes that say where they were moved, deleted, hidden or rolled back?"),
            errors.run("put them back, or `safepoint repository repair`; or expire the backups that `check` names"),
        ],
    )


def require_known(unreadable: Iterable[str]) -> None:
    """RP011 for the first of these objects, on whose word something would be deleted."""
    for name in unreadable:
        raise errors.RP011.error(
            f"found {name} missing or damaged, expected it to say what is needed",
            hints=[
                errors.ask("was it deleted or hidden behind safepoint's back, or is a disk losing bits?"),
                errors.run("fetch it from another copy: `safepoint repository repair`; or expire that backup"),
            ],
        )

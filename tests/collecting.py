"""A store in which leases begin and end, packs are put and collections run, by a clock that is set by hand."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime

import pytest

from safepoint import errors
from safepoint.repository.care.collection import collect, plan_collection
from safepoint.repository.care.collection_values import Collected
from safepoint.repository.commit.backups import CommittedBackup
from safepoint.repository.commit.leases import HeldLease, begin_lease, list_packs
from safepoint.repository.names import pack_name
from safepoint.repository.sealing.objects import fetch
from safepoint.repository.sealing.seal import Keyring, Kind
from safepoint.stores import Store

KEYRING = Keyring(family=bytes(16), masters={1: bytes(32)}, is_encrypted=True)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
PACK_BYTES = 1000


class Site:
    """A store whose manifests are the ids of the packs they need."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.now = NOON
        self.dropped: set[bytes] = set()
        self.claimed: frozenset[str] = frozenset()
        self._made = 0

    def begin(self) -> HeldLease:
        return begin_lease(self.store, KEYRING, purpose="backup", database="shop", clock=lambda: self.now)

    def put_pack(self, lease: HeldLease | None = None) -> bytes:
        self._made += 1
        tag = bytes(8) if lease is None else lease.tag
        pack = self._made.to_bytes(22, "big") + tag + b"\0\1"
        self.store.put_if_absent(pack_name(pack), bytes(PACK_BYTES), durable=False)
        return pack

    def commit(self, lease: HeldLease, *packs: bytes) -> str:
        self.store.barrier()
        name = f"backups/7/{lease.id}"
        lease.commit(name, b"".join(packs))
        return name

    def mark(self, backups: Sequence[CommittedBackup]) -> AbstractSet[bytes]:
        bodies = [fetch(self.store, backup.manifest, Kind.MANIFEST) for backup in backups]
        return {body[at : at + 32] for body in bodies for at in range(0, len(body), 32)}

    def plan(self, *, force: bool = False) -> Collected:
        return plan_collection(
            self.store,
            KEYRING,
            mark=self.mark,
            clock=lambda: self.now,
            force=force,
            claimed=lambda: self.claimed,
        )

    def collect(self, *, force: bool = False) -> Collected:
        return collect(
            self.store,
            KEYRING,
            mark=self.mark,
            drop_packs_from_indexes=self.dropped.update,
            clock=lambda: self.now,
            force=force,
            claimed=lambda: self.claimed,
        )

    def refuses(self, match: str) -> None:
        """Neither plan nor collection, nor a forced one, gets anywhere; nothing is changed."""
        before = {name: self.store.get(name) for name in self.store.list("")}
        for act in (self.plan, self.collect, lambda: self.collect(force=True)):
            with pytest.raises(errors.Refused, match=f"RP011: found {match}"):
                act()
        assert {name: self.store.get(name) for name in self.store.list("")} == before

    def packs(self) -> frozenset[bytes]:
        return list_packs(self.store)

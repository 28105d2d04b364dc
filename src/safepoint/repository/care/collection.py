"""The order of a collection: packs that nobody refers to are deleted, beside writers at work, never harming them.

A set of packs is condemned first, for all to see; then every lease that was open at that time must end; then what no
backup refers to is dead, by a verdict that holds for ever, and is deleted. Each step is an object, so that any number
of collectors may run at once, die anywhere and wake up late. The clock only says whose lease is tried to be revoked.
docs/FORMAT.md has the orders and why they suffice. What backups refer to is asked of who knows (care/collect.py).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet

from safepoint import errors
from safepoint.model.measures import Clock
from safepoint.repository.care.collection_values import Collected, WaitingSet
from safepoint.repository.care.progress import Progress, Report, no_report
from safepoint.repository.commit import tombstones
from safepoint.repository.commit.backups import Backups, CommittedBackup, existing_backups
from safepoint.repository.commit.lease_objects import Outcome, list_leases, tag_in, tag_of
from safepoint.repository.commit.leases import (
    OpenLease,
    list_packs,
    manifests_copied,
    read_leases,
    revoke,
)
from safepoint.repository.maps.marking import require_known
from safepoint.repository.names import pack_name, packs_name, verdict_name
from safepoint.repository.parallel import in_threads
from safepoint.repository.sealing.seal import Keyring
from safepoint.stores.port import NotFound, Store

Mark = Callable[[Sequence[CommittedBackup]], AbstractSet[bytes]]
"""The packs in which the blobs of these backups lie; RP004 when one is no longer there, Damaged when unknown."""
Claimed = Callable[[], AbstractSet[str]]
"""The manifests that the journal calls backups, as it is when called."""
DropPacks = Callable[[AbstractSet[bytes]], None]
"""Afterwards no index, durably, lists these packs; they are gone."""

_COLLECTOR = "collection"


def nothing_claimed() -> AbstractSet[str]:
    """For who has no journal."""
    return frozenset()


def plan_collection(
    store: Store,
    keyring: Keyring,
    *,
    mark: Mark,
    clock: Clock,
    force: bool = False,
    claimed: Claimed = nothing_claimed,
) -> Collected:
    """What `collect` would do now; writes nothing. RP011, and RP010 without conditional put."""
    return _Collection(store, keyring, mark, clock, claimed).run(force=force)


def collect(
    store: Store,
    keyring: Keyring,
    *,
    mark: Mark,
    drop_packs_from_indexes: DropPacks,
    clock: Clock,
    force: bool = False,
    claimed: Claimed = nothing_claimed,
    report: Report = no_report,
    most: int | None = None,
) -> Collected:
    """Everything that nothing refers to, and that no writer at work may come to refer to, is gone, durably.

    Leases of which nothing was heard for a day are revoked; with `force` all are. Killed anywhere, it is carried on by
    the next run. At `most` so many packs are newly condemned, which takes 32 bytes each. RP011, and nothing is ended
    or deleted, when it is unknown what backups refer to, or when one `claimed` to exist does not; RP010.
    """
    return _Writing(store, keyring, mark, clock, claimed, drop_packs_from_indexes, report, most).run(force=force)


class _Collection:
    """One run that decides and does nothing; `_Writing` overrides what would write."""

    def __init__(self, store: Store, keyring: Keyring, mark: Mark, clock: Clock, claimed: Claimed) -> None:
        self._store = store
        self._keyring = keyring
        self._mark = mark
        self._clock = clock
        self._claimed = claimed
        self._leases: dict[str, OpenLease] = {}  # open once those to be revoked were
        self._deleted: dict[bytes, int] = {}
        self._waiting: list[WaitingSet] = []
        self._undeletable: set[str] = set()
        self._unreadable: set[str] = set()

    def run(self, *, force: bool) -> Collected:
        """Sets, packs and leases are listed in this order: a lease that could matter to a set is then seen."""
        backups = self._require_told()
        listed = tombstones.list_tombstones(self._store, self._keyring)
        sets = listed.sets
        packs = list_packs(self._store)
        leases = self._open_leases()
        revoked = self._end_leases([lease for lease in leases if force or self._may_revoke(lease)])
        self._leases = leases = {lease.id: lease for lease in leases if lease not in revoked}
        self._require_alone(leases.values())
        self._remove_manifests(backups.spent)
        condemned = {names: self._packs_of(names.id) for names in sets if names.is_open}
        decided = self._ready(condemned, leases)
        referenced = self._referenced()
        verdicts = {set_id: self._judge(set_id, members, referenced) for set_id, members in decided}
        self._remove_manifests(backups.spent)
        for set_id, dead in verdicts.items():
            self._finish(set_id, dead)
        candidates = packs - referenced - frozenset[bytes]().union(*condemned.values())
        spared = {pack for pack in candidates if tag_in(pack) in set(map(tag_of, leases))}
        self._condemn(candidates - spared)
        self._tidy(sets)
        return Collected(
            referenced_packs=len(packs & referenced),
            spared_packs=len(spared),
            deleted_packs=len(self._deleted),
            deleted_bytes=sum(self._deleted.values()),
            removed_manifests=backups.spent,
            revoked=revoked,
            waiting=tuple(self._waiting),
            undeletable=tuple(sorted(self._undeletable)),
            unreadable=tuple(sorted(self._unreadable)),
            strangers=listed.strangers,
        )

    def _require_known(self) -> Backups:
        """Leases are never deleted: a manifest whose own is not here came under a copy's, or its lease is hidden."""
        backups = existing_backups(self._store, self._keyring)
        require_known(backups.unknown)
        unbegun = {*backups.unbegun} - manifests_copied(self._store, self._keyring) if backups.unbegun else ()
        for name in sorted(unbegun):
            raise _hidden(name, "no lease of its own", "was its lease deleted or hidden?")
        return backups

    def _require_told(self) -> Backups:
        """The journal is asked first and last: a backup is journalled after it exists, its expiry before it ends."""
        claimed = self._claimed()
        backups = self._require_known()
        lost = claimed - {backup.manifest for backup in backups.existing}
        for name in sorted(lost & self._claimed() if lost else lost):
            raise _hidden(name, "the journal calling it a backup", "was its lease deleted or hidden?")
        return backups

    def _end_leases(self, leases: Sequence[OpenLease]) -> tuple[OpenLease, ...]:
        """None is, unless it is known what backups refer to: its end may be hidden, and what it replaced gone."""
        if leases:
            self._referenced()
        return self._revoke(leases)

    def _referenced(self) -> AbstractSet[bytes]:
        """What the backups that exist *now* refer to; marks again when one of them was expired under its eyes."""
        backups = self._require_known().existing
        while True:
            try:
                return self._mark(backups)
            except (errors.Damaged, errors.Refused):
                before, backups = backups, self._require_known().existing
                if before == backups:
                    raise

    def _open_leases(self) -> tuple[OpenLease, ...]:
        found = [names for names in list_leases(self._store).values() if not names.has_end]
        return read_leases(self._store, self._keyring, found)

    def _may_revoke(self, lease: OpenLease) -> bool:
        return self._store.capabilities.conditional_put and lease.is_stale(self._clock())

    def _require_alone(self, leases: Iterable[OpenLease]) -> None:
        if self._store.capabilities.conditional_put:
            return
        for lease in leases:
            raise errors.RP010.error(
                f"found lease {lease.id} open ({lease.describe(self._clock())}), expected none: {self._store} cannot "
                "tell who of two comes first",
                hints=[errors.run("wait for it; when its writer is dead: `safepoint repository unlock`")],
            )

    def _packs_of(self, set_id: str) -> frozenset[bytes]:
        """Nothing when it was closed meanwhile, and when it does not open: `_ready` looks at that."""
        try:
            return tombstones.read_packs(self._store, self._keyring, set_id)
        except errors.Damaged as error:
            if error.spec is not errors.RP004:
                self._unreadable.add(packs_name(set_id))
            return frozenset()

    def _ready(
        self, condemned: dict[tombstones.SetNames, frozenset[bytes]], leases: dict[str, OpenLease]
    ) -> list[tuple[str, frozenset[bytes]]]:
        """The sets on which a verdict was given or can be given now, before marking; the others wait."""
        ready: list[tuple[str, frozenset[bytes]]] = []
        for names, packs in condemned.items():
            awaited = () if names.has_verdict else self._awaited(names, leases)
            if awaited:
                self._wait(packs, awaited)
            else:
                ready.append((names.id, packs))
        return ready

    def _awaited(self, names: tombstones.SetNames, leases: dict[str, OpenLease]) -> tuple[OpenLease, ...]:
        known = tombstones.read_leases(self._store, self._keyring, names.id) if names.has_leases else None
        return tuple(lease for lease in leases.values() if known is None or lease.id in known)

    def _wait(self, packs: AbstractSet[bytes], leases: Sequence[OpenLease]) -> None:
        stored = sum(in_threads(self._size, packs))
        self._waiting.append(WaitingSet(packs=len(packs), stored_bytes=stored, leases=tuple(leases)))

    def _size(self, pack: bytes) -> int:
        try:
            return self._store.size(pack_name(pack))
        except (NotFound, errors.Damaged):  # gone, or no regular file
            return 0

    def _verdict(self, set_id: str, packs: frozenset[bytes], referenced: AbstractSet[bytes]) -> frozenset[bytes]:
        try:
            return tombstones.read_verdict(self._store, self._keyring, set_id)
        except errors.Damaged as error:
            if error.spec is not errors.RP004:
                raise
            return packs - referenced

    def _judge(self, set_id: str, packs: frozenset[bytes], referenced: AbstractSet[bytes]) -> frozenset[bytes] | None:
        """The verdict on the set, None when that does not open; RP011 when it names what a backup refers to.

        No verdict that was given here does, so another mark tells whether a backup expired in between.
        """
        try:
            dead = self._verdict(set_id, packs, referenced)
        except errors.Damaged:
            self._unreadable.add(verdict_name(set_id))
            return None
        for pack in sorted(dead & self._referenced() if dead & referenced else ()):
            raise _wrong_verdict(set_id, pack)
        return dead

    def _finish(self, set_id: str, dead: frozenset[bytes] | None) -> None:
        """The dead packs are gone, the set is closed; it is untouched without a verdict."""
        if dead is not None:
            self._bury(dead)
            self._close(set_id, dead)

    def _revoke(self, leases: Sequence[OpenLease]) -> tuple[OpenLease, ...]:
        return tuple(leases)

    def _remove_manifests(self, names: Iterable[str]) -> None:
        pass

    def _condemn(self, packs: AbstractSet[bytes]) -> None:
        if self._leases and packs:
            self._wait(packs, tuple(self._leases.values()))
        else:
            self._bury(packs)

    def _close(self, set_id: str, dead: AbstractSet[bytes]) -> None:
        pass

    def _bury(self, dead: AbstractSet[bytes]) -> None:
        there = sorted(dead)
        sizes = zip(there, in_threads(self._size, there), strict=True)
        self._deleted |= {pack: size for pack, size in sizes if size}

    def _tidy(self, sets: Iterable[tombstones.SetNames]) -> None:
        pass


class _Writing(_Collection):
    """One run that does what it decides."""

    def __init__(
        self,
        store: Store,
        keyring: Keyring,
        mark: Mark,
        clock: Clock,
        claimed: Claimed,
        drop_packs: DropPacks,
        report: Report,
        most: int | None,
    ) -> None:
        super().__init__(store, keyring, mark, clock, claimed)
        self._drop_packs = drop_packs
        self._report = report
        self._most = most

    def _revoke(self, leases: Sequence[OpenLease]) -> tuple[OpenLease, ...]:
        """Killed here: some are revoked, the next run looks anew. Those that commit first are not told as revoked."""
        ends = [revoke(self._store, self._keyring, lease.id, by=_COLLECTOR, clock=self._clock) for lease in leases]
        return tuple(lease for lease, end in zip(leases, ends, strict=True) if end.outcome is Outcome.REVOKED)

    def _remove_manifests(self, names: Iterable[str]) -> None:
        """Spent for ever: others that are no backup now may be committed again at any moment, also after a look."""
        for name in names:
            with contextlib.suppress(NotFound):
                self._store.delete(name)

    def _verdict(self, set_id: str, packs: frozenset[bytes], referenced: AbstractSet[bytes]) -> frozenset[bytes]:
        return tombstones.decide(self._store, self._keyring, set_id, packs - referenced)

    def _condemn(self, packs: AbstractSet[bytes]) -> None:
        """A new set, then the leases that are open now: the next run waits for them. None open: it is finished now.

        Killed before the leases are put: the next run puts those that are open then, which do as well.
        """
        if not packs:
            return
        packs = frozenset(sorted(packs)[: self._most])
        set_id = tombstones.put_set(self._store, self._keyring, packs)
        awaited = self._open_leases()
        tombstones.put_leases(self._store, self._keyring, set_id, [lease.id for lease in awaited])
        if awaited:
            self._wait(packs, awaited)
        else:
            self._finish(set_id, self._judge(set_id, packs, self._referenced()))

    def _awaited(self, names: tombstones.SetNames, leases: dict[str, OpenLease]) -> tuple[OpenLease, ...]:
        if not names.has_leases:
            tombstones.put_leases(self._store, self._keyring, names.id, leases)
        return super()._awaited(names, leases)

    def _bury(self, dead: AbstractSet[bytes]) -> None:
        """Killed here: the verdict stands, and the next run deletes what is left, then closes the set."""
        for done, (pack, size) in enumerate(zip(sorted(dead), in_threads(self._delete, sorted(dead)), strict=True), 1):
            if size is not None:
                self._deleted[pack] = size
            self._report(Progress(done=done, total=len(dead), unit="packs"))
        self._store.barrier()

    def _close(self, set_id: str, dead: AbstractSet[bytes]) -> None:
        if dead & list_packs(self._store):  # locked, or back: the store restarted before the barrier
            return
        self._drop_packs(dead)
        tombstones.close_set(self._store, set_id)

    def _delete(self, pack: bytes) -> int | None:
        """Its size; None when it was gone, or is locked."""
        name = pack_name(pack)
        try:
            size = self._size(pack)
            self._store.delete(name)
        except NotFound:
            return None
        except errors.Misconfigured:
            self._undeletable.add(name)
            return None
        return size

    def _tidy(self, sets: Iterable[tombstones.SetNames]) -> None:
        """Leases of closed sets, which a collector that woke up late put again."""
        for names in sets:
            if names.has_leases and not names.is_open:
                tombstones.drop_leases(self._store, names.id)


def _hidden(name: str, found: str, question: str) -> errors.SafepointError:
    return errors.RP011.error(
        f"found {name} to be no backup and {found}, expected to know whether it is one",
        hints=[
            errors.ask(question),
            errors.run(f"put back what is missing; or give it up: `safepoint repository expire {name} --reason TEXT`"),
        ],
    )


def _wrong_verdict(set_id: str, pack: bytes) -> errors.SafepointError:
    return errors.RP011.error(
        f"found {pack_name(pack)} dead in {verdict_name(set_id)}, expected no pack that is needed",
        hints=[
            errors.ask("was a backup that had expired brought back, or the verdict copied here from elsewhere?"),
            errors.run("see what is affected: `safepoint repository check`; copy that backup to another repository"),
        ],
    )

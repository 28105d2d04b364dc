"""Copying to a sibling: objects as they are, each opened by the family's keys before it is put.

A pack whose name the target has given up for good, or is about to, goes under a new one; so does what opens in another
place than it was referred to. The target's index then says what the new pack replaces, and that counts when the
lease has ended with the backup.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from safepoint import errors
from safepoint.model.backup import BlobRef
from safepoint.repository.care.copy_survey import WantedBackup
from safepoint.repository.care.copy_values import Copied
from safepoint.repository.care.finding import Finding, FindingKind
from safepoint.repository.care.node_source import NodeSource
from safepoint.repository.care.progress import Progress, Report
from safepoint.repository.care.sound_objects import (
    fetch_if_there,
    fetch_named,
    fetch_pack,
    open_sound,
    require_sound_pack,
)
from safepoint.repository.commit.backups import is_spent, is_taken
from safepoint.repository.commit.journal_entry import digest_of
from safepoint.repository.commit.journal_event import backup_made, expired, index_put, record_put
from safepoint.repository.commit.leases import HeldLease, begin_lease, list_packs
from safepoint.repository.commit.tombstones import condemned_packs, dead_packs
from safepoint.repository.maps.references import References
from safepoint.repository.names import RECORDS_PREFIX, pack_name
from safepoint.repository.packs.index import MOST_REPLACED, put_indexes
from safepoint.repository.packs.pack import BlobKind, PackContents, read_table
from safepoint.repository.packs.replacements import read_replacements
from safepoint.repository.packs.usable import UsableBlobs
from safepoint.repository.packs.writer import PackWriter
from safepoint.repository.repository import Repository
from safepoint.repository.severity import Severity
from safepoint.stores.port import NotFound


def copy_objects(source: Repository, target: Repository, names: Sequence[str], report: Report) -> Iterator[Copied]:
    """These objects are in the target, durably at the end; what the source deleted meanwhile is not."""
    for done, name in enumerate(names, 1):
        yield _copy_object(source, target, name)
        report(Progress(done=done, total=len(names), unit="objects"))
    target.store.barrier()
    put = [record_put(name) for name in names if name.startswith(RECORDS_PREFIX)]
    with contextlib.suppress(errors.Unreachable):
        target.journal.append(put)


def _copy_object(source: Repository, target: Repository, name: str) -> Copied:
    try:
        data = fetch_named(source, name)
        open_sound(target.keyring, name, data)
    except errors.Damaged as error:
        if error.spec is errors.RP004:
            return Copied()
        text = f"not copied: {error.message}"
        finding = Finding(kind=FindingKind.DAMAGED_OBJECT, severity=Severity.DAMAGED, text=text, objects=(name,))
        return Copied(findings=(finding,))
    target.store.put_if_absent(name, data, durable=False)
    return Copied(objects=1)


@dataclass(slots=True, kw_only=True)
class _Gathered:
    """What one backup needs in the target: packs to be put, packs to be named in an index, packs they stand for.

    `unlisted` are there, but no index lists them: they may not be durable.
    """

    missing: set[bytes] = field(default_factory=set[bytes])
    unlisted: set[bytes] = field(default_factory=set[bytes])
    present: set[bytes] = field(default_factory=set[bytes])
    replaced: set[bytes] = field(default_factory=set[bytes])


class SiblingBackups:
    """Copies one backup after another."""

    def __init__(self, source: Repository, target: Repository) -> None:
        self._source = source
        self._target = target
        self._nodes = NodeSource(source)
        self._replacements = read_replacements(source.store, source.keyring)
        self._stored = list_packs(source.store)
        self._listed: set[bytes] = set()  # in the target

    def copy(self, backup: WantedBackup) -> Copied:
        """The backup exists in the target, durably, unless it did already or was expired there meanwhile.

        `Copied.backups` tells. RP004, RP005 for what the source has lost, RP013.
        """
        store, keyring = self._target.store, self._target.keyring
        lease = begin_lease(
            store,
            keyring,
            purpose="copy",
            database=backup.manifest.database,
            clock=self._target.clock,
            copies=backup.committed.manifest,
        )
        try:
            if is_taken(store, keyring, backup.committed.manifest):  # another copy brought it, maybe it expired
                return Copied()
            return self._copy(backup, lease)
        except errors.SafepointError as error:
            if error.spec is errors.BK001:
                raise _revoked(backup, lease, error) from error
            raise
        finally:
            with contextlib.suppress(NotFound, errors.SafepointError):
                lease.abandon()  # nothing happens when it was committed

    def _copy(self, backup: WantedBackup, lease: HeldLease) -> Copied:
        sealed = self._sealed(backup)
        gathered = self._gather(backup, lease)
        work = _Packs(self._source, self._target, lease)
        moved = {pack for pack in sorted(gathered.missing) if not work.take_over(pack)}
        moved |= {pack for pack in sorted(gathered.unlisted) if not work.adopt(pack)}
        if moved:
            work.move(self._needed_in(backup, moved))
        work.name_present(gathered.present - gathered.unlisted)
        indexes = work.finish(backup.manifest.system_identifier, gathered.replaced | moved)
        self._listed |= work.packs
        lease.commit(backup.committed.manifest, sealed)
        if is_spent(self._target.store, backup.committed.manifest):
            self._withdraw(backup.committed.manifest)
            return Copied(packs=work.new_packs)
        # Killed here? The backup exists, and a check says that no journal of the target speaks of it.
        with contextlib.suppress(errors.Unreachable):
            made = backup_made(backup.committed.manifest, digest_of(sealed))
            self._target.journal.append([*map(index_put, indexes), made])
            if is_spent(self._target.store, backup.committed.manifest):  # since: the entry came after the expiry's
                self._target.journal.append([expired(backup.committed.manifest)])
        return Copied(backups=(backup.manifest.id,), packs=work.new_packs, objects=1)

    def _withdraw(self, manifest: str) -> None:
        """Another copy brought it as well, and it was expired: its name is spent, whoever commits it."""
        with contextlib.suppress(NotFound):
            self._target.store.delete(manifest)

    def _sealed(self, backup: WantedBackup) -> bytes:
        """The manifest's bytes, which are those that were committed."""
        name = backup.committed.manifest
        sealed = fetch_if_there(self._source, name)
        if sealed is None:
            raise errors.RP004.error(f"found {name} gone, expected it: was the backup expired just now?")
        open_sound(self._target.keyring, name, sealed)
        if digest_of(sealed) != backup.committed.digest:
            raise errors.RP007.error(f"found {name} with other bytes than were committed, expected those")
        return sealed

    def _gather(self, backup: WantedBackup, lease: HeldLease) -> _Gathered:
        usable = UsableBlobs(self._target.store, self._target.keyring, lease)
        found, sound = _Gathered(), set[bytes]()
        for ref, _ in self._references(backup):
            if ref.pack in sound:
                continue
            if usable.is_usable(ref):
                if lease.is_usable(ref.pack):
                    self._rely_on(ref.pack, ref, found)
                continue
            places = self._places(ref)
            there = sorted(pack for pack in places if lease.is_usable(pack) or pack in found.missing)
            chosen = there[0] if there else min(places)
            if lease.is_usable(chosen):
                found.present.add(chosen)
                self._rely_on(chosen, ref, found)
            else:
                found.missing.add(chosen)
            if chosen != ref.pack:
                found.replaced.add(ref.pack)
            elif ref.pack not in self._replacements.packs:
                sound.add(ref.pack)
        return found

    def _rely_on(self, pack: bytes, ref: BlobRef, found: _Gathered) -> None:
        """The pack, which the target has and which has the blob, is unlisted, unless an index has ever listed it."""
        if pack in self._listed or pack in found.unlisted:
            return
        is_listed = any(place.pack == pack for place in self._target.find_blob(ref.id))
        (self._listed if is_listed else found.unlisted).add(pack)

    def _needed_in(self, backup: WantedBackup, packs: Collection[bytes]) -> Iterator[tuple[BlobRef, BlobKind]]:
        """The backup's blobs that these packs hold, or held."""
        for ref, kind in self._references(backup):
            if ref.pack in packs or not self._places(ref).isdisjoint(packs):
                yield ref, kind

    def _references(self, backup: WantedBackup) -> Iterator[tuple[BlobRef, BlobKind]]:
        return References(self._nodes.reader()).of(backup.manifest.root)

    def _places(self, ref: BlobRef) -> frozenset[bytes]:
        places = self._replacements.places(ref, self._stored.__contains__)
        if places:
            return places
        found = self._source.find_blob(ref.id)
        if not found:
            raise errors.RP004.error(
                f"found no pack {ref.pack.hex()[:16]} that has blob {ref.id.hex()[:16]}, expected it in the source",
                hints=[errors.run("see what else it affects: `safepoint repository check`")],
            )
        return frozenset(place.pack for place in found)


class _Packs:
    """Packs on their way into the target under one lease."""

    def __init__(self, source: Repository, target: Repository, lease: HeldLease) -> None:
        self.new_packs = 0
        self._source = source
        self._target = target
        self._lease = lease
        self._contents: list[PackContents] = []
        self._taken = list_packs(target.store)  # first: what is deleted by then, a verdict killed before
        condemned = condemned_packs(target.store, target.keyring).packs
        self._dead = condemned | dead_packs(target.store, target.keyring)

    @property
    def packs(self) -> frozenset[bytes]:
        """Those that `finish` lists."""
        return frozenset(contents.pack for contents in self._contents)

    def take_over(self, pack: bytes) -> bool:
        """Whether the pack is in the target now under its own name: not when that is condemned, or it does not open."""
        self._lease.renew()
        if pack in self._dead or pack in self._taken:
            return False
        try:
            data = fetch_pack(self._source, pack)
            contents = require_sound_pack(self._target.keyring, pack, data)
        except errors.Damaged:
            return False
        self._target.store.put_if_absent(pack_name(pack), data, durable=False)
        self._contents.append(contents)
        self.new_packs += 1
        return True

    def adopt(self, pack: bytes) -> bool:
        """Whether the pack, which the target has unlisted, opens; then it is durable and listed with the rest.

        Whoever put it may have been killed before a sync: putting the same bytes again makes the next barrier's.
        """
        self._lease.renew()
        try:
            data = fetch_pack(self._target, pack)
            contents = require_sound_pack(self._target.keyring, pack, data)
        except errors.Damaged:
            return False
        self._target.store.put_if_absent(pack_name(pack), data, durable=False)
        self._contents.append(contents)
        return True

    def move(self, blobs: Iterator[tuple[BlobRef, BlobKind]]) -> None:
        """The blobs are in new packs; those that do not open where they were, from wherever else they lie."""
        target = self._target
        with PackWriter(target.store, target.keyring, tag=self._lease.tag, on_packs=self._contents.extend) as writer:
            for ref, kind in blobs:
                self._lease.renew()
                writer.put_blob(self._source.blobs.read_blob(ref), kind=kind)
            writer.finish()
            self.new_packs += len(writer.put_packs)

    def name_present(self, packs: Collection[bytes]) -> None:
        """These packs, which the target has, are listed as well, because they stand for others."""
        for pack in sorted(packs):
            self._contents.append(read_table(self._target.store, self._target.keyring, pack))

    def finish(self, cluster: str, replaced: Collection[bytes]) -> tuple[str, ...]:
        """All of it is durable and listed, and stands for the replaced packs when the lease ends with a backup."""
        store, keyring = self._target.store, self._target.keyring
        store.barrier()
        if not self._contents:
            return ()
        names: list[str] = []
        old = sorted(replaced)
        for first in range(0, max(1, len(old)), MOST_REPLACED):
            some = old[first : first + MOST_REPLACED]
            names += put_indexes(store, keyring, cluster, self._contents, replaces=some, lease=self._lease.id)
        return tuple(names)


def _revoked(backup: WantedBackup, lease: HeldLease, error: errors.SafepointError) -> errors.SafepointError:
    return errors.RP013.error(
        f"found lease {lease.id} in the target revoked, expected it to be held until {backup.manifest.id} was copied",
        changed="the backup is not in the target; what was put for it is left to the target's next collection",
        hints=[errors.ask(error.message), errors.run("copy again")],
    )

"""Rewriting packs: under the newest key after a rotation, or without what no backup needs any more.

A pack at a time is in memory, and one that is being filled. Some packs make a batch, which counts as a whole
(`care/moving.py`): killed anywhere, the batches that were ended stay, and the next run goes on with the others. The
old packs are left to the next collection. Packs of writers at work are left alone.

Only packs are rewritten. Manifests, WAL, records and indexes stay sealed as they were: after a rotation, an old key
still opens those of them that are older than it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from safepoint import errors
from safepoint.model.backup import BlobRef
from safepoint.repository.care.blob_tally import BlobTally
from safepoint.repository.care.moving import Move, moving
from safepoint.repository.care.node_source import NodeSource
from safepoint.repository.care.progress import Progress, Report, no_report
from safepoint.repository.commit.lease_objects import open_tags, tag_in
from safepoint.repository.maps.marking import require_known, surviving_packs
from safepoint.repository.maps.references import References
from safepoint.repository.names import pack_name
from safepoint.repository.packs.index import EVERY_CLUSTER, MOST_REPLACED, current_indexes, read_index
from safepoint.repository.packs.pack import BlobKind, PackContents, blob_id_key, open_pack, read_table
from safepoint.repository.packs.replacements import Replacements, read_replacements
from safepoint.repository.repository import Repository
from safepoint.repository.sealing import objects
from safepoint.repository.sealing.key_listing import require_newest
from safepoint.repository.sealing.seal import BrokenSeal, Kind, generation_of

LEAST_NEEDED_SHARE = 0.5
"""A pack of whose bytes backups need at least this share is not worth its rewriting."""
MOST_PACKS = 4096
_BATCH_PACKS = 64
_BATCH_BYTES = 4 * 1024 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class OldPack:
    """A pack to be rewritten. `stored_bytes` are those of its blobs, `needed_bytes` what is put into a new one."""

    pack: bytes
    cluster: str
    stored_bytes: int
    needed_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RewritePlan:
    """What would be rewritten now. `busy` packs would be too, if their writers were not at work."""

    packs: tuple[OldPack, ...]
    busy: int = 0
    needed: Mapping[bytes, frozenset[bytes]] = field(default_factory=dict[bytes, frozenset[bytes]], repr=False)
    """By pack the ids of the blobs to be kept; a pack that is not in it is kept whole."""

    @property
    def read_bytes(self) -> int:
        """What is fetched from the store."""
        return sum(pack.stored_bytes for pack in self.packs)

    @property
    def written_bytes(self) -> int:
        """About what is put; compression may differ a little."""
        return sum(pack.needed_bytes for pack in self.packs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten:
    """What a run did. `kept` names packs that must stay, because blobs in them do not open anywhere."""

    packs: int = 0
    new_packs: int = 0
    written_bytes: int = 0
    indexes: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    busy: int = 0


def plan_reseal(repository: Repository) -> RewritePlan:
    """The packs that backups need and an older key opens. RP011, RP004, RP005 when it is unknown what they need."""
    return _while_expiring(repository, lambda: _plan_reseal(repository))


def _plan_reseal(repository: Repository) -> RewritePlan:
    look = _Look.now(repository)
    newest = repository.keyring.generation
    old = {pack for pack in look.stored if generation_of(pack) != newest} & repository.needed_packs(
        nodes=NodeSource(repository).reader()
    )
    busy = {pack for pack in old if tag_in(pack) in look.busy_tags}
    found = look.sizes(old - busy)
    packs = (OldPack(pack=pack, cluster=of, stored_bytes=size, needed_bytes=size) for pack, (of, size) in found.items())
    return RewritePlan(packs=tuple(sorted(packs, key=_order)), busy=len(busy))


def plan_repack(
    repository: Repository, *, least_share: float = LEAST_NEEDED_SHARE, most_packs: int = MOST_PACKS
) -> RewritePlan:
    """The packs of whose stored bytes backups need less than this share: those with most to gain, at most so many.

    Walks all backups twice; about 100 bytes of memory for each blob that is kept. Errors as `plan_reseal`.
    """
    return _while_expiring(repository, lambda: _plan_repack(repository, least_share, most_packs))


def _while_expiring(repository: Repository, plan: Callable[[], RewritePlan]) -> RewritePlan:
    """Plans anew when a backup was expired under its eyes."""
    while True:
        before = repository.backup_state().existing
        try:
            return plan()
        except errors.Damaged:
            if repository.backup_state().existing == before:
                raise


def _plan_repack(repository: Repository, least_share: float, most_packs: int) -> RewritePlan:
    look = _Look.now(repository)
    needed = _needed_bytes(look)
    idle = {pack for pack in needed if tag_in(pack) not in look.busy_tags}
    found = [
        OldPack(pack=pack, cluster=cluster, stored_bytes=size, needed_bytes=needed[pack])
        for pack, (cluster, size) in look.sizes(idle).items()
        if needed[pack] < least_share * size
    ]
    found.sort(key=lambda pack: pack.needed_bytes - pack.stored_bytes)
    chosen = sorted(found[:most_packs], key=_order)
    return RewritePlan(
        packs=tuple(chosen),
        busy=len(needed) - len(idle),
        needed=_needed_blobs(look, {pack.pack for pack in chosen}),
    )


def reseal(repository: Repository, plan: RewritePlan | None = None, *, report: Report = no_report) -> Rewritten:
    """The blobs of these packs are sealed with the newest key too, and it is there that they are needed.

    RP013 when a collection took the lease for dead; RP008 when the keys were rotated since the repository was opened.
    """
    return _rewrite(repository, plan or plan_reseal(repository), "reseal", report)


def repack(repository: Repository, plan: RewritePlan | None = None, *, report: Report = no_report) -> Rewritten:
    """What backups need of these packs is in new ones, and it is there that it is needed. Errors as `reseal`."""
    return _rewrite(repository, plan or plan_repack(repository), "repack", report)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """What the repository has. Leases were listed before packs: a pack's lease is then seen, or had ended."""

    repository: Repository
    busy_tags: frozenset[bytes]
    replacements: Replacements
    stored: frozenset[bytes]
    roots: tuple[BlobRef, ...]

    @classmethod
    def now(cls, repository: Repository) -> _Look:
        busy = open_tags(repository.store)
        replacements = read_replacements(repository.store, repository.keyring)
        state = repository.backup_state()
        require_known([*replacements.unreadable, *state.unknown])
        return cls(
            repository=repository,
            busy_tags=busy,
            replacements=replacements,
            stored=surviving_packs(repository.store, repository.keyring),
            roots=tuple(repository.read_manifest(kept.manifest, digest=kept.digest).root for kept in state.existing),
        )

    def needed(self) -> Iterator[tuple[bytes, BlobRef, BlobKind]]:
        """Every blob that backups need, with each pack that is kept for it; some more than once."""
        references = References(NodeSource(self.repository).reader())
        for root in self.roots:
            for ref, kind in references.of(root):
                for pack in self.replacements.places(ref, self.stored.__contains__):
                    yield pack, ref, kind

    def sizes(self, packs: Collection[bytes]) -> dict[bytes, tuple[str, int]]:
        """Of each pack whose it is and the bytes of its blobs: from indexes, one at a time, else from its own table."""
        store, keyring = self.repository.store, self.repository.keyring
        found: dict[bytes, tuple[str, int]] = {}
        for name in current_indexes(store, keyring):
            index = read_index(store, keyring, name)
            found |= {pack.pack: (index.cluster, _blob_bytes(pack)) for pack in index.packs if pack.pack in packs}
        for pack in set(packs) - found.keys():
            found[pack] = EVERY_CLUSTER, _blob_bytes(read_table(store, keyring, pack))
        return found


def _needed_bytes(look: _Look) -> dict[bytes, int]:
    """By pack, what backups need of it."""
    numbers = {pack: number for number, pack in enumerate(sorted(look.stored))}
    with BlobTally() as tally:
        for pack, ref, kind in look.needed():
            tally.need(0, numbers[pack], ref, kind)
        found = tally.sums({}, len(numbers)).needed_bytes
    return {pack: int(found[number]) for pack, number in numbers.items() if found[number]}


def _needed_blobs(look: _Look, packs: Collection[bytes]) -> dict[bytes, frozenset[bytes]]:
    found: dict[bytes, set[bytes]] = {pack: set() for pack in packs}
    if found:
        for pack, ref, _ in look.needed():
            if pack in found:
                found[pack].add(ref.id)
    return {pack: frozenset(ids) for pack, ids in found.items()}


def _rewrite(repository: Repository, plan: RewritePlan, purpose: str, report: Report) -> Rewritten:
    require_newest(repository.store, repository.keyring)
    behind = read_replacements(repository.store, repository.keyring).replaced_into()
    done, result = 0, Rewritten(busy=plan.busy)
    for batch in _batches(plan.packs, behind):
        with moving(repository, purpose=purpose) as move:
            kept: list[str] = []
            for old in batch:
                kept += _move(repository, move, old, plan.needed.get(old.pack))
                done += 1
                report(Progress(done=done, total=len(plan.packs), unit="packs"))
            index = move.finish(batch[0].cluster)
            result = replace(
                result,
                packs=result.packs + len(move.replaced & {old.pack for old in batch}),
                new_packs=result.new_packs + len(move.writer.put_packs),
                written_bytes=result.written_bytes + move.writer.stored_bytes,
                indexes=result.indexes if index is None else (*result.indexes, index),
                kept=(*result.kept, *kept),
            )
    return result


def _move(
    repository: Repository,
    move: Move,
    old: OldPack,
    needed: frozenset[bytes] | None,
) -> list[str]:
    """The pack's blobs are put, those that open, and it counts as replaced; its name when some of them do not.

    What a collection condemned since the plan was made is left alone.
    """
    if not move.lease.is_usable(old.pack):
        return []
    name = pack_name(old.pack)
    try:
        contents = read_table(repository.store, repository.keyring, old.pack)
        data = memoryview(objects.fetch(repository.store, name, Kind.PACK))
    except errors.Damaged as error:
        return [] if error.spec is errors.RP004 else [name]
    opener = open_pack(repository.keyring, blob_id_key(repository.keyring), old.pack)
    is_whole = True
    for ref, kind in zip(contents.refs(), contents.entries["kind"], strict=True):
        if needed is not None and ref.id not in needed:
            continue
        try:
            move.put(opener.open(ref, data[ref.offset : ref.offset + ref.length]), BlobKind(int(kind)))
        except BrokenSeal:
            is_whole = False
    move.replace({old.pack})
    return [] if is_whole else [name]


def _batches(packs: Sequence[OldPack], behind: Mapping[bytes, frozenset[bytes]]) -> Iterator[list[OldPack]]:
    """Packs of one cluster each, no more than one index may list and replace."""
    batch: list[OldPack] = []
    stored, replaced = 0, 0
    for pack in packs:
        size, replaces = pack.needed_bytes, 1 + len(behind.get(pack.pack, ()))
        is_full = len(batch) == _BATCH_PACKS or stored + size > _BATCH_BYTES or replaced + replaces > MOST_REPLACED
        if batch and (is_full or pack.cluster != batch[0].cluster):
            yield batch
            batch, stored, replaced = [], 0, 0
        batch.append(pack)
        stored, replaced = stored + size, replaced + replaces
    if batch:
        yield batch


def _blob_bytes(contents: PackContents) -> int:
    return int(contents.entries["length"].sum(dtype=np.int64))


def _order(pack: OldPack) -> tuple[str, bytes]:
    return pack.cluster, pack.pack

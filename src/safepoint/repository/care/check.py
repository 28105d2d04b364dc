"""The check of a repository's structure: is everything there, in its place and itself, as far as metadata tells?

It reads every manifest and every node of every backup's tree, every current index, and the end of every pack; not the
blobs of data (verify.py does). Cost: the listings; about 0.1 to 0.3 % of the stored bytes; one request a pack, several
at a time, and few more. Reads only. What cannot be read is unknown or damaged, never passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from safepoint import errors
from safepoint.model.backup import BlobRef
from safepoint.repository.care.affected import Walk, attribute
from safepoint.repository.care.finding import Affected, Finding, FindingKind, is_whole
from safepoint.repository.care.journal_check import check_journal
from safepoint.repository.care.locked_out import is_locked_out
from safepoint.repository.care.manifest_survey import ManifestSurvey, survey_manifests
from safepoint.repository.care.node_source import NodeSource
from safepoint.repository.care.pack_survey import PackSurvey, survey_packs
from safepoint.repository.care.progress import Report, no_report
from safepoint.repository.care.remembered_damage import remembered_damage
from safepoint.repository.care.tried_blobs import TriedBlobs
from safepoint.repository.care.wal_check import check_wal
from safepoint.repository.commit import tombstones
from safepoint.repository.commit.journal_state import StateKeeper
from safepoint.repository.names import kind_of, pack_name, packs_name
from safepoint.repository.packs.replacements import Replacements, read_replacements
from safepoint.repository.repository import Repository
from safepoint.repository.sealing.seal import Kind
from safepoint.repository.severity import Severity
from safepoint.stores.metering import Meter, MeteredStore

_MOST_NAMES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What the check found and what it looked at; `requests` and `bytes` are what it cost.

    `orphan_packs` are those that no backup needs: of writers at work, or garbage. A pack that was replaced counts as
    needed until a collection has dealt with it. None: unknown, because packs or indexes are missing or damaged that
    say what is needed.
    """

    findings: tuple[Finding, ...]
    backups: int
    packs: int
    orphan_packs: int | None
    indexes: int
    nodes: int
    wal_objects: int
    journal_entries: int
    requests: int
    bytes: int

    @property
    def is_whole(self) -> bool:
        """Whether nothing is damaged, missing or unknown, as far as metadata tells."""
        return is_whole(self.findings)


def check(repository: Repository, *, journal_state: StateKeeper | None = None, report: Report = no_report) -> Checked:
    """The whole structure, checked; ST… when the store cannot be read.

    `journal_state` is what this machine remembers of the journal, by default where the repository's places are; where
    nothing is remembered, a store that was rolled back as a whole passes, which a notice says.
    """
    meter = Meter()
    metered = metered_by(meter, repository)
    return _Check(metered, journal_state or repository.journal.keeper, report).run(meter)


def metered_by(meter: Meter, repository: Repository) -> Repository:
    """The same repository, its requests counted."""
    return repository.through(MeteredStore(repository.store, meter))


class _Check:
    """One run. Backups are looked at first and again at the end: what expires meanwhile is no loss."""

    def __init__(self, repository: Repository, journal_state: StateKeeper, report: Report) -> None:
        self._repository = repository
        self._journal_state = journal_state
        self._report = report

    def run(self, meter: Meter) -> Checked:
        """Everything, in the order in which writers put it backwards: manifests, indexes, packs."""
        manifests = survey_manifests(self._repository)
        packs = survey_packs(self._repository, self._report)
        remembered = remembered_damage(self._repository)
        doubted = frozenset(name for name in remembered if kind_of(name) is Kind.JOURNAL)
        packs.distrust(remembered)
        unlisted = packs.listed - packs.indexed
        tried = TriedBlobs(self._repository, packs.listed, _is_sound(packs.ends), unlisted)
        walk = Walk(tried.reader(NodeSource(self._repository)), tried)
        affected = attribute(walk, manifests.manifests.values(), self._report)
        replaced = read_replacements(self._repository.store, self._repository.keyring, is_lenient=True)
        walk.needed |= tried.used | _replacing(replaced, walk.needed)
        findings = [*manifests.findings, *_pack_findings(packs, walk, affected, replaced.packs)]
        findings += _index_findings(self._repository, packs, walk)
        findings = self._still_true(findings, manifests)
        findings += self._tombstones()
        findings += _remembered(remembered, findings)
        wal_objects, strange = check_wal(self._repository)
        journal = check_journal(self._repository, self._journal_state, manifests.digests, findings, doubted=doubted)
        usage = meter.usage()
        return Checked(
            findings=tuple(_by_weight([*findings, *strange, *journal.findings])),
            backups=len(manifests.state.existing),
            packs=len(packs.listed),
            orphan_packs=len(packs.listed - walk.needed) if _are_orphans_known(packs, walk) else None,
            indexes=packs.indexes,
            nodes=walk.nodes,
            wal_objects=wal_objects,
            journal_entries=journal.entries,
            requests=sum(usage.calls.values()),
            bytes=usage.bytes_got,
        )

    def _still_true(self, findings: list[Finding], manifests: ManifestSurvey) -> list[Finding]:
        """Without what concerns only backups that were expired or committed since: these are the next check's."""
        if is_whole(findings):
            return findings
        state = self._repository.backup_state()
        existing = {backup.manifest for backup in state.existing}
        there = existing | {backup.manifest for backup in state.missing} | {*state.undecided}
        settled = {name for name in _names(manifests) if name not in there}
        settled |= {name for name in manifests.state.undecided if name in existing or name not in there}
        ids = settled | {manifests.manifests[name].id for name in settled if name in manifests.manifests}
        kept = (_without(finding, settled, ids) for finding in findings)
        return [finding for finding in kept if finding is not None]

    def _tombstones(self) -> Iterator[Finding]:
        store, keyring = self._repository.store, self._repository.keyring
        for name in tombstones.condemned_packs(store, keyring).unreadable:
            text = f"found {name} with a seal that does not hold, expected the packs that are to be deleted"
            kind = FindingKind.DAMAGED_TOMBSTONE
            yield Finding(kind=kind, severity=Severity.DAMAGED, text=text, objects=(name,))
        for names in tombstones.list_sets(store, keyring):
            if names.is_open:
                name = packs_name(names.id)
                text = f"found {name}, packs that wait to be deleted, expected the next collection to deal with them"
                kind = FindingKind.OPEN_TOMBSTONE
                yield Finding(kind=kind, severity=Severity.NOTICE, text=text, objects=(name,))


def _remembered(damaged: Mapping[str, str], known: Iterable[Finding]) -> Iterator[Finding]:
    """What an earlier verification found, and nothing has told of yet; packs are the survey's, entries the audit's."""
    told = {name for finding in known for name in finding.objects}
    for name in sorted(name for name in damaged.keys() - told if kind_of(name) not in {Kind.PACK, Kind.JOURNAL}):
        kind = FindingKind.DAMAGED_OBJECT
        yield Finding(kind=kind, severity=Severity.DAMAGED, text=damaged[name], objects=(name,))


def _is_sound(ends: Mapping[bytes, int]) -> Callable[[BlobRef], bool]:
    def is_sound(place: BlobRef) -> bool:
        return place.offset + place.length <= ends.get(place.pack, 0)

    return is_sound


def _replacing(replaced: Replacements, needed: AbstractSet[bytes]) -> set[bytes]:
    """The packs into which needed ones were moved."""
    return {new for new, old in replaced.replaced_into().items() if old & needed}


def _are_orphans_known(packs: PackSurvey, walk: Walk) -> bool:
    """Whether all that says where needed blobs lie was read; while it was not, nothing counts as garbage."""
    is_all_there = packs.listed >= walk.touched | walk.broken.keys()
    return is_all_there and not packs.damaged_indexes and packs.indexed >= walk.needed & packs.listed


def _pack_findings(
    packs: PackSurvey, walk: Walk, affected: Mapping[bytes, tuple[Affected, ...]], replaced: AbstractSet[bytes]
) -> Iterator[Finding]:
    """A pack that is gone is no loss when everything needed of it is found elsewhere: it was rewritten."""
    for pack in sorted({*affected, *walk.touched, *walk.broken} | (packs.faults.keys() & walk.needed)):
        found = _pack_finding(pack, packs, walk, affected.get(pack, ()))
        yield found if pack not in replaced else eased(found)
    orphans = packs.listed - walk.needed
    if orphans and _are_orphans_known(packs, walk):
        text = f"found {len(orphans)} packs that no backup needs: of writers at work, or left to a collection"
        broken = len(orphans & packs.faults.keys())
        text += f"; {broken} of them are damaged" if broken else ""
        kind = FindingKind.ORPHAN_PACKS
        yield Finding(kind=kind, severity=Severity.NOTICE, text=text, objects=_pack_names(orphans))
    unlisted = (walk.needed & packs.listed) - packs.indexed
    if unlisted:
        text = f"found {len(unlisted)} packs that backups need in no index, expected an index to list each"
        kind = FindingKind.UNLISTED_PACK
        yield Finding(kind=kind, severity=Severity.DAMAGED, text=text, objects=_pack_names(unlisted))


def _pack_finding(pack: bytes, packs: PackSurvey, walk: Walk, affected: tuple[Affected, ...]) -> Finding:
    name, probe, broken = pack_name(pack), packs.faults.get(pack), walk.broken.get(pack)
    kind, severity = FindingKind.DAMAGED_PACK, Severity.DAMAGED
    if pack not in packs.listed:
        kind = FindingKind.MISSING_PACK
        text = f"found no {name}, expected the pack that backups need"
    elif (probe is not None and probe.is_locked_out) or (broken is not None and broken.spec is errors.RP008):
        kind, severity = FindingKind.LOCKED_OUT, Severity.UNKNOWN
        text = f"found no key here that opens {name}, expected one: what is in it is unknown"
    elif probe is not None:
        text = str(probe.fault)
    elif broken is not None:
        text = broken.message
    else:
        text = f"found {name} to end at {packs.ends.get(pack, 0)}, expected all blobs that backups need of it"
    return Finding(kind=kind, severity=severity, text=text, objects=(name,), affected=affected)


def eased(finding: Finding) -> Finding:
    """The finding about a pack that was replaced: a notice, unless a backup lost something all the same."""
    if finding.affected:
        return finding
    return replace(finding, severity=Severity.NOTICE, text=f"{finding.text}; it was replaced, and nobody misses it")


def _index_findings(repository: Repository, packs: PackSurvey, walk: Walk) -> Iterator[Finding]:
    for name, error in sorted(packs.damaged_indexes.items()):
        is_unknown = is_locked_out(repository, name, Kind.INDEX)
        kind = FindingKind.LOCKED_OUT if is_unknown else FindingKind.DAMAGED_INDEX
        severity = Severity.UNKNOWN if is_unknown else Severity.DAMAGED
        yield Finding(kind=kind, severity=severity, text=error.message, objects=(name,))
    stale = tuple(sorted(name for name, count in packs.stale.items() if count))
    gone = packs.indexed - packs.listed - walk.touched - walk.broken.keys()
    if gone and _are_orphans_known(packs, walk):
        text = f"found {len(gone)} packs in indexes that are gone and that nothing needs: left to a collection"
        yield Finding(kind=FindingKind.STALE_INDEX, severity=Severity.NOTICE, text=text, objects=stale[:_MOST_NAMES])


def _pack_names(packs: Iterable[bytes]) -> tuple[str, ...]:
    return tuple(map(pack_name, sorted(packs)[:_MOST_NAMES]))


def _names(manifests: ManifestSurvey) -> Iterator[str]:
    for backup in (*manifests.state.existing, *manifests.state.missing):
        yield backup.manifest


def _without(finding: Finding, names: AbstractSet[str], ids: AbstractSet[str]) -> Finding | None:
    """The finding without these manifests and backups; None when it was about them alone."""
    kept = tuple(affected for affected in finding.affected if affected.backup_id not in ids)
    if (finding.affected and not kept) or (finding.objects and names >= set(finding.objects)):
        return None
    return replace(finding, affected=kept)


def _by_weight(findings: Iterable[Finding]) -> list[Finding]:
    order = [Severity.DAMAGED, Severity.UNKNOWN, Severity.NOTICE]
    return sorted(findings, key=lambda finding: order.index(finding.severity))

"""Verification of a repository's bytes: whole objects are read, and every seal and every blob's id in them is checked.

What was verified when is remembered (verification_memory.py), so that a nightly run pays for what is new and reads
the rest again in turns. Memory is bounded: two packs per thread at most. Writes nothing but its records, and says
so when it may not even do that. What is not there any more is a matter of the check.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import islice

from safepoint import errors
from safepoint.model.backup import BackupManifest
from safepoint.model.json_value import JsonObject
from safepoint.repository.care.affected import affected_by_packs
from safepoint.repository.care.check import eased, metered_by
from safepoint.repository.care.finding import Affected, Finding, FindingKind, Loss, affected_backup, is_whole
from safepoint.repository.care.journal_check import journal_findings
from safepoint.repository.care.locked_out import is_locked_out
from safepoint.repository.care.progress import Progress, Report, no_report
from safepoint.repository.care.remembered_damage import THREADS
from safepoint.repository.care.selection import Selection
from safepoint.repository.care.sound_objects import require_sound
from safepoint.repository.care.stored_sizes import NOTHING_STORED, StoredSize, stored_size
from safepoint.repository.care.verification_memory import RECORD_KIND, VerificationMemory, read_memory
from safepoint.repository.commit.journal_finding import JournalFindingKind
from safepoint.repository.names import SEALED_PREFIXES, kind_of, pack_of, wal_place
from safepoint.repository.packs.pack import is_stray
from safepoint.repository.packs.replacements import read_replacements
from safepoint.repository.repository import Repository
from safepoint.repository.sealing.seal import Kind
from safepoint.repository.severity import Severity
from safepoint.repository.wal import pieces_at
from safepoint.stores.metering import Meter

_REMEMBER_EVERY = timedelta(minutes=5)
_FINDING_KINDS = {
    Kind.PACK: FindingKind.DAMAGED_PACK,
    Kind.INDEX: FindingKind.DAMAGED_INDEX,
    Kind.MANIFEST: FindingKind.DAMAGED_MANIFEST,
    Kind.WAL: FindingKind.DAMAGED_WAL,
    Kind.HISTORY: FindingKind.DAMAGED_WAL,
    Kind.END: FindingKind.DAMAGED_END,
    Kind.TOMBSTONE: FindingKind.DAMAGED_TOMBSTONE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedObjects:
    """What a verification found and did: objects that hold, and the bytes that it read of the store.

    `remaining` objects have never been verified, or were found damaged. `is_remembered`: the next run knows of it.
    """

    findings: tuple[Finding, ...]
    verified: int
    bytes: int
    remaining: int
    is_remembered: bool

    @property
    def is_whole(self) -> bool:
        """Whether everything that was read holds."""
        return is_whole(self.findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyPlan:
    """What would be read: `names`, the most urgent first, `packs` of them packs, of so many `objects` in all.

    `unverified` of all have never been verified, or were found damaged. `kinds` are those of all objects, `strange` the
    names that this version does not know.
    """

    names: tuple[str, ...]
    packs: int
    objects: int
    unverified: int
    kinds: Mapping[str, Kind] = field(repr=False)
    size: StoredSize = NOTHING_STORED
    strange: tuple[str, ...] = ()


def plan_verify(repository: Repository, selection: Selection) -> VerifyPlan:
    """What a verification of the selected objects would read now: from listings, the memory, and a sample of sizes."""
    chosen = _choose(repository, selection)
    packs = [name for name in chosen.names if pack_of(name) is not None]
    others = [name for name in chosen.names if pack_of(name) is None]
    return replace(chosen, size=stored_size(repository.store, packs) + stored_size(repository.store, others))


def verify(
    repository: Repository, wanted: Selection | VerifyPlan, *, report: Report = no_report, threads: int = THREADS
) -> VerifiedObjects:
    """The selected objects, or those of the plan, read and authenticated; ST… when the store cannot be read.

    Interrupted, or stopped by an error, it remembers what it verified before.
    """
    plan = _choose(repository, wanted) if isinstance(wanted, Selection) else wanted
    return _Verification(repository, report, threads).run(plan)


def _choose(repository: Repository, selection: Selection) -> VerifyPlan:
    """Without their size."""
    memory = read_memory(repository)
    listed = (name for prefix in SEALED_PREFIXES for name in repository.store.list(prefix))
    names = {name: None if _is_stray(repository, name) else kind_of(name) for name in listed}
    known = {name: kind for name, kind in names.items() if kind is not None}
    times = {name: memory.verified_at(name) for name in known}
    chosen = selection.choose(times, repository.clock())
    return VerifyPlan(
        names=tuple(chosen),
        packs=len(_packs_of(chosen)),
        objects=len(known),
        unverified=sum(at is None for at in times.values()),
        kinds=known,
        strange=tuple(sorted(names.keys() - known.keys())),
    )


def _is_stray(repository: Repository, name: str) -> bool:
    pack = pack_of(name)
    return pack is not None and is_stray(repository.keyring, pack)


@dataclass(slots=True)
class _Batch:
    """What is to be remembered next."""

    verified: list[str] = field(default_factory=list[str])
    damaged: list[str] = field(default_factory=list[str])


class _Verification:
    """One run."""

    def __init__(self, repository: Repository, report: Report, threads: int) -> None:
        self._repository = repository
        self._meter = Meter()
        self._metered = metered_by(self._meter, repository)
        self._report = report
        self._threads = threads
        self._memory: VerificationMemory = read_memory(repository)
        self._batch = _Batch()
        self._remembered_at = repository.clock()
        self._verified = 0
        self._failed: dict[str, errors.SafepointError] = {}
        self._unremembered: errors.SafepointError | None = None

    def run(self, plan: VerifyPlan) -> VerifiedObjects:
        """Killed anywhere: what was remembered last counts, the rest is verified again."""
        known = plan.kinds
        try:
            self._verify_all(plan.names, known)
        finally:
            self._remember()
        self._summarise(known)
        findings = (*self._findings(known), *map(_strange, plan.strange), *self._not_remembered())
        return VerifiedObjects(
            findings=findings,
            verified=self._verified,
            bytes=self._meter.usage().bytes_got,
            remaining=sum(self._memory.verified_at(name) is None for name in known),
            is_remembered=self._unremembered is None,
        )

    def _verify_all(self, names: Sequence[str], kinds: Mapping[str, Kind]) -> None:
        waiting = iter(names)
        done = 0
        with ThreadPoolExecutor(self._threads, thread_name_prefix="safepoint-verify") as pool:
            running: dict[Future[None], str] = {}
            try:
                while running or done < len(names):
                    for name in islice(waiting, self._threads - len(running)):
                        running[pool.submit(require_sound, self._metered, name, kinds[name])] = name
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        self._take(running.pop(future), future)
                        done += 1
                    self._report(Progress(done=done, total=len(names), unit="objects"))
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _take(self, name: str, future: Future[None]) -> None:
        try:
            future.result()
        except errors.SafepointError as error:
            if error.spec is errors.RP004:
                return  # deleted since it was listed
            if error.spec not in {errors.RP005, errors.RP006, errors.RP008}:
                raise
            self._failed[name] = error
            if self._is_proven(name, error):
                self._batch.damaged.append(name)
        else:
            self._verified += 1
            self._batch.verified.append(name)
        if self._repository.clock() - self._remembered_at >= _REMEMBER_EVERY:
            self._remember()

    def _is_proven(self, name: str, error: errors.SafepointError) -> bool:
        """Whether the object is damaged; otherwise nobody here can tell."""
        kind = kind_of(name)
        return error.spec is errors.RP005 and kind is not None and not is_locked_out(self._repository, name, kind)

    def _remember(self) -> None:
        batch, self._batch = self._batch, _Batch()
        now = self._remembered_at = self._repository.clock()
        if batch.verified or batch.damaged:
            self._append(self._memory.remember(batch.verified, batch.damaged, now))

    def _summarise(self, existing: Iterable[str]) -> None:
        summary = self._memory.summary(existing, self._repository.clock())
        if summary is not None:
            self._append(summary)

    def _append(self, record: JsonObject) -> None:
        """A store that takes no record does not stop the reading; it is not asked again."""
        if self._unremembered is not None:
            return
        try:
            self._repository.append_record(RECORD_KIND, record)
        except errors.SafepointError as error:
            self._unremembered = error

    def _findings(self, listed: AbstractSet[str] | Mapping[str, Kind]) -> Iterator[Finding]:
        if not self._failed:
            return
        manifests = self._repository.readable_backups()[0]
        packs, there = _packs_of(self._failed), _packs_of(listed)
        by_pack = affected_by_packs(self._repository, packs, manifests, listed=there)
        existing = {backup.manifest for backup in self._repository.backup_state().existing}
        accepted = self._accepted()
        replaced = read_replacements(self._repository.store, self._repository.keyring).packs
        for name, error in sorted(self._failed.items()):
            if not self._is_proven(name, error):
                yield _locked_out(name, error)
                continue
            found = _finding(name, error, self._affected(name, by_pack, manifests, existing))
            yield accepted.get(name) or (eased(found) if pack_of(name) in replaced else found)

    def _accepted(self) -> dict[str, Finding]:
        """Entries of the journal that do not open, which somebody has acknowledged: notices."""
        if not any(kind_of(name) is Kind.JOURNAL for name in self._failed):
            return {}
        audited = [each for each in journal_findings(self._repository) if each.is_acknowledged]
        return {
            name: Finding(kind=FindingKind.DAMAGED_OBJECT, severity=Severity.NOTICE, text=each.text, objects=(name,))
            for each in audited
            if each.kind is JournalFindingKind.UNREADABLE_ENTRY
            for name in each.objects
        }

    def _affected(
        self,
        name: str,
        by_pack: Mapping[bytes, tuple[Affected, ...]],
        manifests: Iterable[BackupManifest],
        existing: AbstractSet[str],
    ) -> tuple[Affected, ...]:
        match kind_of(name):
            case Kind.PACK:
                return by_pack.get(pack_of(name) or b"", ())
            case Kind.MANIFEST:
                return (Affected(backup_id=name, loses=Loss.EVERYTHING),) if name in existing else ()
            case Kind.WAL:
                needing = (manifest for manifest in manifests if self._needs(manifest, name))
                return tuple(affected_backup(manifest, Loss.WAL) for manifest in needing)
            case _:
                return ()

    def _needs(self, manifest: BackupManifest, name: str) -> bool:
        """Whether the backup needs some of this WAL to become consistent."""
        place = wal_place(name)
        if place is None or (place.cluster, place.timeline) != (manifest.system_identifier, manifest.timeline):
            return False
        return any(
            piece.start < manifest.stop_lsn and manifest.start_lsn < piece.end for piece in pieces_at(name, place)
        )

    def _not_remembered(self) -> Iterator[Finding]:
        if self._unremembered is not None:
            text = f"found no way to remember what was verified, expected to put a record: {self._unremembered.message}"
            yield Finding(kind=FindingKind.NOT_REMEMBERED, severity=Severity.NOTICE, text=text)


def _packs_of(names: Iterable[str]) -> frozenset[bytes]:
    return frozenset(pack for name in names if (pack := pack_of(name)) is not None)


def _locked_out(name: str, error: errors.SafepointError) -> Finding:
    text = f"{name} was not verified: {error.message}"
    return Finding(kind=FindingKind.LOCKED_OUT, severity=Severity.UNKNOWN, text=text, objects=(name,))


def _finding(name: str, error: errors.SafepointError, affected: tuple[Affected, ...]) -> Finding:
    kind = kind_of(name)
    found = _FINDING_KINDS.get(kind, FindingKind.DAMAGED_OBJECT) if kind is not None else FindingKind.DAMAGED_OBJECT
    return Finding(kind=found, severity=Severity.DAMAGED, text=error.message, objects=(name,), affected=affected)


def _strange(name: str) -> Finding:
    text = f"found {name}, expected a name that this version knows: it was not verified"
    return Finding(kind=FindingKind.STRANGE_NAME, severity=Severity.UNKNOWN, text=text, objects=(name,))

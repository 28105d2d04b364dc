"""Copying to another repository: to a sibling, whose objects are the same byte for byte, or to a stranger.

A sibling gets objects as they are, each checked on its way; a stranger gets what they hold, sealed anew. Each object is
in memory as a whole once: the port to stores knows no copy from one to another. Only what is committed in the source is
copied, and only what the target lacks: WAL, histories and records first, so that a backup never comes before its WAL;
then backups, the oldest first, each under a lease of its own in the target that ends with its manifest. Killed
anywhere, the next run goes on. What does not open in the source is told, and the rest is copied.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from functools import partial

from safepoint import errors
from safepoint.model.backup import BackupManifest
from safepoint.model.measures import format_bytes, format_count
from safepoint.repository.care.check import metered_by
from safepoint.repository.care.copy_adoptions import copy_adoptions
from safepoint.repository.care.copy_sibling import SiblingBackups, copy_objects
from safepoint.repository.care.copy_stranger import copy_backup, copy_sealed_anew, is_same_backup
from safepoint.repository.care.copy_survey import Wanted, WantedBackup, clusters_of, survey
from safepoint.repository.care.copy_values import Copied, CopyPlan
from safepoint.repository.care.finding import Finding, FindingKind
from safepoint.repository.care.progress import Progress, Report, no_report
from safepoint.repository.repository import Repository
from safepoint.repository.sealing.key_changes import sync_generations
from safepoint.repository.sealing.keys import OpenedKeys
from safepoint.repository.severity import Severity
from safepoint.stores.metering import Meter

__all__ = ["Copied", "CopyPlan", "copy", "is_sibling", "plan_copy"]


def is_sibling(source: Repository, target: Repository) -> bool:
    """Whether objects of the one are objects of the other. RP009 of `copy` says when keys have parted since."""
    return source.description.family == target.description.family


def plan_copy(
    source: Repository, target: Repository, *, backups: Collection[str] | None = None, as_stranger: bool = False
) -> CopyPlan:
    """What would be copied now and what it costs; writes nothing. `backups` are ids, None is all."""
    return survey(source, target, backups, is_sibling=is_sibling(source, target) and not as_stranger).plan()


def copy(
    source: Repository,
    target: Repository,
    *,
    backups: Collection[str] | None = None,
    as_stranger: bool = False,
    report: Report = no_report,
) -> Copied:
    """The target has what the source has committed, of backups those with these ids; see `Copied.findings`.

    RP013 when a collection in the target took the copy's lease for dead: the next run goes on. RP009 for siblings
    whose keys have parted: copy with `as_stranger`. RP008 when keys are missing.
    """
    siblings = is_sibling(source, target) and not as_stranger
    if siblings:
        source, target = _with_equal_keys(source, target)
    copy_adoptions(source, target)
    wanted = survey(source, target, backups, is_sibling=siblings)
    read, sent = Meter(), Meter()
    work = _copy_siblings if siblings else _copy_strangers
    copied = Copied(findings=wanted.findings)
    try:
        for each in work(metered_by(read, source), metered_by(sent, target), wanted, report):
            copied += each
    except errors.SafepointError as error:
        raise _interrupted(error, copied, sent.usage().bytes_put, target) from error
    return replace(copied, read_bytes=read.usage().bytes_got, sent_bytes=sent.usage().bytes_put)


def _copy_siblings(source: Repository, target: Repository, wanted: Wanted, report: Report) -> Iterator[Copied]:
    yield from copy_objects(source, target, wanted.names, report)
    _drop_covered_ranges(target)
    if not wanted.backups:
        return
    backups = SiblingBackups(source, target)
    for done, backup in enumerate(wanted.backups, 1):
        yield _tried(backup, partial(backups.copy, backup))
        report(Progress(done=done, total=len(wanted.backups), unit="backups"))


def _copy_strangers(source: Repository, target: Repository, wanted: Wanted, report: Report) -> Iterator[Copied]:
    yield from copy_sealed_anew(source, target, wanted, report)
    _drop_covered_ranges(target)
    for done, backup in enumerate(wanted.backups, 1):
        yield _tried(backup, partial(_copy_stranger, source, target, backup.manifest))
        report(Progress(done=done, total=len(wanted.backups), unit="backups"))


def _copy_stranger(source: Repository, target: Repository, manifest: BackupManifest) -> Copied:
    return copy_backup(source, target, manifest, *_parents(source, target, manifest))


def _tried(backup: WantedBackup, work: Callable[[], Copied]) -> Copied:
    """What the work copied; what the source has lost becomes a finding."""
    try:
        return work()
    except errors.Damaged as error:
        text = f"backup {backup.manifest.id} was not copied: {error.message}"
        return Copied(findings=(Finding(kind=FindingKind.DAMAGED_OBJECT, severity=Severity.DAMAGED, text=text),))


def _interrupted(
    error: errors.SafepointError, copied: Copied, sent_bytes: int, target: Repository
) -> errors.SafepointError:
    """The error, with a word on what had arrived by then; that is durable if the store still answers."""
    if not sent_bytes:
        return error
    with contextlib.suppress(errors.SafepointError):
        target.store.barrier()
    backups, others = len(copied.backups), copied.objects - len(copied.backups)
    arrived = f"{format_count(backups, 'whole backup')} and {format_count(others, 'other object')}"
    own = f"{error.changed}; " if error.spec is errors.RP013 else ""
    return error.spec.error(
        error.message,
        changed=f"{own}{format_bytes(sent_bytes)} arrived and stay, {arrived} among them: the next run goes on there",
        hints=[*error.hints, errors.run("when that is mended, run the same command again")],
    )


def _drop_covered_ranges(target: Repository) -> None:
    """Ranges of WAL that a complete segment holds by now: in the source, its receiver deletes them."""
    for cluster in clusters_of(target):
        pieces = target.wal_pieces(cluster)
        segments = [piece for piece in pieces if not piece.is_partial]
        starts = [(segment.timeline, segment.start) for segment in segments]
        for piece in pieces:
            at = bisect_right(starts, (piece.timeline, piece.start)) - 1
            if piece.is_partial and at >= 0 and segments[at].covers(piece):
                target.delete_wal_range(piece)


def _parents(
    source: Repository, target: Repository, manifest: BackupManifest
) -> tuple[BackupManifest | None, BackupManifest | None]:
    """The newest backup before this one that both have: as it is in the source, and in the target."""
    held = {found.id: found for found in target.readable_backups()[0]}
    for found in reversed(source.readable_backups()[0]):
        other = held.get(found.id)
        is_before = (found.stopped_at, found.id) < (manifest.stopped_at, manifest.id)
        is_ours = (found.database, found.system_identifier) == (manifest.database, manifest.system_identifier)
        if other is not None and is_before and is_ours and is_same_backup(found, other):
            return found, other
    return None, None


def _with_equal_keys(source: Repository, target: Repository) -> tuple[Repository, Repository]:
    """Both opened with the generations of both. A source that takes no writes needs none of the target's."""
    ours, theirs = _keys_of(source), _keys_of(target)
    theirs = sync_generations(ours, target.store, theirs, clock=target.clock)
    with contextlib.suppress(errors.Misconfigured, errors.Unreachable):
        ours = sync_generations(theirs, source.store, ours, clock=source.clock)
    return _opened_with(source, ours), _opened_with(target, theirs)


def _keys_of(repository: Repository) -> OpenedKeys:
    return OpenedKeys(description=repository.description, keyring=repository.keyring, slot=None)


def _opened_with(repository: Repository, opened: OpenedKeys) -> Repository:
    if opened.keyring.masters == repository.keyring.masters:
        return repository
    return Repository(repository.store, repository.description, opened.keyring, repository.clock, repository.places)

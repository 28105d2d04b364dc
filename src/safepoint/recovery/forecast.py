"""What a reader of a restore's plan should know first: how long, how much, and what will not be there. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from safepoint.model.backup import BackupManifest
from safepoint.model.coverage import Coverage
from safepoint.model.history import Ancestor
from safepoint.model.lsn import TimelineId
from safepoint.model.measures import format_duration
from safepoint.recovery.choice import TimelineRule
from safepoint.recovery.feeding import WINDOW_BYTES
from safepoint.recovery.options import Purpose, RestoreOptions
from safepoint.recovery.targets import PinnedRecovery, RecoveryTarget, TargetKind

_OUR_MAX_WAL = 1 << 30
_MEGABYTE = 1 << 20
_RESTARTPOINTS = 3
"""Of how many times the distance between checkpoints WAL may lie in pg_wal until a restartpoint removes it."""

History = Mapping[TimelineId, Sequence[Ancestor]]


def needed_bytes(backup: BackupManifest, pinned: PinnedRecovery, options: RestoreOptions) -> int:
    """What files and WAL take of the disk at most at once."""
    segments = (len(pinned.path) + 1) * backup.segment_size
    return backup.raw_bytes + segments + min(pinned.wal_bytes, _most_wal(backup, options))


def expected_text(seconds: float | None) -> str:
    """The expected duration, or that nothing is known of it."""
    if seconds is None:
        return "unknown: no earlier restore from this repository tells how fast files are written and WAL is replayed"
    return f"about {format_duration(timedelta(seconds=seconds))}, by earlier restores"


def _lost_after(target: RecoveryTarget) -> str:
    """Which commits a target leaves out."""
    if target.kind is TargetKind.LATEST:
        return "whose WAL the repository does not hold"
    if target.kind is TargetKind.IMMEDIATE:
        return "after the end of the backup"
    if target.is_exclusive:
        return f"at or after {replace(target, is_exclusive=False)}"
    return f"after {target}"


def absent(backup: BackupManifest, pinned: PinnedRecovery, options: RestoreOptions) -> str:
    """What production has, and the copy will not."""
    missing = ["what unlogged and temporary relations held", "replication slots", "sessions and their locks"]
    missing.insert(0, f"commits {_lost_after(pinned.target)}")
    unmapped = [space.name for space in backup.tablespaces if space.oid not in dict(options.tablespaces)]
    if unmapped:
        missing.append(f"the locations of tablespaces {', '.join(unmapped)}: their files stay below pg_tblspc")
    if options.purpose is Purpose.COPY:
        missing.append("production's settings, which are kept beside")
    return "; ".join(missing)


def prepared_note(options: RestoreOptions) -> str:
    """What becomes of transactions that were prepared and not ended."""
    if options.purpose is Purpose.EXPORT or not options.promotes:
        return "are kept, prepared, as WAL has them"
    return "come back prepared, holding their locks: end them with COMMIT PREPARED or ROLLBACK PREPARED"


def timelines_text(coverage: Coverage, histories: History) -> str:
    """Each timeline that can be reached, where it left which, and how far it goes."""
    ends = {interval.timeline: interval.end for interval in coverage.intervals}
    texts: list[str] = []
    for timeline in sorted(ends):
        ancestors = histories.get(timeline, ())
        origin = f", which left {ancestors[-1].timeline} at {ancestors[-1].switch}" if ancestors else ""
        texts.append(f"{timeline}{origin}, up to {ends[timeline]}")
    return "; ".join(texts)


def timeline_text(pinned: PinnedRecovery, asked: TimelineId | TimelineRule | None) -> str:
    """Which timeline is taken, and why."""
    if isinstance(asked, TimelineId):
        reason = "as asked for"
    elif asked is TimelineRule.CURRENT or pinned.target.kind is TargetKind.IMMEDIATE:
        reason = "the backup's own"
    elif pinned.target.kind is TargetKind.NAME:
        reason = "where the newest restore point of that name is"
    else:
        reason = "the newest that reaches the target"
    return f"{pinned.timeline}: {reason}"


def transaction_note(pinned: PinnedRecovery, backup: BackupManifest, asked: int | None) -> list[tuple[str, str]]:
    """How sure it is that the transaction ended after the backup, and what number was understood."""
    if pinned.target.xid is None:
        return []
    facts = [
        (
            "transaction",
            f"had not begun when the backup ended, whose next was {backup.next_xid}"
            if backup.next_xid
            else "whether it ended after the backup is unknown: the backup does not say what was its next; "
            "recovery refuses if it does not meet it",
        )
    ]
    if asked is not None and asked != pinned.target.xid:
        facts.append(("understood as", f"{pinned.target.xid}, the newest that looks like {asked}"))
    return facts


def damage_warnings(backup: BackupManifest) -> list[str]:
    """What the backup itself met of damage in production."""
    if not backup.damaged_pages:
        return []
    shown = ", ".join(f"{page.path} block {page.block}" for page in backup.damaged_pages[:5])
    more = f" and {len(backup.damaged_pages) - 5} more" if len(backup.damaged_pages) > 5 else ""  # noqa: PLR2004
    return [f"the backup met pages whose checksum did not hold in production, and has them as they were: {shown}{more}"]


def _most_wal(backup: BackupManifest, options: RestoreOptions) -> int:
    if options.purpose is Purpose.EXPORT or not backup.facts.databases:
        return 1 << 62
    settings = dict(backup.facts.settings)
    text = settings.get("max_wal_size", "")
    theirs = int(text) * _MEGABYTE if text.isdecimal() else _OUR_MAX_WAL
    return WINDOW_BYTES + _RESTARTPOINTS * max(theirs, _OUR_MAX_WAL)

"""A coverage report in words and as JSON: causes, cures, and names that programs may rely on."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from safepoint.model.json_value import Json
from safepoint.model.measures import format_instant
from safepoint.model.reach import Cause, CoverageReport, Lane, Loss, Reach
from safepoint.model.speed import Speed

CAUSES: Mapping[Cause, str] = {
    Cause.DAMAGED: "it is stored and does not open: an object is damaged",
    Cause.DELETED: "it was stored, as the journal says, and is gone: an object was deleted",
    Cause.EXPIRED: "it was expired on purpose",
    Cause.HISTORY: "what leads to this timeline is unknown: its history is missing or does not open",
    Cause.BEFORE_STREAM: "a backup began before WAL was received, and its first WAL was never stored",
    Cause.NOT_RECEIVED: "it never arrived: no receiver ran, its slot was lost, or the server had recycled it",
}

_REPAIR = "mend it from another repository: `safepoint repository repair --from NAME|URL`"
_BACK_UP = "restore points resume with a new base backup: `safepoint backup {}`"
_STREAM = "receive it again while a server still has it: `safepoint wal stream {}`"
_STATUS = "see what slot and receiver do: `safepoint wal status {}`"

_CURES: Mapping[Cause, tuple[str, ...]] = {
    Cause.DAMAGED: (_REPAIR, _BACK_UP),
    Cause.DELETED: (_REPAIR, _BACK_UP),
    Cause.EXPIRED: (),
    Cause.HISTORY: (_STREAM, _REPAIR),
    Cause.BEFORE_STREAM: (_STREAM, _BACK_UP),
    Cause.NOT_RECEIVED: (_STATUS, _STREAM, _BACK_UP),
}


def cures_of(loss: Loss, database: str) -> tuple[str, ...]:
    """What to do about it, each with its command; nothing about what concerns no backup."""
    return () if loss.is_harmless else tuple(cure.format(database) for cure in _CURES[loss.cause])


def describe_loss(loss: Loss) -> str:
    """The gap, when it was, and why, in one line."""
    place = f"WAL [{loss.start}, {loss.end}) of timeline {loss.timeline} is missing"
    harmless = "; no backup needs it" if loss.is_harmless else ""
    return f"{place}, {_instants_lost(loss)}: {CAUSES[loss.cause]}{harmless}"


def _instants_lost(loss: Loss) -> str:
    if loss.after is None and loss.before is None:
        return "of a time that no mark tells"
    after = "a time that no mark tells" if loss.after is None else format_instant(loss.after)
    before = "a time that no mark tells" if loss.before is None else format_instant(loss.before)
    return f"from {after} up to {before}"


def coverage_report_to_json(report: CoverageReport) -> dict[str, Json]:
    """LSNs as PostgreSQL spells them, instants in ISO 8601, null for what is not known."""
    return {
        "database": report.database,
        "system_identifier": report.cluster,
        "newest": _instant(report.newest),
        "window": {
            "start": _instant(report.window_start),
            "restorable_from": _instant(report.restorable_from),
            "is_covered": report.is_window_covered,
        },
        "lineages": [_lane(lane) for lane in report.lanes],
        "gaps": [_loss(loss, report.database) for loss in report.losses],
        "speed": _speed(report.speed),
        "unreadable": list(report.unreadable),
    }


def _lane(lane: Lane) -> dict[str, Json]:
    return {
        "timeline": lane.timeline.value,
        "lineage": lane.lineage,
        "is_followed": lane.is_followed,
        "restorable": [_reach(reach) for reach in lane.reaches],
    }


def _reach(reach: Reach) -> dict[str, Json]:
    return {
        "backup": reach.backup_id,
        "start_lsn": str(reach.start),
        "end_lsn": str(reach.end),
        "earliest": _instant(reach.earliest),
        "latest": _instant(reach.latest),
        "file_bytes": reach.file_bytes,
        "wal_bytes": reach.wal_bytes,
        "expected_seconds": None if reach.seconds is None else round(reach.seconds, 1),
        "own_end_lsn": str(reach.own_end),
        "own_latest": _instant(reach.own_latest),
        "window": None if reach.within is None else reach.within.value,
    }


def _loss(loss: Loss, database: str) -> dict[str, Json]:
    return {
        "timeline": loss.timeline.value,
        "start_lsn": str(loss.start),
        "end_lsn": str(loss.end),
        "after": _instant(loss.after),
        "before": _instant(loss.before),
        "cause": loss.cause.value,
        "is_harmless": loss.is_harmless,
        "cures": list(cures_of(loss, database)),
    }


def _speed(speed: Speed) -> dict[str, Json]:
    return {
        "restores": speed.restores,
        "write_bytes_per_second": None if speed.write is None else round(speed.write),
        "replay_bytes_per_second": None if speed.replay is None else round(speed.replay),
        "other_seconds": round(speed.other_seconds, 1),
    }


def _instant(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat()

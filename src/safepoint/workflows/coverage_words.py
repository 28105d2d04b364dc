"""A coverage report as JSON: names that programs may rely on."""

from __future__ import annotations

from datetime import datetime

from safepoint.model.json_value import Json
from safepoint.model.reach import CoverageReport, Lineage, Loss, Reach
from safepoint.model.speed import Speed
from safepoint.monitoring.wal_gaps import cures_of


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
        "lineages": [_lineage(lineage) for lineage in report.lineages],
        "gaps": [loss_to_json(loss, report.database) for loss in report.losses],
        "speed": _speed(report.speed),
        "unreadable": list(report.unreadable),
        "wal_pieces": {"held": report.pieces, "opened": report.opened_pieces},
    }


def _lineage(lineage: Lineage) -> dict[str, Json]:
    return {
        "timeline": lineage.timeline.value,
        "lineage": lineage.name,
        "is_followed": lineage.is_followed,
        "restorable": [_reach(reach) for reach in lineage.reaches],
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


def loss_to_json(loss: Loss, database: str) -> dict[str, Json]:
    """A gap with its cause and cures, as each command names it."""
    return {
        "timeline": loss.timeline.value,
        "start_lsn": str(loss.start),
        "end_lsn": str(loss.end),
        "after": _instant(loss.after),
        "before": _instant(loss.before),
        "cause": loss.cause.value,
        "is_harmless": loss.is_harmless,
        "is_abandoned": loss.is_abandoned,
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

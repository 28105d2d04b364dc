"""What `safepoint wal status` found as JSON: names that programs may rely on."""

from __future__ import annotations

from datetime import datetime, timedelta

from safepoint.model.coverage import Mark
from safepoint.model.json_value import Json
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.monitoring.wal_report import RepositoryReport, ServerReport, SlotReport, WalReport
from safepoint.postgres.wal_facts import ArchiverFacts
from safepoint.workflows.coverage_words import loss_to_json


def wal_report_to_json(report: WalReport) -> dict[str, Json]:
    """LSNs as PostgreSQL spells them, instants in ISO 8601, durations in seconds, null for what is not known."""
    return {
        "database": report.database,
        "now": report.now.isoformat(),
        "is_own_clock": report.is_own_clock,
        "slot_name": report.slot_name,
        "rpo_limit_seconds": report.rpo_limit.total_seconds(),
        "rpo_seconds": _seconds(report.rpo),
        "bytes_per_second": report.bytes_per_second,
        "servers": [_server(server, report.bytes_per_second) for server in report.servers],
        "repositories": [_repository(repository, report.database) for repository in report.repositories],
    }


def _server(server: ServerReport, bytes_per_second: float | None) -> dict[str, Json]:
    facts = server.facts
    return {
        "where": server.where,
        "obstacle": server.obstacle,
        "clock": None if facts is None else facts.clock.isoformat(),
        "skew_seconds": _seconds(server.skew),
        "is_primary": server.is_primary,
        "system_identifier": None if facts is None else facts.system_identifier,
        "timeline": None if facts is None else _timeline(facts.timeline),
        "position_lsn": None if facts is None else _lsn(facts.position),
        "slots": [_slot(slot, bytes_per_second) for slot in server.slots],
        "archiver": None if facts is None else _archiver(facts.archiver),
    }


def _slot(slot: SlotReport, bytes_per_second: float | None) -> dict[str, Json]:
    facts = slot.facts
    return {
        "name": facts.name,
        "kind": facts.kind,
        "is_ours": slot.is_ours,
        "is_of_restore": slot.is_of_restore,
        "is_active": facts.is_active,
        "restart_lsn": _lsn(facts.restart_lsn),
        "wal_status": facts.wal_status,
        "safe_wal_size": facts.safe_wal_size,
        "held_bytes": facts.held_bytes,
        "limit_bytes": slot.limit,
        "limit_name": slot.limit_name,
        "seconds_left": _seconds(slot.time_left(bytes_per_second)),
    }


def _archiver(archiver: ArchiverFacts) -> dict[str, Json]:
    return {
        "mode": archiver.mode,
        "archived_count": archiver.archived_count,
        "last_archived_wal": archiver.last_archived,
        "last_archived_time": _instant(archiver.last_archived_at),
        "failed_count": archiver.failed_count,
        "last_failed_wal": archiver.last_failed,
        "last_failed_time": _instant(archiver.last_failed_at),
        "ready": archiver.ready,
        "ready_since": _instant(archiver.ready_since),
        "is_failing": archiver.is_failing,
    }


def _repository(repository: RepositoryReport, database: str) -> dict[str, Json]:
    return {
        "name": repository.name,
        "is_required": repository.is_required,
        "obstacle": repository.obstacle,
        "last_segment": repository.last_segment,
        "timeline": _timeline(repository.timeline),
        "durable_lsn": _lsn(repository.durable),
        "lag_bytes": repository.lag_bytes,
        "mark": None if repository.mark is None else _mark(repository.mark),
        "adopted_timeline": _timeline(repository.adopted),
        "gaps": [{**loss_to_json(gap, database), "is_past": gap in repository.past_gaps} for gap in repository.gaps],
    }


def _mark(mark: Mark) -> dict[str, Json]:
    return {"lsn": str(mark.lsn), "clock": mark.clock.isoformat(), "is_commit": mark.is_commit}


def _lsn(lsn: Lsn | None) -> str | None:
    return None if lsn is None else str(lsn)


def _timeline(timeline: TimelineId | None) -> int | None:
    return None if timeline is None else timeline.value


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else duration.total_seconds()


def _instant(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat()

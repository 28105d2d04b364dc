"""A backup as JSON: names that programs may rely on."""

from __future__ import annotations

from safepoint.model.backup import BackupManifest
from safepoint.model.json_value import Json


def backup_to_json(backup: BackupManifest, proof: str) -> dict[str, Json]:
    """One line of `safepoint backups`."""
    return {
        "backup": backup.id,
        "database": backup.database,
        "tier": backup.tier,
        "system_identifier": backup.system_identifier,
        "version": str(backup.version),
        "timeline": backup.timeline.value,
        "start_lsn": str(backup.start_lsn),
        "stop_lsn": str(backup.stop_lsn),
        "started_at": backup.started_at.isoformat(),
        "stopped_at": backup.stopped_at.isoformat(),
        "files": backup.file_count,
        "raw_bytes": backup.raw_bytes,
        "added_bytes": backup.added_bytes,
        "source": backup.source.value,
        "is_from_standby": backup.is_from_standby,
        "detection": backup.detection.value,
        "detection_reason": backup.detection_reason,
        "damaged_pages": [[page.path, page.block] for page in backup.damaged_pages],
        "proof": proof,
    }

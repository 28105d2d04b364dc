"""How fast restores are, by what the records of earlier ones say. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from safepoint.model.backup import BackupManifest
from safepoint.model.json_value import JsonObject
from safepoint.model.lsn import Lsn

_LEAST_WAL = 16 << 20
"""Bytes: a recovery of less says nothing about how fast WAL is replayed."""

_WRITING = frozenset({"write"})
_REPLAYING = frozenset({"recover"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """How fast earlier restores were, in bytes a second and seconds; `restores` is how many were looked at."""

    write: float | None
    replay: float | None
    other_seconds: float
    restores: int

    def seconds(self, file_bytes: int, wal_bytes: int) -> float | None:
        """What a restore of so much may take; None when it is not known."""
        if self.write is None or (wal_bytes and self.replay is None):
            return None
        return file_bytes / self.write + (wal_bytes / self.replay if self.replay else 0.0) + self.other_seconds


def speed_of(records: Iterable[JsonObject], backups: Sequence[BackupManifest]) -> Speed:
    """What the records of earlier restores say: of those whose backups are still there, the largest tells most."""
    by_id = {backup.id: backup for backup in backups}
    found = [timed for record in records if (timed := _timed(record, by_id.get(str(record.get("backup"))))) is not None]
    if not found:
        return Speed(write=None, replay=None, other_seconds=0.0, restores=0)
    largest = max(found, key=lambda timed: timed.file_bytes)
    longest = max(found, key=lambda timed: timed.wal_bytes)
    return Speed(
        write=largest.file_bytes / largest.write,
        replay=longest.wal_bytes / longest.replay if longest.wal_bytes >= _LEAST_WAL else None,
        other_seconds=sorted(timed.other for timed in found)[len(found) // 2],
        restores=len(found),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Timed:
    file_bytes: int
    wal_bytes: int
    write: float
    replay: float
    other: float


def _timed(record: JsonObject, backup: BackupManifest | None) -> _Timed | None:
    """None of a record that does not say how long it took, of a backup that is gone, or where files stood already."""
    seconds, replayed = record.get("seconds"), record.get("replayed")
    if (
        backup is None
        or record.get("fetched_bytes") is not None
        or not isinstance(seconds, Mapping)
        or not isinstance(replayed, str)
    ):
        return None
    took = {name: float(value) for name, value in seconds.items() if isinstance(value, int | float)}
    try:
        wal_bytes = max(0, Lsn.parse(replayed) - backup.start_lsn)
    except ValueError:
        return None
    write, replay = _sum(took, _WRITING), _sum(took, _REPLAYING)
    if write <= 0 or replay <= 0:
        return None
    other = sum(took.values()) - write - replay
    return _Timed(file_bytes=backup.raw_bytes, wal_bytes=wal_bytes, write=write, replay=replay, other=other)


def _sum(took: Mapping[str, float], names: frozenset[str]) -> float:
    return sum(value for name, value in took.items() if name in names)

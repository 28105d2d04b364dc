"""The control file of a data directory, as pg_controldata of its own major reads it.

Source: PostgreSQL 15 to 18, src/include/catalog/pg_control.h and src/bin/pg_controldata/pg_controldata.c.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safepoint import errors
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.postgres.binaries import Binaries
from safepoint.postgres.data_directory import require_data_directory
from safepoint.postgres.programs import current_user, run_program

_CHECKSUM_WARNING = "CRC checksum does not match"
_NO_LSN = Lsn(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlData:
    """What a recovery must know before a server starts. Sizes are in bytes; an LSN of 0/0 in the file is None here."""

    system_identifier: int
    state: str
    pg_control_version: int
    catalog_version: int
    timeline: TimelineId
    checkpoint: Lsn
    redo: Lsn
    minimum_recovery_end: Lsn | None
    minimum_recovery_timeline: TimelineId | None
    backup_start: Lsn | None
    backup_end: Lsn | None
    is_end_of_backup_record_required: bool
    wal_level: str
    wal_log_hints: bool
    max_connections: int
    max_worker_processes: int
    max_wal_senders: int
    max_prepared_transactions: int
    max_locks_per_transaction: int
    track_commit_timestamp: bool
    has_checksums: bool
    block_size: int
    segment_size: int


def read_control(binaries: Binaries, data: Path) -> ControlData:
    """The control file of `data`.

    Raises PG002 when there is none of the binaries' major, PG012 when its own checksum does not hold.
    """
    # Programs of another major can find the checksum right and the fields elsewhere, as 15 does with a file of 17.
    require_data_directory(data, binaries)
    answer = run_program(current_user(), [binaries.program("pg_controldata"), "-D", data.absolute()], check=False)
    said = answer.stdout + answer.stderr
    if _CHECKSUM_WARNING in said:
        raise errors.PG012.error(
            f"found a control file in {data} whose checksum does not match its content, expected a whole one",
            hints=[
                errors.ask("was it copied while the server ran, other than by a backup?"),
                errors.run("restore a backup into a new directory: `safepoint restore --to latest --into DIR`"),
            ],
        )
    if answer.returncode != 0:
        raise errors.PG002.error(
            f"found no readable control file in {data} ({answer.stderr.strip()}), expected a data directory",
            hints=[errors.ask("is it a data directory, and may this user read it?")],
        )
    return _parse(answer.stdout, binaries, data)


def _parse(text: str, binaries: Binaries, data: Path) -> ControlData:
    pairs = (line.partition(":") for line in text.splitlines())
    fields = {name.strip(): value.strip() for name, _, value in pairs}
    try:
        return _control_data(fields)
    except (KeyError, ValueError) as error:
        raise errors.PG002.error(
            f"found that pg_controldata {binaries.version} says nothing readable of {error} in {data}, "
            "expected every field of its own major",
            hints=[errors.ask("is it a pre-release, or another kind of PostgreSQL?")],
        ) from error


def _control_data(fields: Mapping[str, str]) -> ControlData:
    return ControlData(
        system_identifier=int(fields["Database system identifier"]),
        state=fields["Database cluster state"],
        pg_control_version=int(fields["pg_control version number"]),
        catalog_version=int(fields["Catalog version number"]),
        timeline=TimelineId(int(fields["Latest checkpoint's TimeLineID"])),
        checkpoint=Lsn.parse(fields["Latest checkpoint location"]),
        redo=Lsn.parse(fields["Latest checkpoint's REDO location"]),
        minimum_recovery_end=_lsn(fields["Minimum recovery ending location"]),
        minimum_recovery_timeline=_timeline(fields["Min recovery ending loc's timeline"]),
        backup_start=_lsn(fields["Backup start location"]),
        backup_end=_lsn(fields["Backup end location"]),
        is_end_of_backup_record_required=fields["End-of-backup record required"] == "yes",
        wal_level=fields["wal_level setting"],
        wal_log_hints=fields["wal_log_hints setting"] == "on",
        max_connections=int(fields["max_connections setting"]),
        max_worker_processes=int(fields["max_worker_processes setting"]),
        max_wal_senders=int(fields["max_wal_senders setting"]),
        max_prepared_transactions=int(fields["max_prepared_xacts setting"]),
        max_locks_per_transaction=int(fields["max_locks_per_xact setting"]),
        track_commit_timestamp=fields["track_commit_timestamp setting"] == "on",
        has_checksums=fields["Data page checksum version"] != "0",
        block_size=int(fields["Database block size"]),
        segment_size=int(fields["Bytes per WAL segment"]),
    )


def _lsn(text: str) -> Lsn | None:
    lsn = Lsn.parse(text)
    return None if lsn == _NO_LSN else lsn


def _timeline(text: str) -> TimelineId | None:
    return TimelineId(int(text)) if int(text) else None

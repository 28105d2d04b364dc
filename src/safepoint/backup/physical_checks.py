"""What a server must be to be backed up, and what a backup must know of it. Read-only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import dict_row

from safepoint import errors
from safepoint.model.version import PgVersion
from safepoint.postgres.connect import connect, require_direct
from safepoint.postgres.url import DatabaseUrl

_FACTS = """
SELECT rolsuper OR rolreplication AS can_replicate,
       current_user::text AS role,
       pg_is_in_recovery() AS is_in_recovery,
       current_setting('wal_level') AS wal_level,
       current_setting('data_checksums') = 'on' AS has_checksums,
       current_setting('wal_log_hints') = 'on' AS has_hints_in_wal,
       current_setting('block_size')::int AS block_size,
       (SELECT setting::int FROM pg_settings WHERE name = 'segment_size') AS segment_blocks,
       current_setting('summarize_wal', true) = 'on' AS summarizes_wal,
       (SELECT setting FROM pg_settings WHERE name = 'data_directory') AS data_directory,
       current_setting('port')::int AS port,
       pg_postmaster_start_time() AS started_at,
       has_function_privilege('pg_backup_start(text, boolean)', 'EXECUTE')
           AND has_function_privilege('pg_backup_stop(boolean)', 'EXECUTE') AS can_start_backup,
       ARRAY(SELECT slot_name::text FROM pg_replication_slots WHERE active AND slot_type = 'physical') AS active_slots,
       (SELECT rolname::text FROM pg_roles WHERE rolsuper AND rolcanlogin ORDER BY oid LIMIT 1) AS superuser,
       current_setting('max_wal_senders')::int
           - (SELECT count(*)::int FROM pg_stat_activity WHERE backend_type = 'walsender') AS free_senders,
       current_setting('max_replication_slots')::int
           - (SELECT count(*)::int FROM pg_replication_slots) AS free_slots
FROM pg_roles WHERE rolname = current_user
"""
_SENDERS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerForBackup:
    """The facts of a server that was checked; `superuser` is a role that can log in to a restored copy.

    `segment_blocks` is how many blocks a file of a relation holds at most. `data_directory` is None for want of the
    right to know it; `summarizes_wal` is False before version 17.
    """

    version: PgVersion
    is_in_recovery: bool
    has_checksums: bool
    has_hints_in_wal: bool
    block_size: int
    segment_blocks: int
    summarizes_wal: bool
    data_directory: str | None
    port: int
    started_at: datetime
    can_start_backup: bool
    superuser: str
    active_slots: tuple[str, ...]

    def has_active_slot(self, name: str) -> bool:
        """Whether somebody streams from that physical slot."""
        return name in self.active_slots


def check_server(url: DatabaseUrl) -> ServerForBackup:
    """The server is reached directly, and can be backed up.

    Raises PG004, PG005; PG007 without the right to replicate; PG010 when wal_level is minimal.
    """
    require_direct(url)
    row, version = _fetch(url)
    _require_fit(row)
    return ServerForBackup(
        version=version,
        superuser=row["superuser"] or "postgres",
        summarizes_wal=bool(row["summarizes_wal"]),
        active_slots=tuple(row["active_slots"]),
        data_directory=row["data_directory"] or None,
        **{
            name: row[name]
            for name in (
                "is_in_recovery",
                "has_checksums",
                "has_hints_in_wal",
                "block_size",
                "segment_blocks",
                "port",
                "started_at",
                "can_start_backup",
            )
        },
    )


def require_free_senders(url: DatabaseUrl) -> None:
    """A backup's two replication connections and its slot can be had; PG010 when not."""
    row, _ = _fetch(url)
    if row["free_senders"] < _SENDERS or row["free_slots"] < 1:
        raise errors.PG010.error(
            f"found {row['free_senders']} replication connections and {row['free_slots']} replication slots free, "
            f"expected {_SENDERS} and 1",
            hints=[errors.run("raise max_wal_senders and max_replication_slots, and restart the server")],
        )


def read_clock(url: DatabaseUrl) -> datetime:
    """The server's clock."""
    with connect(url) as connection:
        row = connection.execute("SELECT clock_timestamp()").fetchone()
    if row is None:
        raise errors.PG004.error("found no answer to SELECT clock_timestamp(), expected the server's clock")
    return row[0]


def _fetch(url: DatabaseUrl) -> tuple[dict[str, Any], PgVersion]:
    with connect(url) as connection, connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(_FACTS).fetchone()
        version = PgVersion(connection.info.server_version)
    if row is None:
        raise errors.PG007.error("found no row of our own role in pg_roles, expected one")
    return row, version


def _require_fit(row: dict[str, Any]) -> None:
    if not row["can_replicate"]:
        role = row["role"]
        raise errors.PG007.error(
            f"found role {role} without the REPLICATION attribute, expected it",
            hints=[errors.run(f'as a superuser: `ALTER ROLE "{role}" REPLICATION`')],
        )
    if row["wal_level"] == "minimal":
        raise errors.PG010.error(
            "found wal_level = minimal, expected replica or logical",
            hints=[errors.run("`ALTER SYSTEM SET wal_level = replica`, and restart the server")],
        )

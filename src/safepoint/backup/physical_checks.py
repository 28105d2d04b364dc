"""What a server must be to be backed up, and what a backup must know of it. Read-only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from safepoint import errors
from safepoint.model.version import PgVersion
from safepoint.postgres.connect import connect, require_direct
from safepoint.postgres.url import DatabaseUrl

_FACTS = """
SELECT rolsuper OR rolreplication, current_user, pg_is_in_recovery(), current_setting('wal_level'),
       current_setting('data_checksums') = 'on',
       ARRAY(SELECT spcname::text FROM pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global') ORDER BY 1),
       ARRAY(SELECT slot_name::text FROM pg_replication_slots WHERE active AND slot_type = 'physical'),
       (SELECT rolname FROM pg_roles WHERE rolsuper AND rolcanlogin ORDER BY oid LIMIT 1),
       current_setting('max_wal_senders')::int
           - (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender'),
       current_setting('max_replication_slots')::int - (SELECT count(*) FROM pg_replication_slots)
FROM pg_roles WHERE rolname = current_user
"""
_SENDERS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerForBackup:
    """The facts of a server that was checked; `superuser` is a role that can log in to a restored copy."""

    version: PgVersion
    has_checksums: bool
    superuser: str
    active_slots: tuple[str, ...]

    def has_active_slot(self, name: str) -> bool:
        """Whether somebody streams from that physical slot."""
        return name in self.active_slots


def check_server(url: DatabaseUrl) -> ServerForBackup:
    """The server is reached directly, and can be backed up by this version.

    Raises PG004, PG005; PG007 without the right to replicate; PG010 when wal_level is minimal; BK006 for a standby or
    tablespaces.
    """
    require_direct(url)
    with connect(url) as connection:
        row = connection.execute(_FACTS).fetchone()
        version = PgVersion(connection.info.server_version)
    if row is None:
        raise errors.PG007.error("found no row of our own role in pg_roles, expected one")
    _require_fit(row)
    return ServerForBackup(
        version=version, has_checksums=bool(row[4]), superuser=row[7] or "postgres", active_slots=tuple(row[6])
    )


def require_free_senders(url: DatabaseUrl) -> None:
    """A backup's two replication connections and its slot can be had; PG010 when not."""
    with connect(url) as connection:
        row = connection.execute(_FACTS).fetchone()
    if row is not None and (row[8] < _SENDERS or row[9] < 1):
        raise errors.PG010.error(
            f"found {row[8]} replication connections and {row[9]} replication slots free, expected {_SENDERS} and 1",
            hints=[errors.run("raise max_wal_senders and max_replication_slots, and restart the server")],
        )


def read_clock(url: DatabaseUrl) -> datetime:
    """The server's clock."""
    with connect(url) as connection:
        row = connection.execute("SELECT clock_timestamp()").fetchone()
    if row is None:
        raise errors.PG004.error("found no answer to SELECT clock_timestamp(), expected the server's clock")
    return row[0]


def _require_fit(row: tuple[Any, ...]) -> None:
    can_replicate, role, is_in_recovery, wal_level, _, tablespaces = row[:6]
    if not can_replicate:
        raise errors.PG007.error(
            f"found role {role} without the REPLICATION attribute, expected it",
            hints=[errors.run(f'as a superuser: `ALTER ROLE "{role}" REPLICATION`')],
        )
    if wal_level == "minimal":
        raise errors.PG010.error(
            "found wal_level = minimal, expected replica or logical",
            hints=[errors.run("`ALTER SYSTEM SET wal_level = replica`, and restart the server")],
        )
    if is_in_recovery:
        raise errors.BK006.error(
            "found a standby (pg_is_in_recovery), expected the primary",
            hints=[errors.run("give the primary's URL: this version does not back up from standbys")],
        )
    if tablespaces:
        raise errors.BK006.error(
            f"found tablespaces {', '.join(tablespaces)}, expected none",
            hints=[errors.run("move their relations into pg_default and drop them")],
        )

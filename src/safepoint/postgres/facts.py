"""What a server says of itself and of our role's rights. A right that lacks makes a fact None: unknown, never guessed.

Source: PostgreSQL documentation, `pg_settings`, "System Information Functions", "Predefined Roles".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg.rows import dict_row

from safepoint.model.version import PgVersion
from safepoint.postgres.system_identifier import system_identifier_of

_TEXTS = (
    "archive_command",
    "archive_library",
    "archive_mode",
    "config_file",
    "data_directory",
    "hba_file",
    "wal_level",
)
_NUMBERS = ("block_size", "max_connections", "max_replication_slots", "max_wal_senders")
_FLAGS = {
    "has_checksums": "data_checksums",
    "has_full_page_writes": "full_page_writes",
    "summarizes_wal": "summarize_wal",
}
_SETTINGS = (*_TEXTS, *_NUMBERS, *_FLAGS.values(), "wal_segment_size")

_RIGHTS = """
SELECT current_user AS role,
       rolsuper AS is_superuser,
       rolreplication OR rolsuper AS can_replicate,
       pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS can_read_all_stats,
       pg_has_role(current_user, 'pg_read_all_settings', 'USAGE') AS can_read_all_settings,
       pg_has_role(current_user, 'pg_signal_backend', 'USAGE') AS can_signal_backends,
       has_database_privilege(current_database(), 'CREATE') AS can_create_in_database,
       has_function_privilege('pg_create_restore_point(text)', 'EXECUTE') AS can_create_restore_point,
       has_function_privilege('pg_switch_wal()', 'EXECUTE') AS can_switch_wal,
       has_function_privilege('pg_backup_start(text, boolean)', 'EXECUTE') AS can_start_backup,
       has_function_privilege('pg_control_system()', 'EXECUTE') AS can_read_control,
       EXISTS (SELECT FROM pg_roles WHERE rolname = 'rds_replication') AS has_rds_replication,
       pg_is_in_recovery() AS is_in_recovery
FROM pg_roles WHERE rolname = current_user
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """One look at a server, and at what the connected role may do there. Sizes are in bytes.

    None is unknown for want of a right; `summarizes_wal` is None, too, before version 17, which has no such setting.
    `can_replicate` is the role's part only: pg_hba.conf has its own say.
    """

    version: PgVersion
    is_in_recovery: bool

    role: str
    is_superuser: bool
    can_replicate: bool
    can_read_all_stats: bool
    can_read_all_settings: bool
    can_signal_backends: bool
    can_create_in_database: bool
    can_create_restore_point: bool
    can_switch_wal: bool
    can_start_backup: bool

    system_identifier: int | None
    data_directory: str | None
    config_file: str | None
    hba_file: str | None
    wal_level: str | None
    archive_mode: str | None
    archive_command: str | None
    archive_library: str | None
    max_connections: int | None
    max_wal_senders: int | None
    max_replication_slots: int | None
    has_checksums: bool | None
    has_full_page_writes: bool | None
    summarizes_wal: bool | None
    segment_size: int | None
    block_size: int | None


def fetch_server_facts(connection: psycopg.Connection[Any]) -> ServerFacts:
    """The facts as they are now; reads only, and works in the midst of a transaction."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rights = cursor.execute(_RIGHTS).fetchone() or {}
        can_read_control = rights.pop("can_read_control")
        if rights.pop("has_rds_replication") and not rights["can_replicate"]:
            # Amazon RDS grants the right by membership and leaves the attribute unset.
            rights["can_replicate"] = _scalar(cursor, "SELECT pg_has_role(current_user, 'rds_replication', 'USAGE')")
        return ServerFacts(
            version=PgVersion(connection.info.server_version),
            system_identifier=_fetch_system_identifier(cursor) if can_read_control else None,
            **rights,
            **_known(_fetch_settings(cursor)),
        )


def _fetch_system_identifier(cursor: psycopg.Cursor[dict[str, Any]]) -> int:
    return system_identifier_of(_scalar(cursor, "SELECT system_identifier FROM pg_control_system()"))


def _scalar(cursor: psycopg.Cursor[dict[str, Any]], query: LiteralString) -> Any:
    row = cursor.execute(query).fetchone()
    return None if row is None else next(iter(row.values()))


def _fetch_settings(cursor: psycopg.Cursor[dict[str, Any]]) -> dict[str, str]:
    """By name; a setting the role may not see, or the version does not have, is absent."""
    query = "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)"
    return {row["name"]: row["setting"] for row in cursor.execute(query, [list(_SETTINGS)])}


def _known(settings: Mapping[str, str]) -> dict[str, Any]:
    """The settings under the names and in the types of `ServerFacts`."""
    return {
        **{name: settings.get(name) for name in _TEXTS},
        **{name: _number(settings, name) for name in _NUMBERS},
        **{name: _flag(settings, setting) for name, setting in _FLAGS.items()},
        "segment_size": _number(settings, "wal_segment_size"),
    }


def _number(settings: Mapping[str, str], name: str) -> int | None:
    return int(settings[name]) if name in settings else None


def _flag(settings: Mapping[str, str], name: str) -> bool | None:
    return settings[name] == "on" if name in settings else None

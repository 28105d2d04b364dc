"""What a server says of its WAL: how far it is, which slots hold it back, how archiving goes. Reads only.

Source: PostgreSQL documentation, `pg_replication_slots`, `pg_stat_archiver`, "Backup Control Functions".
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row

from safepoint.model.lsn import Lsn, TimelineId
from safepoint.postgres.system_identifier import system_identifier_of

_SERVER = """
SELECT clock_timestamp() AS clock, pg_is_in_recovery() AS is_in_recovery,
       CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END::text
           AS position,
       CASE WHEN NOT pg_is_in_recovery() THEN substr(pg_walfile_name(pg_current_wal_flush_lsn()), 1, 8) END
           AS timeline,
       (SELECT setting::bigint * 1048576 FROM pg_settings WHERE name = 'max_slot_wal_keep_size') AS keep_size,
       current_setting('archive_mode') AS archive_mode
"""
_SLOTS = """
SELECT slot_name AS name, slot_type AS kind, active AS is_active, restart_lsn::text AS restart_lsn, wal_status,
       safe_wal_size,
       pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END,
                       restart_lsn)::bigint AS held_bytes
FROM pg_replication_slots ORDER BY slot_name
"""
_ARCHIVER = """
SELECT archived_count, last_archived_wal AS last_archived, last_archived_time AS last_archived_at,
       failed_count, last_failed_wal AS last_failed, last_failed_time AS last_failed_at
FROM pg_stat_archiver
"""
_READY = """
SELECT count(*) AS ready, min(modification) AS ready_since FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'
"""
_MAY_LOOK = "SELECT has_function_privilege('pg_ls_archive_statusdir()', 'EXECUTE') AS may_look"
_WHO = "SELECT has_function_privilege('pg_control_system()', 'EXECUTE') AS may_see"
_IDENTIFIER = "SELECT system_identifier FROM pg_control_system()"


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotFacts:
    """A slot as pg_replication_slots has it; `held_bytes` of WAL are kept for it.

    `safe_wal_size` bytes more may be written before it can be lost.
    None: the server says nothing of it, as of a limit where there is none.
    """

    name: str
    kind: str
    is_active: bool
    restart_lsn: Lsn | None
    wal_status: str | None
    safe_wal_size: int | None
    held_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiverFacts:
    """pg_stat_archiver, and how many files wait to be archived, the oldest `ready_since` (None: the role may not look).

    A command that is not found, or dies by a signal, ends the archiver, and counts as no failure (seen on 15 and 18).
    """

    mode: str
    archived_count: int
    last_archived: str | None
    last_archived_at: datetime | None
    failed_count: int
    last_failed: str | None
    last_failed_at: datetime | None
    ready: int | None
    ready_since: datetime | None = None

    @property
    def is_failing(self) -> bool:
        """Whether the last thing it did was to fail."""
        if self.mode == "off" or self.last_failed_at is None:
            return False
        return self.last_archived_at is None or self.last_failed_at > self.last_archived_at


@dataclass(frozen=True, slots=True, kw_only=True)
class WalFacts:
    """One look at a server. `position` is flushed there, on a standby replayed; `timeline` is a primary's.

    `system_identifier` None: the role may not see it. `keep_size` is max_slot_wal_keep_size in bytes, None for none.
    """

    clock: datetime
    is_in_recovery: bool
    system_identifier: str | None
    position: Lsn | None
    timeline: TimelineId | None
    keep_size: int | None
    slots: tuple[SlotFacts, ...]
    archiver: ArchiverFacts


def fetch_wal_facts(connection: psycopg.Connection[Any]) -> WalFacts:
    """The facts as they are now."""
    with connection.cursor(row_factory=dict_row) as cursor:
        row = _one(cursor, _SERVER)
        identifier = _one(cursor, _IDENTIFIER)["system_identifier"] if _one(cursor, _WHO)["may_see"] else None
        return WalFacts(
            clock=row["clock"],
            is_in_recovery=row["is_in_recovery"],
            system_identifier=None if identifier is None else str(system_identifier_of(identifier)),
            position=_lsn(row["position"]),
            timeline=None if row["timeline"] is None else TimelineId(int(row["timeline"], 16)),
            keep_size=None if row["keep_size"] is None or row["keep_size"] < 0 else row["keep_size"],
            slots=tuple(_slot(slot) for slot in cursor.execute(_SLOTS).fetchall()),
            archiver=_archiver(cursor, row["archive_mode"]),
        )


def _slot(row: dict[str, Any]) -> SlotFacts:
    known: dict[str, Any] = {**row, "restart_lsn": _lsn(row["restart_lsn"])}
    return SlotFacts(**known)


def _archiver(cursor: psycopg.Cursor[dict[str, Any]], mode: str) -> ArchiverFacts:
    waiting: dict[str, Any] = _one(cursor, _READY) if _one(cursor, _MAY_LOOK)["may_look"] else {"ready": None}
    return ArchiverFacts(**_one(cursor, _ARCHIVER), **waiting, mode=mode)


def _lsn(text: str | None) -> Lsn | None:
    return None if text is None else Lsn.parse(text)


def _one(cursor: psycopg.Cursor[dict[str, Any]], query: str) -> dict[str, Any]:
    row = cursor.execute(query.encode()).fetchone()
    assert row is not None  # noqa: S101 - each of them returns one row
    return row

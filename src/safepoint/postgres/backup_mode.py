"""Backup mode: `pg_backup_start` and `pg_backup_stop`, in one session that lives as long as the copy.

The server keeps the backup's state in that session. When the session is lost the server leaves backup mode by itself,
and whatever was copied is no backup: every call then raises BK001. Nothing is written into the data directory.

Source: PostgreSQL documentation, "Making a Base Backup Using the Low Level API"; "Backup Control Functions";
src/backend/access/transam/xlogbackup.c (build_backup_content).
"""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg.rows import TupleRow

from safepoint import errors
from safepoint.model.backup import Tablespace
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.postgres.basebackup import BackupPosition, Checkpoint
from safepoint.postgres.connect import connect
from safepoint.postgres.url import DatabaseUrl

_START_TIMELINE = re.compile(r"^START TIMELINE: (\d+)$", re.MULTILINE)
_POSITION = """
SELECT pg_is_in_recovery(),
       CASE WHEN pg_is_in_recovery() THEN greatest(pg_last_wal_replay_lsn(), pg_last_wal_receive_lsn())
            ELSE pg_current_wal_insert_lsn() END::text
"""
_ENDED_ON = """
SELECT CASE WHEN pg_is_in_recovery() THEN (SELECT min_recovery_end_timeline FROM pg_control_recovery())
            ELSE (SELECT timeline_id FROM pg_control_checkpoint()) END
"""
_TABLESPACES = """
SELECT oid::int8, spcname::text, pg_tablespace_location(oid)
FROM pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global') ORDER BY oid
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupEnd:
    """Where the backup ended, and the content of the file `backup_label` without which its files are none."""

    position: BackupPosition
    label: bytes


class BackupMode:
    """One backup on one session: `start`, then `stop`; or `close`, and the server forgets it."""

    def __init__(self, url: DatabaseUrl) -> None:
        self._connection = connect(url)
        self._started: BackupPosition | None = None

    def start(self, label: str, checkpoint: Checkpoint) -> BackupPosition:
        """The server is in backup mode, its checkpoint done, from the position returned on."""
        with _voided():
            (lsn, timeline) = _row(
                self._connection.execute(
                    "SELECT pg_backup_start(%s, fast => %s)::text, (SELECT timeline_id FROM pg_control_checkpoint())",
                    [label, checkpoint is Checkpoint.FAST],
                )
            )
        self._started = BackupPosition(lsn=Lsn.parse(lsn), timeline=TimelineId(int(timeline)))
        return self._started

    def written_up_to(self) -> Lsn:
        """No page of the server can have an LSN beyond this one yet."""
        with _voided():
            _, lsn = _row(self._connection.execute(_POSITION))
        return Lsn.parse(lsn)

    def tablespaces(self) -> tuple[Tablespace, ...]:
        """Those of the cluster beside `pg_default` and `pg_global`."""
        with _voided():
            rows = self._connection.execute(_TABLESPACES).fetchall()
        return tuple(Tablespace(oid=oid, name=name, location=location) for oid, name, location in rows)

    def check(self) -> None:
        """The session is alive; BK001 when it is not."""
        with _voided():
            self._connection.execute("SELECT 1")

    def stop(self) -> BackupEnd:
        """The server is out of backup mode. BK001 when the backup is void: a promotion, full_page_writes off."""
        if self._started is None:
            raise errors.IN001.error("found pg_backup_stop called before pg_backup_start, expected it after")
        with _voided():
            lsn, label = _row(
                self._connection.execute("SELECT lsn::text, labelfile FROM pg_backup_stop(wait_for_archive => false)")
            )
            (timeline,) = _row(self._connection.execute(_ENDED_ON))
        began_on = _START_TIMELINE.search(label)
        if began_on is None or TimelineId(int(began_on[1])) != self._started.timeline:
            raise errors.BK001.error(
                f"found the label of another start ({label.splitlines()[0]!r}), "
                f"expected timeline {self._started.timeline}",
                changed="no backup was made",
            )
        return BackupEnd(
            position=BackupPosition(lsn=Lsn.parse(lsn), timeline=TimelineId(int(timeline))), label=label.encode()
        )

    def close(self) -> None:
        """The session is over; a backup that was not stopped is none, and the server is out of backup mode."""
        self._connection.close()


def _row(cursor: psycopg.Cursor[TupleRow]) -> TupleRow:
    row = cursor.fetchone()
    if row is None:
        raise errors.BK001.error("found no answer from the backup's session, expected one row")
    return row


@contextmanager
def _voided() -> Generator[None]:
    """What the server or the network raises becomes BK001: there is no other session to go on in."""
    try:
        yield
    except psycopg.Error as error:
        text = " ".join(str(error).split())
        is_lost = isinstance(error, psycopg.OperationalError) and error.sqlstate in {None, "57P01", "57P02", "57P03"}
        if is_lost:
            raise errors.BK001.error(
                f"found the session lost that held the server in backup mode ({text}), expected it alive to the end",
                changed="no backup was made; what was stored is found again by the next backup",
                hints=[
                    errors.ask("did the server restart, or a proxy or pooler close an idle connection?"),
                    errors.run("take the backup again, over a direct connection"),
                ],
            ) from error
        if error.sqlstate == "42501":
            raise errors.PG007.error(
                f"found {text}, expected the right to call pg_backup_start and pg_backup_stop",
                hints=[
                    errors.run("as a superuser: `GRANT EXECUTE ON FUNCTION pg_backup_start, pg_backup_stop TO …`"),
                    errors.run("or take the backup over the replication protocol: `--source stream`"),
                ],
            ) from error
        raise errors.BK001.error(
            f"found the answer {text!r}, expected the server to go on with the backup",
            changed="no backup was made; what was stored is found again by the next backup",
            hints=[errors.ask("was the standby promoted, or `full_page_writes` off on its primary?")],
        ) from error

"""A physical slot on every server that may become the primary, kept advanced: a failover then leaves no hole.

Physical slots do not follow a promotion: what was written between it and the first slot on the new primary may be
recycled. So each server beside the one we stream from has a slot of the same name, which is moved to what was
acknowledged and never beyond it.

Source: PostgreSQL documentation, "Replication Management Functions"; src/backend/replication/slotfuncs.c.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import psycopg

from safepoint import errors
from safepoint.backup.candidates import where
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.postgres.connect import connect
from safepoint.postgres.system_identifier import system_identifier_of
from safepoint.postgres.url import DatabaseUrl

SLOT_SECONDS = 10.0
"""How often the slots are moved, and how soon a primary that was promoted beside a living one is noticed."""

_LOST = "lost"
_STANDING = """
SELECT (SELECT system_identifier FROM pg_control_system()), pg_is_in_recovery(),
       CASE WHEN NOT pg_is_in_recovery() THEN substr(pg_walfile_name(pg_current_wal_flush_lsn()), 1, 8) END,
       CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END::text,
       slot.slot_name IS NOT NULL, slot.active, slot.wal_status, slot.restart_lsn::text
FROM (SELECT) AS one LEFT JOIN pg_replication_slots AS slot ON slot.slot_name = %s
"""

_ADVANCE = "SELECT pg_replication_slot_advance(%s, %s::text::pg_lsn)"


class SlotKeeper:
    """Keeps the slot `name` on the servers that are not streamed from.

    `acknowledged` is what every required repository holds. `source` is the server streamed from, with its cluster and
    timeline; `promoted` is called when another one is the primary of a higher timeline.
    """

    def __init__(
        self,
        servers: Sequence[DatabaseUrl],
        name: str,
        *,
        acknowledged: Callable[[], Lsn],
        source: Callable[[], tuple[DatabaseUrl, str, TimelineId] | None],
        promoted: Callable[[], None],
    ) -> None:
        self._servers = servers
        self._name = name
        self._acknowledged = acknowledged
        self._source = source
        self._promoted = promoted

    def turn(self) -> None:
        """Every slot is there and stands at what was acknowledged, as far as the servers answer.

        Raises the last of their errors, after the others were served.
        """
        found = self._source()
        if found is None:
            return
        url, cluster, timeline = found
        trouble: errors.SafepointError | None = None
        for server in self._servers:
            if server != url:
                try:
                    self._serve(server, cluster, timeline)
                except errors.SafepointError as error:
                    trouble = error
        if trouble is not None:
            raise trouble

    def _serve(self, server: DatabaseUrl, cluster: str, timeline: TimelineId) -> None:
        with connect(server.with_parameters(connect_timeout="3")) as connection:
            try:
                self._keep(connection, server, cluster, timeline)
            except psycopg.Error as error:
                raise _refused(server, self._name, error) from error

    def _keep(
        self, connection: psycopg.Connection[Any], server: DatabaseUrl, cluster: str, timeline: TimelineId
    ) -> None:
        row = connection.execute(_STANDING, [self._name]).fetchone()
        assert row is not None  # noqa: S101 - the left side is one row
        identifier, is_standby, on_timeline, reached, exists, is_active, status, restart = row
        found = str(system_identifier_of(int(identifier)))
        if found != cluster:
            raise errors.WL001.error(
                f"found cluster {found} at {where(server)}, expected {cluster}, the primary's",
                hints=[errors.ask("does the `replica` of the strategy file belong to another database?")],
            )
        if not is_standby:
            if TimelineId(int(on_timeline, 16)) > timeline:
                self._promoted()
            return  # an old primary needs no slot: it is rebuilt before it is anything
        if exists and status == _LOST:
            connection.execute("SELECT pg_drop_replication_slot(%s)", [self._name])
            exists = False
        if not exists:
            connection.execute("SELECT pg_create_physical_replication_slot(%s, true)", [self._name])
        elif not is_active and reached is not None:
            target = min(self._acknowledged(), Lsn.parse(reached))
            if restart is not None and target > Lsn.parse(restart):
                connection.execute(_ADVANCE, [self._name, str(target)])


def _refused(server: DatabaseUrl, name: str, error: psycopg.Error) -> errors.SafepointError:
    return errors.PG010.error(
        f"found that slot {name} on {where(server)} cannot be kept ({' '.join(str(error).split())}), expected it to be",
        changed="WAL goes on being received; after a failover to that server some may be missing",
        hints=[
            errors.ask("does the role have REPLICATION there, and are all of max_replication_slots in use?"),
            errors.run("see the slots: `SELECT * FROM pg_replication_slots`"),
        ],
    )

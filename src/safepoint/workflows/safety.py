"""Whether a database could be brought back to a restore point, asked of server and repository: the gate's eyes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg

from safepoint import errors
from safepoint.backup.fetch_coverage import fetch_coverage
from safepoint.model.backup import BackupManifest
from safepoint.model.coverage import Interval
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.model.proof import ProofLevel
from safepoint.model.safety import SafetyDemand, SafetyFacts
from safepoint.postgres.connect import connect
from safepoint.postgres.url import DatabaseUrl
from safepoint.repository import Repository
from safepoint.workflows.held import NOT_READ, Proven, proofs_of

DEMAND = SafetyDemand(proof=ProofLevel.VERIFIED, max_age=timedelta(hours=26))
"""A daily backup with room for the run itself, read back."""

_IDENTITY = """
SELECT system_identifier::text, substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8), clock_timestamp()
FROM pg_control_system()
"""
_NOTHING = SafetyFacts(backup_id=None, backup_age=None, proof=None, durable_lsn=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Server:
    """Which cluster it is, where its WAL goes on, and its clock."""

    system_identifier: str
    timeline: TimelineId
    clock: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositorySafety:
    """Implements `model.safety.Safety` for a server and the repository that holds its backups."""

    url: DatabaseUrl
    repository: Repository
    demand: SafetyDemand = DEMAND

    def facts(self, restore_point: Lsn) -> SafetyFacts:
        """The backup that comes nearest to the demand, with WAL on the server's own timeline only."""
        del restore_point
        server = self._look()
        proofs = proofs_of(self.repository)
        backups = tuple(
            backup
            for backup in self.repository.backups()
            if backup.system_identifier == server.system_identifier and not proofs.get(backup.id, NOT_READ).is_damaged
        )
        if not backups:
            return _NOTHING
        best = max(backups, key=lambda backup: self._worth(backup, server, proofs))
        coverage = fetch_coverage(self.repository, server.system_identifier, (best,), with_marks=False)
        return SafetyFacts(
            backup_id=best.id,
            backup_age=max(server.clock - best.stopped_at, timedelta()),
            proof=proofs.get(best.id, NOT_READ).level,
            durable_lsn=_end_on(coverage.intervals, server.timeline),
        )

    def _worth(self, backup: BackupManifest, server: _Server, proofs: dict[str, Proven]) -> tuple[bool, datetime]:
        """Proven and young enough before not, then the newest."""
        level = proofs.get(backup.id, NOT_READ).level
        is_fit = level.rank >= self.demand.proof.rank and server.clock - backup.stopped_at <= self.demand.max_age
        return is_fit, backup.stopped_at

    def _look(self) -> _Server:
        """PG007 when the role may not see which cluster it is: then nothing can be said."""
        with connect(self.url) as connection:
            try:
                row: Any = connection.execute(_IDENTITY).fetchone()
            except psycopg.errors.InsufficientPrivilege as error:
                raise errors.PG007.error(
                    f"found that {connection.info.user} may not see which cluster this is, expected it to: {error}",
                    hints=[
                        errors.run(
                            f'GRANT EXECUTE ON FUNCTION pg_control_system() TO "{connection.info.user}", as a superuser'
                        )
                    ],
                ) from error
        return _Server(
            # A signed 64-bit number in SQL, an unsigned one everywhere else.
            system_identifier=str(int(row[0]) % (1 << 64)),
            timeline=TimelineId(int(row[1], 16)),
            clock=row[2],
        )


def _end_on(intervals: tuple[Interval, ...], timeline: TimelineId) -> Lsn | None:
    return max((interval.end for interval in intervals if interval.timeline == timeline), default=None)

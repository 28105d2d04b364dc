"""Whether a database could be brought back to a restore point, asked of server and repository: the gate's eyes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg

from safepoint import errors
from safepoint.backup.fetch_coverage import fetch_coverage
from safepoint.model.backup import BackupManifest
from safepoint.model.coverage import Gap, Interval
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.model.proof import ProofLevel
from safepoint.model.safety import SafetyDemand, SafetyFacts
from safepoint.postgres.connect import connect
from safepoint.postgres.replication import slot_name
from safepoint.postgres.system_identifier import system_identifier_of
from safepoint.postgres.url import DatabaseUrl
from safepoint.repository import Repository
from safepoint.workflows.held import NOT_READ, Proven, proofs_of

DEMAND = SafetyDemand(proof=ProofLevel.VERIFIED, max_age=timedelta(hours=26))
"""A daily backup with room for the run itself, read back."""

_IDENTITY = """
SELECT system_identifier::text, substr(pg_walfile_name(position), 1, 8), clock_timestamp(), position::text,
       (SELECT restart_lsn::text FROM pg_replication_slots WHERE slot_name = %s AND wal_status <> 'lost')
FROM pg_control_system(), pg_current_wal_insert_lsn() AS position
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Server:
    """Which cluster it is, where its WAL goes on, its clock, and what it still keeps for the receiver."""

    system_identifier: str
    timeline: TimelineId
    clock: datetime
    position: Lsn
    kept_from: Lsn | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """A backup that is not known to be damaged, and how far one can recover from it."""

    backup: BackupManifest
    proof: ProofLevel
    age: timedelta | None
    durable: Lsn | None
    gap: Gap | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositorySafety:
    """Implements `model.safety.Safety` for a server and the repository that holds its backups."""

    url: DatabaseUrl
    repository: Repository
    database: str
    demand: SafetyDemand = DEMAND

    def facts(self, restore_point: Lsn) -> SafetyFacts:
        """The backup that comes nearest to the demand, with WAL that leads to the server's own timeline only."""
        return self._facts(self._look(), restore_point)

    def now(self) -> SafetyFacts:
        """The same for what the server writes now; makes no restore point."""
        server = self._look()
        return self._facts(server, server.position)

    def _facts(self, server: _Server, restore_point: Lsn) -> SafetyFacts:
        proofs = proofs_of(self.repository)
        backups = [
            item for item in self.repository.readable_backups()[0] if item.system_identifier == server.system_identifier
        ]
        sound = [item for item in backups if not proofs.get(item.id, NOT_READ).is_damaged]
        damaged = len(backups) - len(sound)
        if not sound:
            return SafetyFacts(backup_id=None, backup_age=None, proof=None, durable_lsn=None, damaged=damaged)
        candidates = self._candidates(sound, server, restore_point, proofs)
        best = max(candidates, key=lambda candidate: self._worth(candidate, restore_point))
        return SafetyFacts(
            backup_id=best.backup.id,
            backup_age=best.age,
            proof=best.proof,
            durable_lsn=best.durable,
            gap=best.gap,
            damaged=damaged,
        )

    def _candidates(
        self, backups: Sequence[BackupManifest], server: _Server, restore_point: Lsn, proofs: Mapping[str, Proven]
    ) -> list[_Candidate]:
        coverage = fetch_coverage(self.repository, server.system_identifier, backups, with_marks=False)
        ends = _ends_on(coverage.intervals, server.timeline)
        gaps: tuple[Gap, ...] = ()
        if any(ends.get(backup.id, Lsn(0)) < restore_point for backup in backups) and coverage.gaps:
            # A listing taken while ranges give way to their segment can lack both: a gap is there when seen twice.
            again = fetch_coverage(self.repository, server.system_identifier, backups, with_marks=False)
            gaps = tuple(gap for gap in again.gaps if gap in coverage.gaps)
        return [
            _Candidate(
                backup=backup,
                proof=proofs.get(backup.id, NOT_READ).level,
                age=age_of(backup.stopped_at, server.clock),
                durable=ends.get(backup.id),
                gap=None if ends.get(backup.id, Lsn(0)) >= restore_point else _gap_behind(backup, gaps, server),
            )
            for backup in backups
        ]

    def _worth(self, candidate: _Candidate, restore_point: Lsn) -> tuple[bool, bool, bool, datetime]:
        """First what no gap cuts off, then what is proven and young enough, then what is there, then the newest.

        So the sentence that does not hold of the best is one that can be mended.
        """
        is_young = candidate.age is not None and candidate.age <= self.demand.max_age
        is_fit = candidate.proof.rank >= self.demand.proof.rank and is_young
        is_there = candidate.durable is not None and candidate.durable >= restore_point
        return candidate.gap is None, is_fit, is_there, candidate.backup.stopped_at

    def _look(self) -> _Server:
        """PG007 when the role may not see which cluster it is: then nothing can be said."""
        with connect(self.url) as connection:
            try:
                row: Any = connection.execute(_IDENTITY, [slot_name(self.database)]).fetchone()
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
            system_identifier=str(system_identifier_of(int(row[0]))),
            timeline=TimelineId(int(row[1], 16)),
            clock=row[2],
            position=Lsn.parse(row[3]),
            kept_from=None if row[4] is None else Lsn.parse(row[4]),
        )


def age_of(stopped_at: datetime, clock: datetime) -> timedelta | None:
    """How long ago that was; None, unknown, when the server's clock stands before it: it was set back."""
    return clock - stopped_at if clock >= stopped_at else None


def _ends_on(intervals: tuple[Interval, ...], timeline: TimelineId) -> dict[str, Lsn]:
    """By the backup's id."""
    return {interval.backup_id: interval.end for interval in intervals if interval.timeline == timeline}


def _gap_behind(backup: BackupManifest, gaps: Sequence[Gap], server: _Server) -> Gap | None:
    """The first gap on the server's timeline after the backup's start that its receiver cannot fill any more."""
    behind = (
        gap
        for gap in gaps
        if gap.timeline == server.timeline
        and gap.start >= backup.start_lsn
        and (server.kept_from is None or gap.start < server.kept_from)
    )
    return next(behind, None)

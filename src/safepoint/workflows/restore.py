"""`safepoint restore`: an exact instant of a database, started and proven, in a directory of its own.

Works from a strategy file, or, when everything else is lost, from a repository's URL and its key alone. Reading needs
no right to write: evidence of the restore is appended where that is possible, and its absence is said.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from safepoint import errors
from safepoint.errors import Damaged
from safepoint.model.backup import BackupManifest
from safepoint.model.history import Ancestor, parse_history
from safepoint.model.lsn import TimelineId
from safepoint.model.speed import speed_of
from safepoint.postgres.binaries import find_binaries
from safepoint.postgres.url import DatabaseUrl
from safepoint.recovery.actions import require_admission, restore_actions
from safepoint.recovery.choice import BEYOND, TimelineRule, choose, passed_over, require_known
from safepoint.recovery.directory import MARKER
from safepoint.recovery.export import require_mapped
from safepoint.recovery.forecast import (
    expected_text,
    timeline_text,
    timelines_text,
    transaction_note,
)
from safepoint.recovery.options import Purpose, RestoreOptions
from safepoint.recovery.plan import plan_restore
from safepoint.recovery.proofs import Question
from safepoint.recovery.restore_points import find_restore_point
from safepoint.recovery.tablespaces import chosen_tablespaces
from safepoint.recovery.targets import PinnedRecovery, RecoveryTarget, TargetKind, parse_target
from safepoint.repository import Repository
from safepoint.steps.execute import Observer, Run, execute
from safepoint.steps.journal import open_file_journal, read_file_journal
from safepoint.steps.plan import Plan
from safepoint.workflows.held import Holdings, chosen_backup, holdings_of, only_database, restores_on_record
from safepoint.workflows.places import state_directory
from safepoint.workflows.project import Project
from safepoint.workflows.repository_location import located_at
from safepoint.workflows.suspects import Suspects, suspects_in

_DAMAGE_OF_REPOSITORY = frozenset({errors.RP004, errors.RP005, errors.BK004, errors.WL002})


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where to restore from: a repository, and the database's name in it; `primary` is whom a standby follows."""

    repository: Repository
    database: str
    primary: DatabaseUrl | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """A planned restore and what it needs."""

    plan: Plan
    source: Source
    into: Path
    backup: str
    target: str
    raw_bytes: int
    wal_bytes: int
    options: RestoreOptions

    def admit(self) -> None:
        """RC002 where the directory, or a tablespace's, would be refused as things are now. Touches nothing."""
        if not self._is_under_way(journal_path(self.plan)):
            require_admission(self.source.repository, self.plan)

    def execute(self, observer: Observer) -> Run:
        """The copy runs in `into`, proven; killed anywhere, the same command goes on or begins afresh.

        Interrupted or failed, no server of it runs. SP002 when another process carries out the same plan, CF007 when
        the journal cannot be written.
        """
        path = journal_path(self.plan)
        if not self._is_under_way(path):
            path.unlink(missing_ok=True)
        try:
            primary = self.source.primary if self.options.purpose is Purpose.STANDBY else None
            with (
                open_file_journal(path, self.plan) as journal,
                restore_actions(self.source.repository, primary=primary) as actions,
            ):
                return execute(self.plan, actions=actions, journal=journal, observer=observer)
        except Damaged as error:
            if error.spec in _DAMAGE_OF_REPOSITORY:
                nearer = [hint for hint in error.hints if hint not in error.spec.hints]
                error.hints = (*nearer, *_mending(self.source.database))
            raise

    def _is_under_way(self, journal: Path) -> bool:
        """Whether the directory holds this very plan, not concluded; a journal alone speaks of a lost directory."""
        try:
            marker: Any = json.loads((self.into / MARKER).read_text())
        except FileNotFoundError:
            return (self.into / "PG_VERSION").exists() and _has_begun_to_finish(journal)
        except (OSError, ValueError):
            return False
        return isinstance(marker, dict) and cast("dict[str, Any]", marker).get("plan") == self.plan.id


def source_of(project: Project, name: str | None, repository: str | None, *, with_primary: bool = False) -> Source:
    """The database of a strategy, in the repository of that name, or the first; its server's URL where it is needed."""
    database = project.self_managed(name)
    return Source(
        repository=project.repository(repository),
        database=database.name,
        primary=project.database_url(database) if with_primary else None,
    )


def source_at(url: str, key: str, name: str | None, environment: Mapping[str, str] = os.environ) -> Source:
    """A repository by URL and key alone; the database may be left out when it holds one. CF003, RP001, RP003."""
    repository = located_at(url, key, environment).open()
    command = f"safepoint restore {{}} --repository {url} --to TARGET --into DIR"
    return Source(repository=repository, database=only_database(repository, name, url, command))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a restore is asked for: where to end, from what, and how it is put down.

    `timeline` is a number, `latest` or `current`; `tablespaces` are as given on the command line. An export is of the
    end of a backup.
    """

    to: str = "latest"
    is_exclusive: bool = False
    timeline: str = "latest"
    lineage: str | None = None
    backup_id: str | None = None
    purpose: Purpose = Purpose.COPY
    promotes: bool = True
    is_delta: bool = False
    tablespaces: Sequence[str] = ()
    queries: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chosen:
    """Where a restore ends and what it begins from, and what all that was chosen among."""

    holdings: Holdings
    suspects: Suspects
    timeline: TimelineId | TimelineRule
    pinned: PinnedRecovery
    backup: BackupManifest


def prepare(source: Source, wish: Wish, into: Path) -> Restore:
    """The plan of a restore; RC001, RC005, RC008 when the target cannot be reached, read or found. Touches nothing.

    From the newest backup that reaches the target and is not known to be damaged, or from the one of `backup_id`,
    whatever is known of it (BK003 when there is none).
    """
    asked = parse_target(wish.to, is_exclusive=wish.is_exclusive)
    _require_sense(wish, asked, source)
    chosen = _choose(source, wish, asked)
    pinned, backup = chosen.pinned, chosen.backup
    options = RestoreOptions(
        purpose=wish.purpose,
        promotes=wish.promotes and wish.purpose is Purpose.COPY,
        is_delta=wish.is_delta,
        tablespaces=tuple(sorted(chosen_tablespaces(wish.tablespaces, backup.tablespaces).items())),
    )
    if options.purpose is Purpose.EXPORT:
        require_mapped(backup.tablespaces, dict(options.tablespaces))
    plan = plan_restore(
        pinned,
        backup,
        into=into,
        questions=[Question(database=source.database, query=query) for query in wish.queries],
        facts=_facts(source, wish, asked, chosen),
        warnings=[
            *chosen.suspects.warnings_for(backup.id),
            *_unreadable(chosen.holdings),
            *_standby_warnings(options),
        ],
        options=options,
    )
    return Restore(
        plan=plan,
        source=source,
        into=into.absolute(),
        backup=backup.id,
        target=str(pinned.target),
        raw_bytes=backup.raw_bytes,
        wal_bytes=pinned.wal_bytes,
        options=options,
    )


def _choose(source: Source, wish: Wish, asked: RecoveryTarget) -> _Chosen:
    timeline = parse_timeline(wish.timeline)
    lineages = () if wish.lineage is None else (wish.lineage,)
    around = () if asked.time is None else (asked.time, asked.time + BEYOND)
    holdings = holdings_of(source.repository, source.database, around=around, lineages=lineages)
    suspects = suspects_in(source.repository)
    backups = holdings.backups
    if wish.backup_id is not None:
        backups = (chosen_backup(source.repository, source.database, wish.backup_id),)
    target, of_target = _found(source.repository, holdings, asked, timeline, lineages)
    pinned = choose(
        target,
        holdings.coverage,
        backups,
        timeline=of_target,
        damaged=() if wish.backup_id is not None else suspects.damaged,
    )
    return _Chosen(
        holdings=holdings,
        suspects=suspects,
        timeline=timeline,
        pinned=replace(pinned, lineages=lineages),
        backup=next(backup for backup in backups if backup.id == pinned.backup_id),
    )


def _facts(source: Source, wish: Wish, asked: RecoveryTarget, chosen: _Chosen) -> list[tuple[str, str]]:
    pinned, holdings, repository = chosen.pinned, chosen.holdings, source.repository
    speed = speed_of(restores_on_record(repository), holdings.backups)
    return [
        *(_passed_over(pinned, holdings, chosen.suspects.damaged) if wish.backup_id is None else ()),
        ("timeline", timeline_text(pinned, chosen.timeline)),
        ("timelines", timelines_text(holdings.coverage, _histories(repository, holdings, pinned.lineages))),
        *transaction_note(pinned, chosen.backup, asked.xid),
        ("expected", expected_text(speed.seconds(chosen.backup.raw_bytes, pinned.wal_bytes))),
    ]


def parse_timeline(text: str) -> TimelineId | TimelineRule:
    """`latest`, `current` or a number as PostgreSQL writes it in decimal; RC005 for anything else."""
    if text in {rule.value for rule in TimelineRule}:
        return TimelineRule(text)
    if text.isdecimal() and text.isascii() and 0 < int(text) < 1 << 32:
        return TimelineId(int(text))
    raise errors.RC005.error(f"found timeline {text!r}, expected `latest`, `current` or a number from 1")


def _require_sense(wish: Wish, target: RecoveryTarget, source: Source) -> None:
    if wish.purpose is Purpose.EXPORT and target.kind is not TargetKind.IMMEDIATE:
        raise errors.RC005.error(
            f"found target {target} for an export, expected `immediate`: no server is started that could replay, and "
            "what is exported is the state at the end of a backup",
            hints=[errors.run("choose a backup with `--to immediate --backup ID`, or leave `--export` out")],
        )
    if wish.purpose is Purpose.STANDBY and target.kind is not TargetKind.LATEST:
        raise errors.RC005.error(f"found target {target} for a standby, expected `latest`: it follows its primary")
    if wish.purpose is Purpose.STANDBY and source.primary is None:
        raise errors.RC009.error(
            "found a repository's URL alone, expected a strategy file: a standby follows the database it names",
            hints=[errors.run("run it where safepoint.toml is, with the repository's name: `--repository NAME`")],
        )


def _found(
    repository: Repository,
    holdings: Holdings,
    target: RecoveryTarget,
    timeline: TimelineId | TimelineRule,
    lineages: Collection[str],
) -> tuple[RecoveryTarget, TimelineId | TimelineRule]:
    """The target, a restore point with its position and on its own timeline; RC001, RC008."""
    if target.name is None or not holdings.backups or holdings.cluster is None:
        return target, timeline
    require_known(timeline, holdings.coverage)
    newest = holdings.backups[-1]
    wanted = [found for found in holdings.coverage.intervals if timeline in {*TimelineRule, found.timeline}]
    point = find_restore_point(
        repository,
        repository.wal_pieces(holdings.cluster, lineages),
        wanted,
        target.name,
        segment_size=newest.segment_size,
        binaries=find_binaries(newest.version.major),
    )
    return replace(target, lsn=point.end), point.timeline


def _histories(
    repository: Repository, holdings: Holdings, lineages: Collection[str]
) -> dict[TimelineId, tuple[Ancestor, ...]]:
    found: dict[TimelineId, tuple[Ancestor, ...]] = {}
    timelines = {interval.timeline for interval in holdings.coverage.intervals}
    for timeline in (each for each in timelines if each.has_history):
        content = repository.read_history(holdings.cluster or "", timeline, lineages)
        with suppress(ValueError):
            found[timeline] = parse_history(content or b"")
    return found


def _standby_warnings(options: RestoreOptions) -> list[str]:
    if options.purpose is not Purpose.STANDBY:
        return []
    return ["a replication slot is made on the primary, which keeps WAL there: drop it when the standby is given up"]


def _unreadable(holdings: Holdings) -> list[str]:
    return [f"{name} does not open: what it lists is passed over" for name in holdings.unreadable]


def _mending(database: str) -> tuple[errors.Hint, ...]:
    """What helps against damage in the repository, wherever it was met."""
    return (
        errors.ask("does another repository hold a copy, as a sibling or not?"),
        errors.run("mend this one from it: `safepoint repository repair --from NAME|URL`; then restore again"),
        errors.run("see what else it concerns: `safepoint repository check`"),
        errors.run(f"or restore from another backup: `safepoint backups {database}` names them for --backup ID"),
    )


def _passed_over(pinned: PinnedRecovery, holdings: Holdings, damaged: Collection[str]) -> list[tuple[str, str]]:
    names = passed_over(pinned, holdings.coverage, damaged, holdings.backups)
    return [("passed over", f"{name}: its last verification, or check, found damage") for name in names]


def _has_begun_to_finish(journal: Path) -> bool:
    """Killed between the last proof and its report, a restore has taken its marker away already."""
    try:
        _, entries = read_file_journal(journal)
    except FileNotFoundError:
        return False
    return any(entry.step == "finish" for entry in entries)


def journal_path(plan: Plan) -> Path:
    """Where the plan's journal is kept while it is under way."""
    return state_directory() / "journals" / f"{plan.id}.jsonl"

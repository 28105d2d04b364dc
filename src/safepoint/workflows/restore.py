"""`safepoint restore`: an exact instant of a database, started and proven, in a directory of its own.

Works from a strategy file, or, when everything else is lost, from a repository's URL and its key alone. Reading needs
no right to write: evidence of the restore is appended where that is possible, and its absence is said.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from safepoint import errors
from safepoint.errors import Damaged, SafepointError
from safepoint.model.json_value import Json
from safepoint.postgres.connect import connect
from safepoint.postgres.url import DatabaseUrl
from safepoint.recovery.configuration import PRODUCTION
from safepoint.recovery.directory import MARKER
from safepoint.recovery.plan import plan_restore, proofs_of, restore_actions
from safepoint.recovery.proofs import Proof, Question
from safepoint.recovery.targets import PinnedRecovery, choose, parse_target, passed_over
from safepoint.recovery.verdict import level_of
from safepoint.repository import Repository
from safepoint.steps.execute import Observer, Run, execute
from safepoint.steps.journal import open_file_journal, read_file_journal
from safepoint.steps.plan import Plan
from safepoint.workflows import held
from safepoint.workflows.held import RESTORES, Holdings, chosen_backup, holdings_of, only_database
from safepoint.workflows.places import state_directory
from safepoint.workflows.project import Project
from safepoint.workflows.repository_location import located_at

_DATABASES = """
SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate AND datname <> 'postgres' ORDER BY 1
"""

_DAMAGE_OF_REPOSITORY = frozenset({errors.RP004, errors.RP005, errors.BK004, errors.WL002})


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where to restore from: a repository, and the database's name in it."""

    repository: Repository
    database: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """A copy that was handed over. `evidence` says whether the repository took the record."""

    backup: str
    target: str
    replayed: str
    last_commit: str | None
    data: Path
    url: DatabaseUrl
    proofs: tuple[Proof, ...]
    seconds: Mapping[str, float]
    evidence: str

    @property
    def configuration(self) -> Path:
        """Where production's configuration is kept; the copy has one of its own."""
        return self.data / PRODUCTION


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """A planned restore and what it needs."""

    plan: Plan
    source: Source
    into: Path
    backup: str
    target: str

    def execute(self, observer: Observer) -> Run:
        """The copy runs in `into`, proven; killed anywhere, the same command goes on or begins afresh.

        Interrupted or failed, no server of it runs. SP002 when another process carries out the same plan, CF007 when
        the journal cannot be written.
        """
        path = _journal_path(self.plan)
        if not self._is_under_way(path):
            path.unlink(missing_ok=True)
        try:
            with open_file_journal(path, self.plan) as journal, restore_actions(self.source.repository) as actions:
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


def source_of(project: Project, name: str | None, repository: str | None) -> Source:
    """The database of a strategy, in the repository of that name, or the first."""
    database = project.self_managed(name)
    return Source(repository=project.repository(repository), database=database.name)


def source_at(url: str, key: str, name: str | None, environment: Mapping[str, str] = os.environ) -> Source:
    """A repository by URL and key alone; the database may be left out when it holds one. CF003, RP001, RP003."""
    repository = located_at(url, key, environment).open()
    command = f"safepoint restore {{}} --repository {url} --to TARGET --into DIR"
    return Source(repository=repository, database=only_database(repository, name, url, command))


def prepare_restore(
    source: Source,
    *,
    to: str,
    into: Path,
    promotes: bool = True,
    queries: Sequence[str] = (),
    backup_id: str | None = None,
) -> Restore:
    """The plan of a restore; RC001, RC005 when the target cannot be reached or read. Touches nothing.

    From the newest backup that reaches the target and is not known to be damaged, or from the one of `backup_id`,
    whatever is known of it (BK003 when there is none).
    """
    target = parse_target(to)
    holdings = holdings_of(source.repository, source.database)
    suspects = _suspects(source.repository)
    if backup_id is None:
        pinned = choose(target, holdings.coverage, holdings.backups, damaged=suspects.damaged)
    else:
        named = chosen_backup(source.repository, source.database, backup_id)
        pinned = choose(target, holdings.coverage, [named])
    backup = next(backup for backup in holdings.backups if backup.id == pinned.backup_id)
    plan = plan_restore(
        pinned,
        backup,
        into=into,
        promotes=promotes,
        questions=[Question(database=source.database, query=query) for query in queries],
        facts=_passed_over(pinned, holdings, suspects.damaged) if backup_id is None else (),
        warnings=[*suspects.warnings_for(backup.id), *_unreadable(holdings)],
    )
    return Restore(plan=plan, source=source, into=into.absolute(), backup=backup.id, target=str(pinned.target))


def _unreadable(holdings: Holdings) -> list[str]:
    return [f"{name} does not open: what it lists is passed over" for name in holdings.unreadable]


def conclude(restore: Restore, run: Run) -> Restored:
    """What came of it, and the record of it in the repository; only then is the restore no longer under way."""
    proofs = proofs_of(run.outcomes)
    finish, recover = run.outcomes["finish"], run.outcomes["recover"]
    record: dict[str, Json] = {
        "backup": restore.backup,
        "proof": level_of(proofs).value,
        "at": datetime.now(UTC).isoformat(),
        "replayed": recover["replayed"],
        "seconds": dict(run.seconds),
        "proofs": [proof.to_json() for proof in proofs],
    }
    evidence = _record(restore.source.repository, record)
    restored = Restored(
        backup=restore.backup,
        target=restore.target,
        replayed=str(recover["replayed"]),
        last_commit=None if recover["last_commit"] is None else str(recover["last_commit"]),
        data=Path(str(finish["data"])),
        url=_url_of(DatabaseUrl.parse(str(finish["url"])), restore.source.database),
        proofs=proofs,
        seconds=run.seconds,
        evidence=evidence,
    )
    _journal_path(restore.plan).unlink(missing_ok=True)
    return restored


def _mending(database: str) -> tuple[errors.Hint, ...]:
    """What helps against damage in the repository, wherever it was met."""
    return (
        errors.ask("does another repository hold a copy, as a sibling or not?"),
        errors.run("mend this one from it: `safepoint repository repair --from NAME|URL`; then restore again"),
        errors.run("see what else it concerns: `safepoint repository check`"),
        errors.run(f"or restore from another backup: `safepoint backups {database}` names them for --backup ID"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Suspects:
    """The backups that their last verification, or a check, found damaged; `unknown` says why that cannot be known."""

    damaged: frozenset[str]
    unknown: str | None = None

    def warnings_for(self, backup_id: str) -> list[str]:
        if self.unknown is not None:
            return [f"which backups were found damaged is unknown: {self.unknown}"]
        if backup_id in self.damaged:
            return [
                f"the last verification, or check, of {backup_id} found damage; every file is checked as it is written"
            ]
        return []


def _suspects(repository: Repository) -> _Suspects:
    try:
        proven = held.proofs_of(repository)
    except Damaged as error:
        # Evidence that cannot be read keeps nobody from what is left: files and WAL are checked anyway.
        return _Suspects(damaged=frozenset(), unknown=error.message)
    return _Suspects(damaged=frozenset(name for name, known in proven.items() if known.is_damaged))


def _passed_over(pinned: PinnedRecovery, holdings: Holdings, damaged: Collection[str]) -> list[tuple[str, str]]:
    names = passed_over(pinned, holdings.coverage, damaged)
    return [("passed over", f"{name}: its last verification, or check, found damage") for name in names]


def _has_begun_to_finish(journal: Path) -> bool:
    """Killed between the last proof and its report, a restore has taken its marker away already."""
    try:
        _, entries = read_file_journal(journal)
    except FileNotFoundError:
        return False
    return any(entry.step == "finish" for entry in entries)


def _journal_path(plan: Plan) -> Path:
    return state_directory() / "journals" / f"{plan.id}.jsonl"


def _record(repository: Repository, record: dict[str, Json]) -> str:
    try:
        repository.append_record(RESTORES, record)
    except SafepointError as error:
        return f"not recorded: {error.message}"
    return "recorded"


def _url_of(url: DatabaseUrl, name: str) -> DatabaseUrl:
    """The copy's URL for the database of that name, else for the only one, else for `postgres`."""
    with connect(url) as connection:
        names = [str(row[0]) for row in connection.execute(_DATABASES).fetchall()]
    if name in names:
        return url.with_database(name)
    return url.with_database(names[0]) if len(names) == 1 else url

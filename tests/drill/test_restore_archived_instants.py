"""Instants proven by commits alone: WAL came by archive_command, pushed inline, and nobody ever read a clock."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

import archiving
from archiving import archive_by, switch
from backups import (
    DATABASE,
    restored,
    take_backup,
    whole_coverage,
)
from safepoint import errors
from safepoint.model.backup import BackupManifest
from safepoint.model.coverage import Interval
from safepoint.monitoring.finding import State
from safepoint.monitoring.wal_judgement import judge_wal
from safepoint.postgres.connect import connect
from safepoint.repository import Repository
from safepoint.workflows.project import load_project
from safepoint.workflows.wal_status import look_at_wal

pytestmark = pytest.mark.pg("18")
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A repository, its backup, when each row was committed, and what `wal status` said while the server lived."""

    directory: Path
    repository: Repository
    backup: BackupManifest
    commits: dict[int, datetime]
    findings: tuple[tuple[str, State, str], ...]

    def interval(self) -> Interval:
        """The only one."""
        (found,) = whole_coverage(self.repository, self.backup.system_identifier).intervals
        return found

    def rows_at(self, instant: datetime, name: str) -> list[int]:
        """Of a copy restored to the instant."""
        with restored(self.repository, self.backup, self.directory / name, instant.isoformat()) as copy:
            return [row[0] for row in copy.execute("SELECT number FROM rows ORDER BY number").fetchall()]


@pytest.fixture(scope="module")
def scene(major: int) -> Generator[Scene]:
    """Rows 1 to 4 in one segment, 5 and 6 in the next, 7 in one that is never archived."""
    with archiving.private_directory() as directory:
        settings = {"track_commit_timestamp": "on"}
        with archiving.archiving_server(directory, major, settings) as cluster, connect(cluster.url()) as connection:
            repository, helper = archiving.new_repository(directory), archiving.c_helper(directory)
            config = directory / "safepoint.toml"
            config.write_text(
                f'[database.{DATABASE}]\nurl = "{cluster.url().reveal()}"\n'
                f'[repository.main]\nurl = "file:{directory}/repository"\nkey = "none"\n'
            )
            archive_by(connection, f"{helper} push %p --socket {directory}/nobody --config {config}")
            connection.execute("CREATE TABLE rows (number int)")
            backup = take_backup(cluster.url(), repository)
            _insert(connection, 1, 2, 3, 4)
            switch(connection)
            _insert(connection, 5, 6)
            connection.execute("SELECT pg_switch_wal()")
            archiving.wait_until_archived(cluster)
            _insert(connection, 7)
            found = connection.execute("SELECT number, pg_xact_commit_timestamp(xmin) FROM rows").fetchall()
            report = look_at_wal(load_project(config), DATABASE)
        findings = tuple((finding.check, finding.state, finding.fact) for finding in judge_wal(report))
        yield Scene(
            directory=directory,
            repository=archiving.reopened(directory),
            backup=backup,
            commits=dict(found),
            findings=findings,
        )


def test_coverage_reaches_to_the_last_commit_that_is_held(scene: Scene) -> None:
    """No mark was ever made; what is not in the repository proves nothing."""
    assert all(scene.repository.read_mark(piece) is None for piece in _pieces(scene))
    assert scene.interval().latest == scene.commits[6]


def test_a_restore_to_the_very_instant_of_a_commit_has_it(scene: Scene) -> None:
    """As in PostgreSQL a target includes commits of that instant."""
    assert scene.rows_at(scene.commits[3], "at") == [1, 2, 3]


def test_a_restore_to_just_before_a_commit_is_without_it(scene: Scene) -> None:
    """The first of a segment: the proof lies in another object than the rows before it."""
    assert scene.rows_at(scene.commits[5] - MICROSECOND, "before") == [1, 2, 3, 4]


def test_a_restore_to_the_last_commit_has_everything(scene: Scene) -> None:
    """Though no later commit is held at which PostgreSQL alone would end."""
    assert scene.rows_at(scene.commits[6], "last") == [1, 2, 3, 4, 5, 6]


def test_an_instant_after_the_last_commit_is_refused(scene: Scene) -> None:
    """Nobody knows what was committed between: the server was idle, or its WAL did not arrive."""
    with pytest.raises(errors.SafepointError) as refused:
        scene.rows_at(scene.commits[6] + MICROSECOND, "after")

    assert refused.value.spec is errors.RC001


def test_status_measures_by_commits_and_has_no_gap(scene: Scene) -> None:
    """An archived cluster has no slot, which is no fault, and an RPO that is known."""
    found = {check: (state, fact) for check, state, fact in scene.findings}

    assert found["rpo"][0] is State.GOOD
    assert scene.commits[6].strftime("%H:%M:%S") in found["rpo"][1]
    assert found["slot"][0] is State.NOTICE
    assert found["repository"][0] is State.GOOD
    assert "gap" not in found


def _insert(connection: Connection[Any], *numbers: int) -> None:
    for number in numbers:
        connection.execute("INSERT INTO rows VALUES (%s)", [number])


def _pieces(scene: Scene) -> tuple[Any, ...]:
    return scene.repository.wal_pieces(scene.backup.system_identifier)

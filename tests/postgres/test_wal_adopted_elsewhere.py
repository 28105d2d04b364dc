"""A server was adopted and has stored hardly anything yet: the old production, on the timeline before, is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator
from pathlib import Path

import pytest

import archiving
import servers
from backups import DATABASE, BackgroundReceiver, new_repository, receiving, reopened
from receivers import write
from safepoint import errors
from safepoint.backup.adopt import Candidate, candidate_at, record_adoption
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.monitoring.finding import State
from safepoint.monitoring.wal_judgement import judge_wal
from safepoint.postgres.cluster import Cluster
from safepoint.repository import Repository
from safepoint.workflows.project import Project, load_project
from safepoint.workflows.wal_status import look_at_wal
from wal_files import history_bytes

pytestmark = pytest.mark.pg("18")
TWO = TimelineId(2)


@pytest.fixture(scope="module")
def production(major: int) -> Generator[Cluster]:
    with archiving.private_directory() as directory, servers.serving(directory, major) as cluster:
        yield cluster


@pytest.fixture
def repository(production: Cluster, tmp_path: Path) -> Repository:
    """Production's WAL is held; then a copy of it, promoted to timeline 2, was adopted and stored nothing yet."""
    made = new_repository(tmp_path)
    with receiving(production.url(), made) as receiver:
        write(production)
        archiving.wait_until(lambda: bool(receiver.watcher.states))
    record_adoption(promoted(candidate_at(production.url())), made, by="a test")
    return reopened(tmp_path)


def promoted(old: Candidate) -> Candidate:
    return dataclasses.replace(old, timeline=TWO, history=history_bytes((1, Lsn(0x1000100))))


def project_of(production: Cluster, directory: Path) -> Project:
    config = directory / "safepoint.toml"
    config.write_text(
        f'[database.{DATABASE}]\nurl = "{production.url().reveal()}"\n'
        f'[repository.main]\nurl = "file:{directory}/repository"\nkey = "none"\n'
    )
    return load_project(config)


def test_the_old_production_is_refused(production: Cluster, repository: Repository, tmp_path: Path) -> None:
    """WL001 by the receiver, with the way back in its hints; the status says it, too."""
    cluster = candidate_at(production.url()).cluster
    before = repository.wal_pieces(cluster)
    write(production)

    background = BackgroundReceiver(production.url(), repository)
    try:
        error = background.wait_for_end()
    finally:
        background.receiver.stop.set()
    findings = judge_wal(look_at_wal(project_of(production, tmp_path), DATABASE))

    assert isinstance(error, errors.Refused)
    assert error.spec is errors.WL001
    assert error.message.startswith("found the server on timeline 1, expected at least 2")
    assert any("`safepoint wal adopt DATABASE --url URL`" in hint.text for hint in error.hints)
    assert reopened(tmp_path).wal_pieces(cluster) == before
    assert [finding.state for finding in findings if finding.check == "adoption"] == [State.BAD]


def test_it_is_followed_again_once_it_is_adopted(production: Cluster, repository: Repository, tmp_path: Path) -> None:
    """The newest adoption decides: the receiver goes on, and the fork of the other one forbids the archiver nothing."""
    old = candidate_at(production.url())
    assert repository.wal_switch_from(old.cluster, old.timeline) == (TWO, Lsn(0x1000100))
    record_adoption(old, repository, by="a test")

    with receiving(production.url(), repository) as receiver:
        write(production)
        archiving.wait_until(lambda: bool(receiver.watcher.states))
    findings = judge_wal(look_at_wal(project_of(production, tmp_path), DATABASE))

    assert reopened(tmp_path).wal_switch_from(old.cluster, old.timeline) is None
    assert not [finding for finding in findings if finding.check == "adoption"]

"""Restores across promotions, and along the branch that was asked for."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import pytest

import servers
from asking import asked, brought_back, notes
from backups import (
    flushed,
    new_repository,
    pin,
    receiving,
    take_backup,
    wait_until,
)
from restoring import SETTINGS, durable
from safepoint import errors
from safepoint.model.backup import BackupManifest
from safepoint.model.lsn import TimelineId
from safepoint.postgres.binaries import find_binaries
from safepoint.postgres.cluster import Cluster, adopt_cluster, promote, running
from safepoint.postgres.connect import connect
from safepoint.repository import Repository
from safepoint.workflows.restore import parse_timeline

pytestmark = pytest.mark.pg("18")


@dataclass(frozen=True, slots=True, kw_only=True)
class Branches:
    """One backup on timeline 1; timeline 1 went on, and so did another that was promoted three times, up to 4."""

    root: Path
    repository: Repository
    backup: BackupManifest


def go_on(cluster: Cluster, repository: Repository, note: str, timeline: int) -> None:
    """A note is written on a timeline, and is in the repository."""
    with receiving(cluster.url(), repository), connect(cluster.url()) as connection:
        connection.execute("INSERT INTO notes (note) VALUES (%s)", [note])
        end = flushed(connection)
        wait_until(lambda: held_up_to(repository, cluster, timeline) >= end.value)


def held_up_to(repository: Repository, cluster: Cluster, timeline: int) -> int:
    with connect(cluster.url()) as connection:
        row = connection.execute("SELECT system_identifier::text FROM pg_control_system()").fetchone()
    assert row is not None
    pieces = repository.wal_pieces(row[0])
    return max((piece.end.value for piece in pieces if piece.timeline == TimelineId(timeline)), default=0)


def promoted_once_more(cluster: Cluster) -> None:
    """The server leaves recovery on the next timeline."""
    (cluster.data / "standby.signal").touch(mode=0o600)
    cluster.user.own(cluster.data)


@pytest.fixture(scope="module")
def branches() -> Generator[Branches]:
    """Both servers wrote notes of their own."""
    with servers.server_directory() as root:
        repository = new_repository(root)
        with servers.serving(root, 18, SETTINGS) as primary:
            with receiving(primary.url(), repository), connect(primary.url()) as connection:
                connection.execute("CREATE TABLE notes (id serial, note text)")
                backup = take_backup(primary.url(), repository)
                connection.execute("INSERT INTO notes (note) VALUES ('before')")
                end = flushed(connection)
                wait_until(lambda: durable(repository, backup) >= end)
            other = root / "other"
            from safepoint.postgres.cluster import start, stop  # noqa: PLC0415 - beside their one use

            stop(primary)
            shutil.copytree(primary.data, other)
            start(primary)
            go_on(primary, repository, "on one", 1)
        cluster = adopt_cluster(other, find_binaries(18))
        for timeline in (2, 3, 4):
            promoted_once_more(cluster)
            with running(cluster):
                promote(cluster)
                go_on(cluster, repository, f"on {timeline}", timeline)
        yield Branches(root=root, repository=repository, backup=backup)


def test_latest_follows_three_promotions(branches: Branches) -> None:
    """And the copy takes a number that nobody has."""
    with brought_back(branches.repository, branches.root / "latest", 18, to="latest") as connection:
        assert notes(connection) == ["before", "on 2", "on 3", "on 4"]
        row = connection.execute("SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)").fetchone()
        assert row == ("00000005",)


@pytest.mark.parametrize(
    ("timeline", "expected"),
    [("1", ["before", "on one"]), ("current", ["before", "on one"]), ("3", ["before", "on 2", "on 3"])],
)
def test_a_branch_that_is_asked_for_is_followed_to_its_end(
    branches: Branches, timeline: str, expected: list[str]
) -> None:
    """No number that is taken is taken again, though its history is none of the copy's."""
    into = branches.root / f"branch-{timeline}"
    with brought_back(branches.repository, into, 18, to="latest", timeline=timeline) as connection:
        assert notes(connection) == expected
        row = connection.execute("SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)").fetchone()
        assert row == ("00000005",)


def test_a_plan_explains_the_timelines(branches: Branches) -> None:
    """Where each left which, and why this one is taken."""
    facts = dict(asked(branches.repository, branches.root / "planned", to="latest").plan.facts)

    assert facts["timeline"] == "4: the newest that reaches the target"
    assert "2, which left 1 at 0/" in facts["timelines"]
    assert "4, which left 3 at 0/" in facts["timelines"]


@pytest.mark.parametrize("text", ["", "0", "newest", "-1", "0x2"])
def test_what_is_no_timeline_is_refused(text: str) -> None:
    """RC005."""
    with pytest.raises(errors.Misconfigured) as caught:
        parse_timeline(text)

    assert caught.value.spec is errors.RC005


def test_latest_is_refused_when_the_newest_history_is_missing(branches: Branches) -> None:
    """Landing on an older timeline would lose what followed, silently; asked for by number it is done."""
    copied = branches.root / "without"
    shutil.copytree(branches.root / "repository", copied / "repository")
    for history in (copied / "repository" / "wal").rglob("00000004.history"):
        history.unlink()
    from backups import reopened  # noqa: PLC0415 - beside its one use

    with pytest.raises(errors.SafepointError):
        pin(reopened(copied), branches.backup, "latest")
    assert asked(reopened(copied), copied / "three", to="latest", timeline="3").target == "latest"

"""Promotions while archiving: the new timeline is taken, whoever went another way is refused until it is adopted."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

import archiving
from archiving import Watcher, archive_by, pushing, switch, wait_until, waiting
from safepoint import errors
from safepoint.backup.adopt import candidate_at, candidate_in
from safepoint.backup.archive.data_directory import copy_of
from safepoint.backup.coverage import spans_of
from safepoint.model.history import parse_history
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.postgres.cluster import Cluster, adopt_cluster, promote, remove_cluster, start, stop
from safepoint.postgres.connect import connect
from safepoint.repository import Repository
from safepoint.repository.wal_lineages import ancestral_histories
from safepoint.steps.execute import Silence
from safepoint.workflows.adopt import prepare_adoption
from safepoint.workflows.project import Project, load_project

pytestmark = pytest.mark.pg("18")
ONE, TWO, THREE = TimelineId(1), TimelineId(2), TimelineId(3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A primary that was lost with an open segment, its promoted heir, and a repository that both archived into."""

    directory: Path
    helper: Path
    repository: Repository
    primary: Cluster
    heir: Cluster
    cluster: str

    @property
    def project(self) -> Project:
        """A strategy that names the repository."""
        config = self.directory / "safepoint.toml"
        config.write_text(
            '[database.shop]\nurl = "postgresql:///postgres"\n'
            f'[repository.main]\nurl = "file:{self.directory}/repository"\nkey = "none"\n'
        )
        return load_project(config)

    @contextmanager
    def archiving(self, cluster: Cluster) -> Generator[tuple[Connection[Any], Watcher]]:
        """The cluster archives through a pusher of its own; it waits for nothing."""
        socket = self.directory / f"s-{cluster.data.name}"
        with connect(cluster.url()) as connection, pushing(cluster, socket, archiving.reopened(self.directory)) as told:
            archive_by(connection, f"{self.helper} push %p --socket {socket}")
            yield connection, told
            archive_by(connection, "false")


@pytest.fixture(scope="module")
def family(major: int) -> Generator[Family]:
    """The heir was promoted in the midst of a segment and archived what it had."""
    with archiving.private_directory() as directory, archiving.archiving_server(directory, major) as primary:
        helper, repository = archiving.c_helper(directory), archiving.new_repository(directory)
        found = archiving.DataDirectory(path=primary.data).origin().cluster
        made: list[Cluster] = []
        early = Family(
            directory=directory, helper=helper, repository=repository, primary=primary, heir=primary, cluster=found
        )
        with early.archiving(primary) as (connection, _):
            switch(connection, 2)
            archiving.wait_until_archived(primary)
            connection.execute("CREATE TABLE open_segment AS SELECT 1 AS one")
        stop(primary, mode="immediate")
        try:
            heir = clone(primary, directory / "heir")
            made.append(heir)
            family = Family(
                directory=directory, helper=helper, repository=repository, primary=primary, heir=heir, cluster=found
            )
            with family.archiving(heir) as (connection, _):
                switch(connection, 2)
                archiving.wait_until_archived(heir)
            stop(heir)
            yield family
        finally:
            for each in made:
                remove_cluster(each)


def clone(cluster: Cluster, data: Path, *, settings: str = "") -> Cluster:
    """A copy of a stopped cluster's directory, started and promoted."""
    shutil.copytree(cluster.data, data, symlinks=True)
    (data / "standby.signal").touch()
    with (data / "safepoint.conf").open("a") as file:
        file.write(settings)
    copy = adopt_cluster(data, cluster.binaries)
    start(copy)
    promote(copy)
    return copy


def switch_of(cluster: Cluster, timeline: TimelineId) -> Lsn:
    """Where the timeline left the one before."""
    return parse_history((cluster.data / "pg_wal" / timeline.history_name).read_bytes())[-1].switch


def test_a_promotion_leaves_no_hole(family: Family) -> None:
    """The old timeline up to the switch, from the `.partial` segment; the history; the new timeline from there on."""
    switched = switch_of(family.heir, TWO)
    spans = spans_of(family.repository.wal_pieces(family.cluster))

    assert switched != switched.segment_start(16 << 20), "the promotion was to happen within a segment"
    assert [span.end for span in spans[ONE]] == [switched]
    assert [span.start for span in spans[TWO]] == [switched.segment_start(16 << 20)]
    history = (family.heir.data / "pg_wal/00000002.history").read_bytes()
    assert family.repository.read_history(family.cluster, TWO) == history


def test_an_old_primary_that_goes_on_is_refused(family: Family) -> None:
    """What it writes behind the switch is no part of the history that is followed."""
    start(family.primary)
    with family.archiving(family.primary) as (connection, told):
        switch(connection, 2)
        wait_until(lambda: "WL008" in told.codes)
        refused = waiting(family.primary)
    stop(family.primary)

    assert refused
    spans = spans_of(family.repository.wal_pieces(family.cluster))
    assert [span.end for span in spans[ONE]] == [switch_of(family.heir, TWO)]
    assert "error WL008" in family.primary.log.read_text()


def test_a_second_clone_is_refused_until_it_is_adopted(family: Family) -> None:
    """Both claim timeline 2; what the first stored is kept as a branch, and refused from then on."""
    if not waiting(family.primary):
        start(family.primary)
        with connect(family.primary.url()) as connection:
            switch(connection, 2)
        stop(family.primary)
    settings = "safepoint.copy_of = 'shop-1'\n"
    second = clone(family.primary, family.directory / "second", settings=settings)
    try:
        with family.archiving(second) as (connection, told):
            switch(connection)
            wait_until(lambda: "WL006" in told.codes)
            assert candidate_at(second.url()).copy_of == "shop-1"
            adoption = prepare_adoption(family.project, "shop", data=second.data, url=None, by="a test")
            assert [step.name for step in adoption.plan.steps] == ["record in main", "unmark"]
            adoption.execute(Silence())
            assert copy_of(second.data) is None
            wait_until(lambda: candidate_at(second.url()).copy_of is None)
            archive_by(connection, f"{family.helper}  push %p --socket {family.directory}/s-second")
            wait_until(lambda: all(name.startswith("00000001") for name in waiting(second)))
        history = (second.data / "pg_wal/00000002.history").read_bytes()
        again = archiving.reopened(family.directory)
        branches = [branch for branch in again.wal_lineages(family.cluster) if branch.timeline == TWO]

        assert again.read_history(family.cluster, TWO) == history
        assert sorted(branch.is_followed for branch in branches) == [False, True]
        start(family.heir)
        with family.archiving(family.heir) as (connection, told):
            switch(connection)
            wait_until(lambda: "RP007" in told.codes)
        stop(family.heir)
    finally:
        remove_cluster(second)


def test_a_server_that_was_not_promoted_is_not_adopted(family: Family) -> None:
    """Its timeline is production's; a standby has none of its own."""
    data = family.directory / "unpromoted"
    shutil.copytree(family.primary.data, data, symlinks=True)
    (data / "standby.signal").touch()
    standby = adopt_cluster(data, family.primary.binaries)
    start(standby)
    try:
        with pytest.raises(errors.Refused, match="WL011"):
            candidate_in(standby.data)
        with pytest.raises(errors.Refused, match="WL011"):
            candidate_at(standby.url())
    finally:
        remove_cluster(standby)
    with (family.primary.data / "safepoint.conf").open("a") as file:
        file.write("safepoint.copy_of = 'shop-1'\n")
    with pytest.raises(errors.Refused, match="WL011"):
        prepare_adoption(family.project, "shop", data=family.primary.data, url=None)


def test_a_server_is_adopted_through_its_address(family: Family) -> None:
    """Without its files at hand; the history of a second promotion repeats the first one's, as PostgreSQL writes it."""
    third = clone(family.heir, family.directory / "third", settings="safepoint.copy_of = 'shop-2'\n")
    try:
        adoption = prepare_adoption(family.project, "shop", data=None, url=third.url().reveal(), by="a test")
        adoption.execute(Silence())
        wait_until(lambda: candidate_at(third.url()).copy_of is None)

        assert copy_of(third.data) is None
        three = (third.data / "pg_wal/00000003.history").read_bytes()
        assert ancestral_histories(three) == {TWO: (third.data / "pg_wal/00000002.history").read_bytes()}
        assert archiving.reopened(family.directory).read_history(family.cluster, THREE) == three
    finally:
        remove_cluster(third)


@pytest.mark.parametrize(("data", "url"), [(None, None), (Path("x"), "postgresql:///x")])
def test_exactly_one_server_is_named(family: Family, data: Path | None, url: str | None) -> None:
    """Neither none nor two."""
    with pytest.raises(errors.Misconfigured, match="CF004"):
        prepare_adoption(family.project, "shop", data=data, url=url)

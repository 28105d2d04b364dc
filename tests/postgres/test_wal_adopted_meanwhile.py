"""A server is adopted elsewhere while the old production is being streamed: that ends by itself, within a minute."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator
from pathlib import Path

import pytest

import archiving
import servers
from backups import BackgroundReceiver, new_repository, reopened, wait_until
from receivers import write
from safepoint import errors
from safepoint.backup import lane
from safepoint.backup.adopt import Candidate, candidate_at, record_adoption
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.postgres.cluster import Cluster, promote, remove_cluster
from wal_files import history_bytes

pytestmark = pytest.mark.pg("18")
TWO = TimelineId(2)


@pytest.fixture
def production(major: int) -> Generator[Cluster]:
    with archiving.private_directory() as directory, servers.serving(directory, major) as cluster:
        yield cluster


def ended(background: BackgroundReceiver, source: Cluster) -> BaseException | None:
    """What ended a receiver that was given something to store."""
    try:
        write(source)
        return background.wait_for_end()
    finally:
        background.receiver.stop.set()


def started(source: Cluster, directory: Path) -> BackgroundReceiver:
    background = BackgroundReceiver(source.url(), reopened(directory))
    wait_until(lambda: bool(background.watcher.states))
    return background


def must_have_ended_so(error: BaseException | None, message: str) -> None:
    assert isinstance(error, errors.Refused)
    assert error.spec is errors.WL001
    assert message in error.message
    assert any("`safepoint wal adopt DATABASE --url URL`" in hint.text for hint in error.hints)


def promoted(old: Candidate) -> Candidate:
    return dataclasses.replace(old, timeline=TWO, history=history_bytes((1, Lsn(0x1000100))))


def test_the_old_production_is_stored_no_more(
    production: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The receiver, which began before the adoption, stops with WL001 and does not go on by itself."""
    monkeypatch.setattr(lane, "FOLLOWED_SECONDS", 0.3)
    repository = new_repository(tmp_path)
    background = started(production, tmp_path)
    write(production)
    wait_until(lambda: background.receiver.acknowledged > Lsn(0))

    record_adoption(promoted(candidate_at(production.url())), repository, by="a test")
    error = ended(background, production)

    must_have_ended_so(error, "found the server on timeline 1, expected at least 2, which was adopted")


def test_a_timeline_that_an_adoption_abandoned_is_stored_no_more(
    production: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old production is adopted again: what was promoted beside it is not production any more."""
    monkeypatch.setattr(lane, "FOLLOWED_SECONDS", 0.3)
    repository = new_repository(tmp_path)
    old = candidate_at(production.url())
    standby = servers.standby_of(production, production.data.parent / "standby")
    try:
        promote(standby)
        background = started(standby, tmp_path)
        write(standby)
        wait_until(lambda: any(piece.timeline == TWO for piece in reopened(tmp_path).wal_pieces(old.cluster)))

        record_adoption(old, repository, by="a test")
        error = ended(background, standby)
    finally:
        remove_cluster(standby)

    must_have_ended_so(error, "found the server on timeline 2, expected another, because 1 was adopted since")

"""Production that went back: timeline 1 was adopted after a copy had been promoted to timeline 2."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from coverage_samples import ONE, THREE, TWO
from repository_samples import commit_manifest, sample_files, sample_manifest
from safepoint.model.backup import BackupManifest
from safepoint.model.coverage import Mark
from safepoint.model.lsn import Lsn, TimelineId, WalSegment
from safepoint.monitoring.wal_gaps import cures_of, describe_loss
from safepoint.recovery.choice import TimelineRule, choose
from safepoint.recovery.targets import parse_target
from safepoint.repository import Repository, create_repository
from safepoint.stores import MemoryStore
from safepoint.workflows.coverage import coverage_report
from safepoint.workflows.held import holdings_of

SIZE = 1 << 20
STOP = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HISTORY = f"1\t{Lsn(3 * SIZE + 500)}\tno reason\n".encode()


@pytest.fixture
def backup() -> BackupManifest:
    """Taken on timeline 1, in its segment 1."""
    return replace(
        sample_manifest(),
        timeline=ONE,
        segment_size=SIZE,
        start_lsn=Lsn(SIZE + 40),
        stop_lsn=Lsn(SIZE + 400),
        stopped_at=STOP,
    )


@pytest.fixture
def repository(backup: BackupManifest) -> Repository:
    """Timeline 1 up to segment 7, timeline 2 from segment 3 up to 9; then timeline 1 was adopted."""
    repository = create_repository(MemoryStore(), None)
    _put(repository, backup, ONE, 1, 7, b"")
    _put(repository, backup, TWO, 3, 9, HISTORY)
    commit_manifest(repository, backup, sample_files())
    repository.adopt_lineage(backup.system_identifier, ONE, b"", by="a test")
    return repository


def _put(
    repository: Repository, backup: BackupManifest, timeline: TimelineId, first: int, last: int, past: bytes
) -> None:
    if past:
        repository.put_history(backup.system_identifier, timeline, past)
    for number in range(first, last):
        mark = Mark(lsn=Lsn((number + 1) * SIZE), clock=STOP + timedelta(minutes=number))
        segment = WalSegment(timeline, number, SIZE)
        content = bytes([number]) * SIZE
        repository.put_wal_segment(backup.system_identifier, segment, content, history=past, mark=mark)


@pytest.mark.parametrize("rule", [None, TimelineRule.LATEST])
def test_latest_is_the_end_of_the_timeline_that_was_adopted(
    repository: Repository, backup: BackupManifest, rule: TimelineRule | None
) -> None:
    """Though a higher number is held, and nobody had ever adopted it."""
    held = holdings_of(repository, backup.database)

    found = choose(parse_target("latest"), held.coverage, held.backups, timeline=rule)

    assert (found.timeline, found.end) == (ONE, Lsn(7 * SIZE))


def test_the_abandoned_timeline_is_restored_when_it_is_asked_for(
    repository: Repository, backup: BackupManifest
) -> None:
    """By its number, or by its lineage."""
    held = holdings_of(repository, backup.database)
    stored = next(each for each in repository.wal_lineages(backup.system_identifier) if each.timeline == TWO)
    named = holdings_of(repository, backup.database, lineages=[stored.name])

    for found in (
        choose(parse_target("latest"), held.coverage, held.backups, timeline=TWO),
        choose(parse_target("latest"), named.coverage, named.backups),
    ):
        assert (found.timeline, found.end) == (TWO, Lsn(9 * SIZE))


def test_coverage_shows_it_as_not_followed(repository: Repository, backup: BackupManifest) -> None:
    """And counts the newest instant without it."""
    report = coverage_report(repository, backup.database, timedelta(days=1))

    assert [(lineage.timeline, lineage.is_followed) for lineage in report.lineages] == [(ONE, True), (TWO, False)]
    assert report.lineages[1].reaches[0].end == Lsn(9 * SIZE)
    assert report.newest == STOP + timedelta(minutes=6)
    assert report.losses == ()


def test_a_gap_on_it_is_told_and_costs_production_nothing(repository: Repository, backup: BackupManifest) -> None:
    """Segments 9 and 10 of timeline 2 are missing; one of timeline 1 would do harm."""
    _put(repository, backup, TWO, 11, 12, HISTORY)
    _put(repository, backup, ONE, 8, 9, b"")

    report = coverage_report(repository, backup.database)

    assert [(loss.timeline, loss.is_abandoned) for loss in report.losses] == [(ONE, False), (TWO, True)]
    assert report.harmful == report.losses[:1]
    assert cures_of(report.losses[1], backup.database) == ()
    assert "production did not go on" in describe_loss(report.losses[1])


def test_a_timeline_that_comes_after_is_followed(repository: Repository, backup: BackupManifest) -> None:
    """A promotion in the ordinary way needs no adoption."""
    _put(repository, backup, THREE, 6, 8, f"1\t{Lsn(6 * SIZE + 500)}\tno reason\n".encode())
    held = holdings_of(repository, backup.database)

    found = choose(parse_target("latest"), held.coverage, held.backups)

    assert (found.timeline, found.end) == (THREE, Lsn(8 * SIZE))


def test_an_adoption_of_the_abandoned_timeline_takes_it_back(repository: Repository, backup: BackupManifest) -> None:
    """The newest adoption decides."""
    repository.adopt_lineage(backup.system_identifier, TWO, HISTORY, by="a test")
    held = holdings_of(repository, backup.database)

    assert choose(parse_target("latest"), held.coverage, held.backups).timeline == TWO

"""`coverage` and `wal status` name the same gaps, in the same words, with the same cures."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from coverage_samples import ONE
from repository_samples import commit_manifest, sample_files, sample_manifest
from safepoint.model.backup import BackupManifest
from safepoint.model.coverage import Mark
from safepoint.model.lsn import Lsn, WalSegment
from safepoint.model.reach import Cause
from safepoint.monitoring.checks import judge_all
from safepoint.monitoring.finding import Finding, State
from safepoint.monitoring.wal_gaps import cures_of, describe_loss
from safepoint.monitoring.wal_judgement import judge_wal
from safepoint.repository import Repository, create_repository
from safepoint.stores import open_store
from safepoint.workflows.coverage import coverage_report
from safepoint.workflows.held import VERIFICATIONS
from safepoint.workflows.look_around import situation_of
from safepoint.workflows.project import Project, load_project
from safepoint.workflows.wal_status import look_at_wal
from safepoint.workflows.wal_words import wal_report_to_json

SIZE = 1 << 20
STOP = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Backups in segments 2 and 6; of segments 0 to 12 four are missing. The server does not answer."""
    repository = create_repository(open_store(f"file:{tmp_path / 'repository'}"), None)
    for name, number in (("old", 2), ("new", 6)):
        backup = _backup(name, number)
        commit_manifest(repository, backup, sample_files())
    for number in (0, 2, 3, 5, 6, 7, 9, 10, 11, 12):
        _put(repository, backup.system_identifier, number)
    repository.flush_journal()
    (gone,) = (tmp_path / "repository/wal").rglob("*0B.1MB")
    gone.unlink()
    config = tmp_path / "safepoint.toml"
    config.write_text(
        f'[database.{backup.database}]\nurl = "postgresql:///none?host=/nonexistent"\n'
        f'[repository.main]\nurl = "file:{tmp_path}/repository"\nkey = "none"\n'
    )
    return load_project(config)


def _backup(name: str, number: int) -> BackupManifest:
    return replace(
        sample_manifest(),
        id=name,
        timeline=ONE,
        segment_size=SIZE,
        start_lsn=Lsn(number * SIZE + 40),
        stop_lsn=Lsn(number * SIZE + 400),
        stopped_at=STOP + timedelta(minutes=number),
    )


def _put(repository: Repository, cluster: str, number: int) -> None:
    mark = Mark(lsn=Lsn((number + 1) * SIZE), clock=STOP + timedelta(minutes=number))
    segment = WalSegment(ONE, number, SIZE)
    repository.put_wal_segment(cluster, segment, bytes([number]) * SIZE, history=b"", mark=mark)


def findings(project: Project) -> list[Finding]:
    """About gaps."""
    return [finding for finding in judge_wal(look_at_wal(project, None)) if finding.check == "gap"]


def test_both_find_the_same(project: Project) -> None:
    """Number, words and cures; what no backup needs concerns neither."""
    database = project.strategy.database(None).name
    report = coverage_report(project.repository(None), database)
    (held,) = look_at_wal(project, None).repositories

    assert held.gaps == report.losses
    assert [(loss.start.value // SIZE, loss.cause) for loss in report.harmful] == [
        (4, Cause.NOT_RECEIVED),
        (8, Cause.NOT_RECEIVED),
        (11, Cause.DELETED),
    ]
    assert [loss.start.value // SIZE for loss in report.losses if loss.is_harmless] == [1]
    assert [(finding.fact, finding.cure) for finding in findings(project)] == [
        (f"main (required): {describe_loss(loss)}", "; ".join(cures_of(loss, database, is_past=loss in held.past_gaps)))
        for loss in report.harmful
    ]


def test_a_gap_that_a_newer_backup_made_an_end_of_is_a_notice(project: Project) -> None:
    """Nothing can be done about it any more; the others are bad."""
    assert [finding.state for finding in findings(project)] == [State.NOTICE, State.BAD, State.BAD]


def test_rpo_is_counted_up_to_the_first_gap_that_is_open(project: Project) -> None:
    """What is held behind it leads nowhere before a new backup: segment 7 was full seven minutes after the hour."""
    report = look_at_wal(project, None)
    (held,) = report.repositories

    assert report.mark is not None
    assert report.mark.clock == STOP + timedelta(minutes=7)
    assert held.durable == Lsn(13 * SIZE)
    assert "in all required repositories; after that main has a gap" in judge_wal(report)[0].fact


def test_coverage_does_not_call_a_window_covered_that_a_gap_cuts_off(project: Project) -> None:
    """WAL goes on after the newest instant that can be restored."""
    report = coverage_report(project.repository(None), project.strategy.database(None).name, timedelta(seconds=30))

    assert report.newest == STOP + timedelta(minutes=7)
    assert report.is_window_covered is False


def test_a_damaged_backup_makes_an_end_of_no_gap(project: Project) -> None:
    """It cannot be restored: all three are bad."""
    project.repository(None).append_record(VERIFICATIONS, {"backup": "new", "level": "stored", "is_damaged": True})

    assert [finding.state for finding in findings(project)] == [State.BAD, State.BAD, State.BAD]


def test_status_names_them_too(project: Project) -> None:
    """Those that are bad in the same words, with the same cures; what is past in one line."""
    database = project.strategy.database(None).name
    past, *others = (loss for loss in coverage_report(project.repository(None), database).losses if loss.is_harmful)

    told = [finding for finding in judge_all(situation_of(project, database)) if finding.check == "wal"]

    bad = [
        (finding.fact, finding.cure) for finding in told if "is missing" in finding.fact and finding.state is State.BAD
    ]
    assert bad == [(describe_loss(loss), "; ".join(cures_of(loss, database))) for loss in others]
    (notice,) = [finding for finding in told if finding.state is State.NOTICE]
    assert notice.fact.startswith("1 gap before the newest sound backup")
    assert describe_loss(past) in notice.fact


def test_programs_are_told_causes(project: Project) -> None:
    """As coverage calls them."""
    (held,) = wal_report_to_json(look_at_wal(project, None))["repositories"]  # type: ignore[misc] - JSON

    assert isinstance(held, dict)
    assert [gap["cause"] for gap in held["gaps"]] == ["not-received", "not-received", "not-received", "deleted"]  # type: ignore[index,union-attr] - JSON

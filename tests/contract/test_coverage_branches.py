"""Coverage of a cluster that was promoted twice, apart: two lineages of one timeline."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from repository_samples import commit_manifest as commit
from repository_samples import sample_files, sample_manifest
from safepoint.model.coverage import Mark
from safepoint.model.lsn import Lsn, TimelineId, WalSegment
from safepoint.repository import Repository, create_repository
from safepoint.stores import MemoryStore
from safepoint.workflows.coverage import coverage_report

SIZE = 1 << 20
ONE, TWO = TimelineId(1), TimelineId(2)
STOP = datetime(2026, 3, 1, 12, tzinfo=UTC)


def history(segment: int) -> bytes:
    """Timeline 1 was left 100 bytes into that segment."""
    return f"1\t{Lsn(segment * SIZE + 100)}\tno reason\n".encode()


def put(repository: Repository, cluster: str, timeline: TimelineId, first: int, last: int, past: bytes) -> None:
    """Segments [first, last), each with the mark of its minute."""
    if past:
        repository.put_history(cluster, timeline, past)
    for number in range(first, last):
        mark = Mark(lsn=Lsn((number + 1) * SIZE), clock=STOP + timedelta(minutes=number))
        segment = WalSegment(timeline, number, SIZE)
        repository.put_wal_segment(cluster, segment, bytes([number]) * SIZE, history=past, mark=mark)


def test_a_branch_that_is_not_followed_is_shown_with_what_it_reaches() -> None:
    """Both from the backup before the fork; the adopted one is followed."""
    repository = create_repository(MemoryStore(), None)
    taken = replace(
        sample_manifest(),
        timeline=ONE,
        segment_size=SIZE,
        start_lsn=Lsn(SIZE + 40),
        stop_lsn=Lsn(SIZE + 400),
        stopped_at=STOP,
    )
    cluster = taken.system_identifier
    put(repository, cluster, ONE, 1, 4, b"")
    put(repository, cluster, TWO, 3, 6, history(3))
    commit(repository, taken, sample_files())
    adopted = history(2)
    repository.adopt_lineage(cluster, TWO, adopted, by="test")
    put(repository, cluster, TWO, 2, 9, adopted)

    report = coverage_report(repository, taken.database, timedelta(days=1))

    first, *others = report.lineages
    followed = next(each for each in others if each.is_followed)
    branch = next(each for each in others if not each.is_followed)
    assert (first.timeline, followed.timeline, branch.timeline) == (ONE, TWO, TWO)
    assert [reach.end for reach in followed.reaches] == [Lsn(9 * SIZE)]
    assert [reach.end for reach in branch.reaches] == [Lsn(6 * SIZE)]
    assert report.newest == STOP + timedelta(minutes=8)

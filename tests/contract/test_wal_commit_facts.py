"""The facts of a WAL object say which commits are in it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from repository_samples import CLUSTER
from safepoint import errors
from safepoint.model.coverage import Commit, PieceTimes
from safepoint.model.lsn import Lsn, TimelineId, WalSegment
from safepoint.repository import Repository, create_repository
from safepoint.repository.sealing.objects import read_facts, seal_object
from safepoint.repository.sealing.seal import Kind
from safepoint.stores import MemoryStore
from wal_records import COMMIT, MEBIBYTE, Writer, ending

ONE = TimelineId(1)
AT = datetime(2026, 3, 1, 12, 0, 0, 7, tzinfo=UTC)
FIRST = {"lsn": "0/7000048", "time": "2026-03-01T12:00:00.000007+00:00"}


def since_2000(instant: datetime) -> int:
    """As PostgreSQL counts."""
    return (instant - datetime(2000, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


@pytest.fixture
def repository() -> Repository:
    """Empty."""
    return create_repository(MemoryStore(), None)


def put(repository: Repository, *times: datetime) -> dict[str, Any]:
    """A segment with commits of these times: its facts."""
    writer = Writer()
    writer.write(*(ending(COMMIT, since_2000(time)) for time in times))
    writer.switch()
    segment = WalSegment(ONE, writer.start.value // MEBIBYTE, MEBIBYTE)
    content = bytes(writer.wal) or bytes(MEBIBYTE)
    repository.put_wal_segment(CLUSTER, segment, content, history=b"", mark=None)
    (piece,) = repository.wal_pieces(CLUSTER)
    return read_facts(repository.store, repository.keyring, Kind.WAL, piece.name)


def times_of(repository: Repository) -> PieceTimes:
    """Of the only piece."""
    (piece,) = repository.wal_pieces(CLUSTER)
    return repository.read_wal_times(piece)


def test_first_last_and_latest_are_in_the_facts(repository: Repository) -> None:
    """With the microseconds; `lsn` is where the record ends."""
    second = timedelta(seconds=1)
    facts = put(repository, AT, AT + 2 * second, AT + second)

    commits = times_of(repository).commits

    assert facts["commits"]["first"]["time"] == FIRST["time"]
    assert commits is not None
    assert commits.first == Commit(lsn=Lsn.parse(facts["commits"]["first"]["lsn"]), time=AT)
    assert (commits.last.time, commits.latest) == (AT + second, AT + 2 * second)
    assert commits.first.lsn < commits.last.lsn


def test_wal_without_commits_says_so(repository: Repository) -> None:
    """Null is: none was found."""
    assert put(repository)["commits"] is None
    assert times_of(repository) == PieceTimes()


def test_a_range_has_facts_of_its_own(repository: Repository) -> None:
    """What is whole in it counts."""
    writer = Writer()
    (end,) = writer.write(ending(COMMIT, since_2000(AT)))
    repository.put_wal_range(CLUSTER, ONE, writer.start, bytes(writer.wal), history=b"", mark=None)

    commits = times_of(repository).commits

    assert commits is not None
    assert commits.first == commits.last == Commit(lsn=Lsn(end), time=AT)


def test_a_time_that_no_calendar_has_is_not_noted(repository: Repository) -> None:
    """PostgreSQL's reach to the year 294276."""
    writer = Writer()
    writer.write(ending(COMMIT, (1 << 63) - 1))
    repository.put_wal_range(CLUSTER, ONE, writer.start, bytes(writer.wal), history=b"", mark=None)

    assert times_of(repository).commits is None


def test_an_object_from_before_is_unknown(repository: Repository) -> None:
    """It lacks the fact, and everything else about it holds."""
    facts = put(repository, AT)
    _replace(repository, {name: value for name, value in facts.items() if name != "commits"})

    assert times_of(repository) == PieceTimes()


@pytest.mark.parametrize(
    "commits",
    [
        5,
        "x",
        [],
        {},
        {"first": FIRST, "last": FIRST},
        {"first": FIRST, "last": FIRST, "latest": "2026-03-01T12:00:00"},
        {"first": FIRST, "last": FIRST, "latest": 7},
        {"first": FIRST, "last": {"lsn": 7, "time": FIRST["time"]}, "latest": FIRST["time"]},
        {"first": FIRST, "last": FIRST, "latest": "2026-03-01T11:00:00+00:00"},
        {"first": FIRST, "last": {"lsn": "0/1", "time": FIRST["time"]}, "latest": FIRST["time"]},
    ],
)
def test_commits_of_another_shape_are_damage(repository: Repository, commits: object) -> None:
    """Whoever sealed that has no part in promises."""
    facts = put(repository, AT)
    _replace(repository, {**facts, "commits": commits})

    with pytest.raises(errors.Damaged, match="RP005"):
        times_of(repository)


def _replace(repository: Repository, facts: dict[str, Any]) -> None:
    (piece,) = repository.wal_pieces(CLUSTER)
    body = repository.read_wal(piece)
    repository.store.delete(piece.name)
    sealed = seal_object(repository.keyring, Kind.WAL, piece.name, body, json.loads(json.dumps(facts)))
    assert repository.store.put_if_absent(piece.name, sealed)

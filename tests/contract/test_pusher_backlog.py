"""A backlog is listed once a second, not once a file; what PostgreSQL asks for never waits for a listing."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import archiving
from archiving import Watcher, wait_until
from repository_samples import make_repository
from safepoint.backup.archive import ahead
from safepoint.backup.archive.ahead import MOST_AHEAD, AheadOfRequests
from safepoint.backup.archive.archive import WalArchive
from safepoint.backup.archive.data_directory import DataDirectory
from safepoint.backup.archive.helper import ask
from safepoint.backup.archive.wal_buffers import WalBuffers
from safepoint.backup.archive.wire import OK
from safepoint.repository import Repository
from safepoint.stores import MemoryStore
from wal_files import make_data_directory, put_ready, segment, segment_bytes

BACKLOG = [segment(number) for number in range(1, 3 * MOST_AHEAD)]
LATER = segment(900)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted(DataDirectory):
    """Notes each listing."""

    listings: list[int] = field(default_factory=list[int])

    def ready(self) -> list[str]:
        found = DataDirectory.ready(self)
        self.listings.append(len(found))
        return found


@pytest.fixture
def directory() -> Generator[Path]:
    with archiving.private_directory() as path:
        yield path


@pytest.fixture
def data(directory: Path) -> Counted:
    found = Counted(path=make_data_directory(directory / "data").path)
    for each in BACKLOG:
        put_ready(found, each.name, segment_bytes(each))
    return found


@pytest.fixture
def repository() -> Repository:
    return make_repository(MemoryStore(), None)


@pytest.fixture
def at_work(data: Counted, repository: Repository) -> Generator[AheadOfRequests]:
    archive = WalArchive(data=data, origin=data.origin(), repositories=(repository,))
    found = AheadOfRequests(archive, 2, WalBuffers(), Watcher().troubled)
    yield found
    found.close()


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """No second passes within a test."""
    monkeypatch.setattr(ahead, "_LISTED_SECONDS", 3600.0)


@pytest.mark.usefixtures("unhurried")
def test_a_known_backlog_is_not_listed_again_for_each_file(data: Counted, at_work: AheadOfRequests) -> None:
    """Until so few are left that others could be pushed beside them."""
    at_work.look()
    for each in BACKLOG[: MOST_AHEAD - 1]:
        at_work.answered(each.name)
        at_work.look()

    assert data.listings == [len(BACKLOG)]


def test_after_a_second_it_is_listed_again(
    data: Counted, at_work: AheadOfRequests, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What became ready meanwhile is found, and what was archived by others forgotten."""
    monkeypatch.setattr(ahead, "_LISTED_SECONDS", 0.0)
    at_work.look()
    put_ready(data, LATER.name, segment_bytes(LATER))
    at_work.look()

    assert data.listings == [len(BACKLOG), len(BACKLOG) + 1]


@pytest.mark.usefixtures("unhurried")
def test_the_end_of_a_backlog_is_looked_at_each_time(data: Counted, at_work: AheadOfRequests) -> None:
    """With fewer known than may be pushed ahead, a file that became ready is pushed at once."""
    for each in BACKLOG[1:]:
        (data.wal / "archive_status" / f"{each.name}.ready").unlink()
    at_work.look()
    put_ready(data, LATER.name, segment_bytes(LATER))
    at_work.look()

    pushed = at_work.pushed(LATER.name)
    assert pushed is not None
    assert pushed.result(30)


@pytest.mark.usefixtures("unhurried")
def test_what_postgresql_asks_for_waits_for_no_listing(
    data: Counted, directory: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A history or a file that became ready behind a long backlog is stored when it is asked for."""
    monkeypatch.chdir(data.path)
    with archiving.pushing(data, directory / "s", repository) as watcher:
        wait_until(lambda: bool(data.listings))
        put_ready(data, LATER.name, segment_bytes(LATER))
        answer = ask(Path("pg_wal") / LATER.name, str(directory / "s"))

    assert answer is not None
    assert answer.endswith(OK)
    assert watcher.names == [LATER.name]
    assert max(data.listings) == len(BACKLOG)

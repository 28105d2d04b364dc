"""One stream into several repositories: acknowledged is what all required ones hold, and each goes on where it is."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest

from backups import receiving, system_identifier, wait_until
from receivers import ONE, Named, opened, process_into, recycle, slot_position, told_of, write
from safepoint import errors
from safepoint.backup import fan_out
from safepoint.backup.coverage import coverage_of
from safepoint.postgres.cluster import Cluster

pytestmark = pytest.mark.pg("18")


def require_whole(*repositories: Named, identifier: str) -> None:
    for named in repositories:
        assert coverage_of([], named.repository.wal_pieces(identifier)).gaps == ()


def test_the_least_of_all_required_is_acknowledged(server: Cluster, server_root: Path) -> None:
    """One refuses: the other goes on, nothing more is acknowledged, and that is told; then it catches up."""
    main, other = Named(server_root, "main"), Named(server_root, "other")
    identifier = system_identifier(server)
    with receiving(server.url(), None, sinks=(main.sink, other.sink)) as background:  # type: ignore[arg-type]
        end = write(server)
        wait_until(lambda: min(main.end(identifier), other.end(identifier)) >= end)
        other.store.refuses = True
        end = write(server, 20_000)
        wait_until(lambda: main.end(identifier) >= end)
        wait_until(lambda: bool(told_of(background.watcher, "other")))
        held = other.end(identifier)
        assert slot_position(server) <= held < end
        other.store.refuses = False
        wait_until(lambda: slot_position(server) >= end)
        assert other.end(identifier) >= end

    (told, *_) = told_of(background.watcher, "other")
    assert "nothing more is acknowledged" in told.message
    assert "the server keeps" in told.changed
    require_whole(main, other, identifier=identifier)


def test_one_that_was_away_for_long_takes_what_it_missed_from_the_other(
    server: Cluster, server_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than memory would hold: it is let go, and the other one is never held up."""
    monkeypatch.setattr(fan_out, "BACKLOG_SEGMENTS", 1)
    main, other = Named(server_root, "main"), Named(server_root, "other")
    identifier = system_identifier(server)
    with receiving(server.url(), None, sinks=(main.sink, other.sink)) as background:  # type: ignore[arg-type]
        end = write(server)
        wait_until(lambda: min(main.end(identifier), other.end(identifier)) >= end)
        other.store.refuses = True
        end = write(server, 600_000)
        wait_until(lambda: main.end(identifier) >= end)
        assert other.end(identifier) < end
        wait_until(lambda: any(lane.is_catching_up for lane in background.watcher.states[-1].lanes))
        other.store.refuses = False
        wait_until(lambda: slot_position(server) >= end)
        end = write(server)
        wait_until(lambda: min(main.end(identifier), other.end(identifier)) >= end)

    require_whole(main, other, identifier=identifier)


def test_an_eventual_repository_holds_nothing_up_and_gets_everything(server: Cluster, server_root: Path) -> None:
    """Also what was there before it came."""
    main, far = Named(server_root, "main"), Named(server_root, "far", is_required=False)
    identifier = system_identifier(server)
    with receiving(server.url(), main.repository):
        write(server, 300_000)
        end = write(server)
        wait_until(lambda: slot_position(server) >= end)
    recycle(server)
    far.store.refuses = True
    with receiving(server.url(), None, sinks=(main.sink, far.sink)):  # type: ignore[arg-type]
        end = write(server)
        wait_until(lambda: slot_position(server) >= end)
        assert far.repository.wal_pieces(identifier) == ()
        far.store.refuses = False
        wait_until(lambda: far.end(identifier) >= end)
        end = write(server)
        wait_until(lambda: far.end(identifier) >= end)

    first = {named: named.repository.wal_pieces(identifier)[0].start for named in (main, far)}
    assert first[main] == first[far]
    require_whole(main, far, identifier=identifier)


def test_wal_older_than_the_slot_comes_from_the_other_repository(server: Cluster, server_root: Path) -> None:
    """It was not there while the server let go: no hole is left, and no gap has to be accepted."""
    main, other = Named(server_root, "main"), Named(server_root, "other")
    identifier = system_identifier(server)
    with receiving(server.url(), None, sinks=(main.sink, other.sink)):  # type: ignore[arg-type]
        end = write(server)
        wait_until(lambda: other.end(identifier) >= end)
    with receiving(server.url(), None, sinks=(main.sink,)):  # type: ignore[arg-type]
        end = write(server, 200_000)
        wait_until(lambda: slot_position(server) >= end)
    recycle(server)
    assert other.end(identifier) < end

    with receiving(server.url(), None, sinks=(main.sink, other.sink)):  # type: ignore[arg-type]
        end = write(server)
        wait_until(lambda: slot_position(server) >= end)

    assert other.end(identifier) >= end
    require_whole(main, other, identifier=identifier)


def test_a_repository_that_cannot_even_be_opened_does_not_keep_the_other_from_its_wal(
    server: Cluster, server_root: Path
) -> None:
    """Nothing is acknowledged until it is there; then it joins in."""
    main, other = Named(server_root, "main"), Named(server_root, "other")
    identifier, away = system_identifier(server), [True]

    def open_other() -> object:
        if away[0]:
            raise errors.ST001.error("found no answer, expected one")
        return other.repository

    sink = fan_out.Sink(name="other", open=open_other)  # type: ignore[arg-type]
    with receiving(server.url(), None, sinks=(main.sink, sink)):  # type: ignore[arg-type]
        end = write(server)
        wait_until(lambda: main.end(identifier) >= end)
        assert slot_position(server) < end
        away[0] = False
        wait_until(lambda: slot_position(server) >= end)

    assert other.end(identifier) >= end


def test_killed_again_and_again_neither_repository_loses_what_was_acknowledged(
    server: Cluster, server_root: Path
) -> None:
    """kill -9 at random moments of puts and deletes, one of the two refusing now and then."""
    main, other = Named(server_root, "main"), Named(server_root, "other")
    identifier = system_identifier(server)
    chance = random.Random(4)
    for round_ in range(5):
        with process_into(server.url(), server_root, ["main", "other"]) as process:
            before = slot_position(server)
            end = write(server, 40_000)
            wait_until(lambda before=before: slot_position(server) > before)
            other.store.refuses = bool(round_ % 2)
            write(server, 40_000)
            time.sleep(chance.random() / 2)
            process.send_signal(signal.SIGKILL)
            process.wait()
            other.store.refuses = False
        acknowledged = slot_position(server)
        assert acknowledged <= min(main.end(identifier), other.end(identifier))
    with receiving(server.url(), None, sinks=(opened(server_root, "main"), opened(server_root, "other"))):  # type: ignore[arg-type]
        end = write(server)
        wait_until(lambda: slot_position(server) >= end)

    assert min(main.end(identifier, ONE), other.end(identifier, ONE)) >= end
    require_whole(main, other, identifier=identifier)

"""Targets of every kind on real servers: what is there afterwards, exactly, and what is refused."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

import servers
from asking import asked, brought_back, notes
from backups import (
    flushed,
    new_repository,
    receiving,
    take_backup,
    wait_until,
)
from restoring import EIGHTEEN, SETTINGS, durable
from safepoint import errors
from safepoint.model.backup import BackupManifest
from safepoint.postgres.binaries import find_binaries
from safepoint.postgres.cluster import adopt_cluster, is_running, remove_cluster
from safepoint.postgres.connect import connect
from safepoint.recovery.directory import MARKER
from safepoint.repository import Repository


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """A primary that wrote notes: `transactions` are the ids that wrote them."""

    root: Path
    major: int
    repository: Repository
    backup: BackupManifest
    transactions: dict[str, int]


def write(connection: Connection[Any], note: str) -> int:
    """A transaction that writes a note; its id with the epoch."""
    row = connection.execute(
        "INSERT INTO notes (note) VALUES (%s) RETURNING pg_current_xact_id()::text", [note]
    ).fetchone()
    assert row is not None
    return int(row[0])


def mark(connection: Connection[Any], name: str) -> None:
    """A restore point."""
    connection.execute("SELECT pg_create_restore_point(%s)", [name])


pytestmark = pytest.mark.pg("!= 16, != 17")


@pytest.fixture(scope="module")
def story(major: int) -> Generator[Story]:
    """Notes one to four, restore points among them, a transaction left prepared, and its end."""
    with servers.server_directory() as root:
        repository = new_repository(root)
        settings = SETTINGS | {"max_prepared_transactions": "4"}
        with (
            servers.serving(root, major, settings) as primary,
            receiving(primary.url(), repository),
            connect(primary.url()) as connection,
        ):
            connection.execute("CREATE TABLE notes (id serial, note text)")
            write(connection, "before")
            backup = take_backup(primary.url(), repository)
            ids = {"one": write(connection, "one")}
            mark(connection, "twice")
            ids["two"] = write(connection, "two")
            mark(connection, "twice")
            connection.execute("SELECT pg_switch_wal()")
            connection.execute("BEGIN")
            ids["prepared"] = write(connection, "prepared")
            connection.execute("PREPARE TRANSACTION 'left'")
            ids["three"] = write(connection, "three")
            mark(connection, "while prepared")
            connection.execute("COMMIT PREPARED 'left'")
            ids["four"] = write(connection, "four")
            end = flushed(connection)
            wait_until(lambda: durable(repository, backup) >= end)
        yield Story(root=root, major=major, repository=repository, backup=backup, transactions=ids)


def notes_at(story: Story, place: str, **wish: Any) -> list[str]:
    with brought_back(story.repository, story.root / place, story.major, **wish) as connection:
        return notes(connection)


def test_immediate_is_the_end_of_the_backup(story: Story) -> None:
    """Nothing behind it, though WAL is there."""
    assert notes_at(story, "immediate", to="immediate") == ["before"]


def test_a_transaction_is_the_last_or_just_left_out(story: Story) -> None:
    """Also one that was prepared, and ended later than others that began later."""
    target = f"xid:{story.transactions['two']}"
    assert notes_at(story, "with", to=target) == ["before", "one", "two"]
    assert notes_at(story, "without", to=target, is_exclusive=True) == ["before", "one"]
    prepared = f"xid:{story.transactions['prepared']}"
    assert notes_at(story, "prepared", to=prepared) == ["before", "one", "two", "prepared", "three"]


@EIGHTEEN
def test_a_transaction_that_never_ends_is_refused_with_what_was_reached(story: Story) -> None:
    """RC007; the copy stays marked, and no server runs on it."""
    into = story.root / "never"
    with (
        pytest.raises(errors.Refused, match="found no end of transaction") as caught,
        brought_back(story.repository, into, story.major, to=f"xid:{story.transactions['four'] + 1000}"),
    ):
        pass

    assert caught.value.spec is errors.RC007
    assert (into / MARKER).exists()
    cluster = adopt_cluster(into, find_binaries(story.major))
    assert not is_running(cluster)
    remove_cluster(cluster)


def test_a_restore_point_is_found_in_wal_and_of_two_the_newer(story: Story) -> None:
    """In another segment than the end of WAL."""
    assert notes_at(story, "named", to="name:twice") == ["before", "one", "two"]


@EIGHTEEN
def test_a_restore_point_that_is_not_there_is_refused_before_anything_is_touched(story: Story) -> None:
    """RC008; a part of a name is no name."""
    into = story.root / "nowhere"
    with pytest.raises(errors.Refused) as caught:
        asked(story.repository, into, to="name:twic")

    assert caught.value.spec is errors.RC008
    assert not into.exists()


def test_a_prepared_transaction_comes_back_prepared(story: Story) -> None:
    """It holds its locks and can be ended either way."""
    into = story.root / "left"
    with brought_back(story.repository, into, story.major, to="name:while prepared") as connection:
        assert notes(connection) == ["before", "one", "two", "three"]
        assert connection.execute("SELECT gid FROM pg_prepared_xacts").fetchall() == [("left",)]
        connection.execute("COMMIT PREPARED 'left'")
        assert "prepared" in notes(connection)


@EIGHTEEN
def test_a_plan_says_what_will_not_be_there_and_what_is_unknown(story: Story) -> None:
    """Before anything is touched."""
    facts = dict(asked(story.repository, story.root / "planned", to="name:twice").plan.facts)

    assert "commits after restore point 'twice'" in facts["not there"]
    assert facts["timeline"] == "1: where the newest restore point of that name is"
    assert facts["expected"].startswith(("unknown: ", "about "))
    assert not (story.root / "planned").exists()

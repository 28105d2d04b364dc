"""Backups that read the data directory: what they hold, what they say of it, and that a restore of them is equal."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import servers
from backups import (
    actions_of,
    backup_plan,
    new_repository,
    reopened,
    take_backup,
)
from plain_copies import connected_copy
from safepoint.backup.sources.choice import Choice
from safepoint.backup.sources.files import FilesSource
from safepoint.backup.sources.port import Begun
from safepoint.model.backup import BackupManifest, BackupSource, Detection
from safepoint.postgres.cluster import Cluster, remove_cluster, start, stop
from safepoint.postgres.connect import connect
from safepoint.repository import EntryKind, Repository
from safepoint.steps.execute import Context, execute
from safepoint.steps.journal import MemoryJournal
from safepoint.steps.plan import Step


def by_files(cluster: Cluster) -> Choice:
    return Choice(source=BackupSource.FILES, reason="a test", data=cluster.data)


def take(cluster: Cluster, directory: Path, **options: Any) -> BackupManifest:
    return take_backup(cluster.url(), reopened(directory), choice=by_files(cluster), **options)


def paths_of(repository: Repository, backup: BackupManifest) -> set[str]:
    return {entry.path for entry in repository.files(backup).entries()}


@contextmanager
def writing(cluster: Cluster, statement: str) -> Generator[None]:
    """Somebody carries out the statement again and again while the context lasts."""
    over = threading.Event()

    def work() -> None:
        with connect(cluster.url()) as connection:
            while not over.is_set():
                connection.execute(statement.encode())

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.fixture(scope="module")
def files_root() -> Generator[Path]:
    with servers.server_directory() as path:
        yield path


@pytest.fixture(scope="module")
def busy(files_root: Path, major: int) -> Generator[Cluster]:
    """A server for all tests here that leave it usable."""
    with servers.serving(files_root, major) as cluster:
        with connect(cluster.url()) as connection:
            connection.execute("CREATE TABLE accounts AS SELECT g AS id, 0 AS balance FROM generate_series(1, 20000) g")
            connection.execute("ALTER TABLE accounts ADD PRIMARY KEY (id)")
        yield cluster


@pytest.mark.pg(">= 15")
def test_a_backup_of_files_under_writes_is_restored_to_a_consistent_copy(busy: Cluster, server_root: Path) -> None:
    """Each transaction moves money between two rows: whatever instant the copy is at, the sum is 0."""
    repository = new_repository(server_root)

    with writing(busy, "UPDATE accounts SET balance = balance + CASE id % 2 WHEN 0 THEN 1 ELSE -1 END WHERE id < 999"):
        backup = take(busy, server_root)

    assert backup.source is BackupSource.FILES
    assert not backup.is_from_standby
    assert backup.damaged_pages == ()
    with connected_copy(repository, backup, server_root / "copy") as copy:
        row = copy.execute("SELECT count(*), sum(balance) FROM accounts WHERE id < 999").fetchone()
    assert row == (998, 0)


@pytest.mark.pg(">= 15")
def test_what_a_server_makes_anew_is_left_out_and_its_directories_are_kept(busy: Cluster, server_root: Path) -> None:
    """As in a base backup: no WAL, no unlogged relation but its initialisation fork, nothing temporary."""
    repository = new_repository(server_root)
    with connect(busy.url()) as connection:
        connection.execute("CREATE UNLOGGED TABLE scratch AS SELECT generate_series(1, 1000)")
        connection.execute("CREATE TEMPORARY TABLE passing AS SELECT generate_series(1, 1000)")
        row = connection.execute("SELECT pg_relation_filepath('scratch'), pg_relation_filepath('passing')").fetchone()

        backup = take(busy, server_root)

    assert row is not None
    unlogged, temporary = row
    paths = paths_of(repository, backup)
    assert (busy.data / unlogged).exists()
    assert {unlogged, f"{unlogged}_fsm", temporary} & paths == set()
    assert f"{unlogged}_init" in paths
    assert {
        "pg_wal",
        "pg_wal/archive_status",
        "pg_replslot",
        "pg_subtrans",
        "backup_label",
        "global/pg_control",
    } <= paths
    assert not [path for path in paths if path.startswith(("pg_wal/0", "postmaster.", "pg_subtrans/"))]
    assert not (busy.data / "backup_label").exists()
    with connected_copy(repository, backup, server_root / "copy") as copy:
        assert copy.execute("SELECT count(*) FROM scratch").fetchone() == (0,)


@pytest.mark.pg(">= 15")
def test_tablespaces_are_listed_as_directories_and_named_in_the_manifest(busy: Cluster, server_root: Path) -> None:
    """Those behind links and those in place; a copy runs on them where they stand."""
    repository = new_repository(server_root)
    elsewhere = busy.data.parent / f"elsewhere-{busy.port}"
    busy.user.make_directory(elsewhere)
    with connect(busy.url()) as connection:
        connection.execute(f"CREATE TABLESPACE linked LOCATION '{elsewhere}'".encode())
        connection.execute("SET allow_in_place_tablespaces = on")
        connection.execute("CREATE TABLESPACE placed LOCATION ''")
        for name in ("linked", "placed"):
            connection.execute(f"CREATE TABLE in_{name} TABLESPACE {name} AS SELECT generate_series(1, 5000)".encode())

    backup = take(busy, server_root)

    assert [(space.name, space.location) for space in backup.tablespaces] == [
        ("linked", str(elsewhere)),
        ("placed", f"pg_tblspc/{backup.tablespaces[1].oid}"),
    ]
    kinds = {entry.path: entry.kind for entry in repository.files(backup).entries()}
    assert all(kinds[f"pg_tblspc/{space.oid}"] is EntryKind.DIRECTORY for space in backup.tablespaces)
    with connected_copy(repository, backup, server_root / "copy") as copy:
        assert copy.execute("SELECT (SELECT count(*) FROM in_linked), (SELECT count(*) FROM in_placed)").fetchone() == (
            5000,
            5000,
        )
    with connect(busy.url()) as connection:
        for name in ("linked", "placed"):
            connection.execute(f"DROP TABLE in_{name}".encode())
            connection.execute(f"DROP TABLESPACE {name}".encode())


@pytest.mark.pg("18")
def test_a_prepared_transaction_survives(server_root: Path) -> None:
    """Its file is copied like any other, and a copy can commit it."""
    repository = new_repository(server_root)
    with servers.serving(server_root, 18, {"max_prepared_transactions": "2"}) as cluster:
        with connect(cluster.url()) as connection:
            connection.execute("CREATE TABLE t (id int)")
            connection.execute("BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'half'")
            connection.execute("CHECKPOINT")

        backup = take(cluster, server_root)

    with connected_copy(repository, backup, server_root / "copy") as copy:
        copy.execute("COMMIT PREPARED 'half'")
        assert copy.execute("SELECT count(*) FROM t").fetchone() == (1,)


@pytest.mark.pg("18")
def test_configuration_outside_the_data_directory_is_taken_in(server_root: Path) -> None:
    """As Debian has it: where each file was is in the manifest; one that cannot be read is said, and ends nothing."""
    repository = new_repository(server_root)
    cluster = servers.make_server(server_root, 18)
    try:
        stop(cluster)
        etc = server_root / "etc"
        cluster.user.make_directory(etc)
        (etc / "postgresql.conf").write_text((cluster.data / "postgresql.conf").read_text() + "include 'more.conf'\n")
        (etc / "more.conf").write_text("work_mem = '5MB'\n")
        (etc / "safepoint.conf").write_text("")
        (etc / "pg_hba.conf").write_text("local all all trust\nlocal replication all trust\n")
        cluster.user.own(etc)
        settings = {"config_file": str(etc / "postgresql.conf"), "hba_file": str(etc / "pg_hba.conf")}
        start(
            cluster, settings={**settings, "data_directory": str(cluster.data), "ident_file": "/nowhere/pg_ident.conf"}
        )
        backup = take(cluster, server_root)
    finally:
        remove_cluster(cluster)

    places = dict(backup.outside)
    assert {Path(path).name for path in places} == {"postgresql.conf", "pg_hba.conf", "more.conf"}
    files = repository.files(backup)
    more = files.find(places[str(etc / "more.conf")])
    assert more is not None
    assert b"".join(bytes(piece) for _, _, piece in files.contents([more])) == b"work_mem = '5MB'\n"
    assert ("work_mem", "5120 kB") in backup.facts.settings


@pytest.mark.pg(">= 15")
def test_what_vanishes_shrinks_or_grows_meanwhile_ends_no_backup(busy: Cluster, server_root: Path) -> None:
    """A relation that was found and is dropped before it is read; one that is truncated; one that grows."""
    repository = new_repository(server_root)
    with connect(busy.url()) as connection:
        for name in ("dropped", "truncated", "grown"):
            connection.execute(f"CREATE TABLE {name} AS SELECT generate_series(1, 5000) AS g".encode())
        connection.execute("CREATE DATABASE unmade")

        def change(step: Step, context: Context) -> Any:
            def begin_then_change(self: FilesSource) -> Begun:
                begun = begin(self)
                connection.execute("DROP TABLE dropped; TRUNCATE truncated; INSERT INTO grown SELECT g FROM grown")
                connection.execute("CREATE DATABASE made")
                connection.execute("DROP DATABASE unmade")
                connection.execute("CHECKPOINT")
                return begun

            begin = FilesSource.begin
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(FilesSource, "begin", begin_then_change)
                return inner["backup.copy"](step, context)

        with actions_of(busy.url(), repository) as inner:
            plan = backup_plan(choice=by_files(busy))
            run = execute(plan, actions={**inner, "backup.copy": change}, journal=MemoryJournal())
        connection.execute("DROP DATABASE made")

    backup = repository.backup(str(run.outcomes["commit"]["backup"]))
    with connected_copy(repository, backup, server_root / "copy") as copy:
        assert copy.execute("SELECT to_regclass('dropped')").fetchone() == (None,)
        row = copy.execute("SELECT (SELECT count(*) FROM truncated), (SELECT count(*) FROM grown)").fetchone()
        assert row == (0, 10000)
        assert copy.execute("SELECT datname FROM pg_database WHERE datname LIKE '%made'").fetchall() == [("made",)]


@pytest.mark.pg("18")
def test_the_facts_of_the_cluster_are_in_the_manifest(busy: Cluster, server_root: Path) -> None:
    """Settings that are not the default, roles without passwords, databases with their extensions; no secret."""
    new_repository(server_root)
    with (
        servers.temporary_role(busy, "clerk", "LOGIN PASSWORD 'verysecret' CREATEDB"),
        servers.fresh_database(busy) as url,
    ):
        with connect(url) as connection:
            connection.execute("CREATE EXTENSION pg_trgm")
            xid = connection.execute("SELECT pg_current_xact_id()::text").fetchone()
        backup = take(busy, server_root)

    assert ("wal_level", "logical") in backup.facts.settings
    assert next(role for role in backup.facts.roles if role.startswith('"clerk"')).split()[1:3] == [
        "NOSUPERUSER",
        "INHERIT",
    ]
    assert "verysecret" not in repr(backup)
    made = next(found for found in backup.facts.databases if found.name == url.database)
    assert made.encoding == "UTF8"
    assert "pg_trgm" in dict(made.extensions)
    assert xid is not None
    assert backup.next_xid > int(xid[0])
    assert backup.detection is Detection.READ

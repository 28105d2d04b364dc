"""Physical backups over the replication protocol: what they hold, what they refuse, what is left when they fail."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

import backups
import servers
from backups import (
    actions_of,
    backup_plan,
    new_repository,
    pieces_of,
    receiving,
    reopened,
    system_identifier,
    take_backup,
)
from safepoint import errors
from safepoint.backup.durable import durable_up_to
from safepoint.backup.verify import verify_backup
from safepoint.model.proof import ProofLevel
from safepoint.postgres.cluster import Cluster, remove_cluster, stop
from safepoint.postgres.connect import connect
from safepoint.repository.commit.leases import open_leases
from safepoint.steps.execute import Context, execute
from safepoint.steps.journal import MemoryJournal
from safepoint.steps.plan import Step

EIGHTEEN = pytest.mark.pg("18")


def take(cluster: Cluster, directory: Path):  # noqa: ANN201 - a manifest
    return take_backup(cluster.url(), reopened(directory))


def slots(cluster: Cluster) -> int:
    with connect(cluster.url()) as connection:
        row = connection.execute("SELECT count(*) FROM pg_replication_slots").fetchone()
    assert row is not None
    return int(row[0])


def test_a_backup_holds_every_file_and_the_wal_that_makes_it_consistent(server: Cluster, server_root: Path) -> None:
    """Without a receiver the backup fetches its own WAL; every file has the checksum the server gave it."""
    repository = new_repository(server_root)

    manifest = take(server, server_root)

    assert repository.backup(manifest.id) == manifest
    paths = [entry.path for entry in repository.files(manifest).entries()]
    assert {"backup_label", "global/pg_control", "PG_VERSION"} <= set(paths)
    assert not [path for path in paths if path.startswith(("pg_wal/0", "postmaster.pid"))]
    durable = durable_up_to(repository, manifest.system_identifier, manifest.timeline, manifest.start_lsn)
    assert durable >= manifest.stop_lsn
    assert verify_backup(repository, manifest).level is ProofLevel.VERIFIED
    assert slots(server) == 0


@EIGHTEEN
def test_with_a_receiver_the_backup_waits_for_it(server: Cluster, server_root: Path) -> None:
    """Its WAL is then brought by the receiver, whose marks cover the backup's end."""
    repository = new_repository(server_root)

    with receiving(server.url(), repository) as background:
        manifest = take(server, server_root)
        backups.wait_until(lambda: background.watcher.states[-1].durable >= manifest.stop_lsn)

    assert verify_backup(repository, manifest).wal_bytes >= manifest.stop_lsn - manifest.start_lsn


@EIGHTEEN
def test_a_second_backup_adds_only_the_pages_that_changed(server: Cluster, server_root: Path) -> None:
    """It is complete by itself, and stays so when the first is gone."""
    repository = new_repository(server_root)
    with connect(server.url()) as connection:
        connection.execute("CREATE TABLE big AS SELECT g, md5(g::text) AS t FROM generate_series(1, 100000) g")
        connection.execute("VACUUM (FREEZE) big")  # or its hint bits would change nearly every page
    first = take(server, server_root)
    with connect(server.url()) as connection:
        connection.execute("UPDATE big SET t = 'changed' WHERE g % 20000 = 0")

    second = take(server, server_root)

    assert second.raw_bytes >= first.raw_bytes
    assert second.added_bytes < first.added_bytes / 5
    repository.expire_backup(first.id, reason="a test")
    assert [found.id for found in repository.backups()] == [second.id]
    assert verify_backup(repository, second).level is ProofLevel.VERIFIED


@EIGHTEEN
def test_a_role_without_the_right_to_replicate_is_told_so(server: Cluster, server_root: Path) -> None:
    """PG007, with the statement that grants it."""
    new_repository(server_root)
    with connect(server.url()) as connection:
        connection.execute("CREATE ROLE weak LOGIN")
    url = type(server.url()).of(host=str(server.socket_directory), port=server.port, user="weak", dbname="postgres")

    with pytest.raises(errors.Misconfigured) as caught:
        take_backup(url, reopened(server_root))

    assert caught.value.spec is errors.PG007
    assert "REPLICATION" in caught.value.hints[-1].text


@EIGHTEEN
def test_another_cluster_under_the_same_name_is_refused(server: Cluster, server_root: Path) -> None:
    """BK002 with both system identifiers."""
    new_repository(server_root)
    first = take(server, server_root)

    with servers.serving(server_root, 18) as other:
        with pytest.raises(errors.Refused) as caught:
            take(other, server_root)
        assert caught.value.spec is errors.BK002
        assert first.system_identifier in caught.value.message
        assert system_identifier(other) in caught.value.message


@EIGHTEEN
@pytest.mark.parametrize("last", ["copy", "wal"])
def test_an_interrupted_backup_leaves_nothing_but_what_the_next_one_takes_over(
    server: Cluster, server_root: Path, last: str
) -> None:
    """No manifest, no slot, no session, no open lease; older backups and their WAL are untouched.

    The packs were listed by then, so they stay: the next backup refers to them.
    """
    repository = new_repository(server_root)
    older = take(server, server_root)
    plan = backup_plan()

    def interrupt(step: Step, context: Context) -> dict[str, str]:
        inner[step.action](step, context)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), actions_of(server.url(), repository) as inner:
        execute(plan, actions={**inner, f"backup.{last}": interrupt}, journal=MemoryJournal())

    backups.wait_until(lambda: slots(server) == 0)
    assert [found.id for found in repository.backups()] == [older.id]
    assert open_leases(repository.store, repository.keyring) == ()
    verify_backup(repository, older)
    next_one = take(server, server_root)
    assert verify_backup(repository, next_one).level is ProofLevel.VERIFIED
    assert [found.id for found in repository.backups()] == [older.id, next_one.id]


@EIGHTEEN
def test_a_server_that_dies_during_the_copy_voids_the_backup(server: Cluster, server_root: Path) -> None:
    """A lost session is no backup."""
    repository = new_repository(server_root)
    with connect(server.url()) as connection:
        connection.execute("CREATE TABLE big AS SELECT g, repeat(md5(g::text), 20) FROM generate_series(1, 60000) g")
    plan = backup_plan("doomed")

    def kill(step: Step, context: Context) -> dict[str, str]:
        def report(_: object) -> None:
            stop(server, mode="immediate")

        return inner["backup.copy"](  # type: ignore[return-value]
            step, Context(plan=plan, outcomes=context.outcomes, is_repeat=False, report=report)
        )

    with (
        pytest.raises((errors.Unreachable, psycopg.OperationalError)),
        actions_of(server.url(), repository) as inner,
    ):
        execute(plan, actions={**inner, "backup.copy": kill}, journal=MemoryJournal())

    assert repository.backups() == ()


@EIGHTEEN
def test_verify_names_the_damaged_backup_and_file(server: Cluster, server_root: Path) -> None:
    """One bit in a pack is found by reading; BK004."""
    repository = new_repository(server_root)
    manifest = take(server, server_root)
    verify_backup(repository, manifest)
    victim = next(entry for entry in repository.files(manifest).entries() if entry.path == "PG_VERSION")
    (ref,) = victim.blobs
    pack = next((server_root / "repository" / "packs").rglob(ref.pack.hex()))
    pack.chmod(0o600)
    content = bytearray(pack.read_bytes())
    content[ref.offset + ref.length // 2] ^= 1
    pack.write_bytes(content)

    with pytest.raises(errors.Damaged) as caught:
        verify_backup(reopened(server_root), manifest)

    assert caught.value.spec is errors.BK004
    assert victim.path in caught.value.message
    assert manifest.id in caught.value.message


@EIGHTEEN
def test_verify_finds_missing_wal(server: Cluster, server_root: Path) -> None:
    """A backup without its own WAL does not hold."""
    repository = new_repository(server_root)
    manifest = take(server, server_root)
    for piece in pieces_of(repository, server):
        (server_root / "repository" / piece.name).unlink()

    with pytest.raises(errors.Damaged, match="WAL") as caught:
        verify_backup(repository, manifest)

    assert caught.value.spec is errors.BK004


@EIGHTEEN
def test_a_server_that_is_not_there_is_unreachable(server_root: Path) -> None:
    """PG004, and nothing was stored."""
    repository = new_repository(server_root)
    cluster = servers.make_server(server_root, 18)
    url = cluster.url()
    remove_cluster(cluster)

    with pytest.raises(errors.Unreachable) as caught:
        take_backup(url, repository)

    assert caught.value.spec is errors.PG004

"""Whole restores: to an instant, a position, the end; and what is refused."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

import servers
from backups import (
    carry_out,
    connected,
    flushed,
    new_repository,
    newest_mark,
    pin,
    receiving,
    restore_plan,
    restored,
    take_backup,
    wait_until,
)
from restoring import EIGHTEEN, SETTINGS, Commit, Scene, durable, ids
from safepoint import errors
from safepoint.backup.adopt import candidate_at, record_adoption, unmark_server
from safepoint.postgres.binaries import find_binaries
from safepoint.postgres.cluster import adopt_cluster, is_running, remove_cluster, start, stop
from safepoint.postgres.connect import connect
from safepoint.recovery.directory import MARKER
from safepoint.recovery.online_proofs import NO_VISIBILITY, prove_server
from safepoint.recovery.plan import plan_restore, proofs_of
from safepoint.recovery.proofs import NO_AMCHECK, Outcome, Question


def after_backup(scene: Scene) -> list[Commit]:
    return [commit for commit in scene.commits if commit.at > scene.backup.stopped_at]


def test_latest_holds_every_row_ever_committed(scene: Scene) -> None:
    """And is a server of its own: promoted, writable, archiving nowhere."""
    with restored(scene.repository, scene.backup, scene.root / "latest", "latest") as connection:
        assert ids(connection) == {commit.row for commit in scene.commits}
        connection.execute("INSERT INTO rows VALUES (-1, '')")
        row = connection.execute("SELECT current_setting('archive_mode'), pg_is_in_recovery()").fetchone()
        assert row == ("off", False)
        assert not (scene.root / "latest" / MARKER).exists()


@pytest.mark.parametrize("share", [0.2, 0.8])
def test_an_instant_holds_exactly_the_rows_committed_by_then(scene: Scene, share: float) -> None:
    """By the server's own commit times, in the order of WAL; a commit of that very instant is in."""
    commits = after_backup(scene)
    chosen = commits[int(len(commits) * share)]

    with restored(scene.repository, scene.backup, scene.root / f"at{share}", chosen.at.isoformat()) as connection:
        found = ids(connection)

    assert found == scene.rows_at(chosen.at)
    assert chosen.row in found


@EIGHTEEN
def test_random_instants(scene: Scene) -> None:
    """Between commits as well as on them."""
    commits = after_backup(scene)
    for number in range(2):
        at = commits[0].at + (commits[-1].at - commits[0].at) * ((number + 0.37) / 2)
        with restored(scene.repository, scene.backup, scene.root / f"random{number}", at.isoformat()) as connection:
            assert ids(connection) == scene.rows_at(at)


@EIGHTEEN
def test_a_position_holds_every_record_that_begins_before_it(scene: Scene) -> None:
    """Also the very end, where nothing follows that recovery could stop at."""
    with restored(scene.repository, scene.backup, scene.root / "end", str(scene.end)) as connection:
        assert ids(connection) == {commit.row for commit in scene.commits}
    with restored(scene.repository, scene.backup, scene.root / "stop", str(scene.backup.stop_lsn)) as connection:
        found = ids(connection)
    assert found < {commit.row for commit in scene.commits}
    assert found == {commit.row for commit in scene.commits[: len(found)]}


@EIGHTEEN
def test_an_instant_after_the_last_commit_is_reached_when_a_mark_proves_it(scene: Scene) -> None:
    """PostgreSQL alone ends such a recovery with an error."""
    last = max(commit.at for commit in scene.commits)
    mark = newest_mark(scene.repository, scene.backup.system_identifier)
    assert mark is not None

    with restored(scene.repository, scene.backup, scene.root / "idle", mark.clock.isoformat()) as connection:
        assert ids(connection) == {commit.row for commit in scene.commits}
    with pytest.raises(errors.Refused) as caught:
        pin(scene.repository, scene.backup, (mark.clock + timedelta(seconds=1)).isoformat())
    assert caught.value.spec is errors.RC001
    assert mark.clock > last


@EIGHTEEN
def test_a_restore_reports_what_it_proved_and_what_it_could_not(scene: Scene) -> None:
    """Unknown is not passed; a query that fails is a failure and leaves no server."""
    good = [Question(database="postgres", query="SELECT count(*) FROM rows")]
    into = scene.root / "proofs"
    plan = restore_plan(scene.repository, scene.backup, into, "latest", good)

    run = carry_out(plan, scene.repository)
    remove_cluster(adopt_cluster(into, find_binaries(18)))

    outcomes = {proof.name: proof for proof in proofs_of(run.outcomes)}
    assert outcomes["pg_verifybackup"].outcome is Outcome.PASS
    assert outcomes["query: SELECT count(*) FROM rows"].detail == str(len(scene.commits))
    for name in ("pg_amcheck of postgres", "visibility maps of postgres"):
        assert outcomes[name].outcome is Outcome.PASS
    bad = [Question(database="postgres", query="SELECT 1 / (count(*) - count(*)) FROM rows")]
    with pytest.raises(errors.Damaged) as caught:
        carry_out(restore_plan(scene.repository, scene.backup, into, "latest", bad), scene.repository)
    assert caught.value.spec is errors.RC004
    cluster = adopt_cluster(into, find_binaries(18))
    assert not is_running(cluster)
    assert (into / MARKER).exists()
    remove_cluster(cluster)


@EIGHTEEN
def test_a_copy_in_recovery_takes_no_extension_and_what_it_lacks_stays_unknown(scene: Scene) -> None:
    """A promoted one is lent it, and has it no more when it is handed over."""
    into = scene.root / "unpromoted"
    pinned = pin(scene.repository, scene.backup, "latest")
    run = carry_out(plan_restore(pinned, scene.backup, into=into, promotes=False), scene.repository)

    with connected(into, 18) as connection:
        assert connection.execute("SELECT pg_is_in_recovery()").fetchone() == (True,)
    unknown = {proof.detail for proof in proofs_of(run.outcomes) if proof.outcome is Outcome.UNKNOWN}
    assert unknown == {NO_AMCHECK, NO_VISIBILITY}
    with restored(scene.repository, scene.backup, scene.root / "lent", "latest") as connection:
        rows = connection.execute("SELECT count(*) FROM pg_extension WHERE extname = 'amcheck'").fetchone()
        assert rows == (0,)


@EIGHTEEN
def test_a_question_that_cannot_be_asked_is_the_askers_mistake(scene: Scene) -> None:
    """RC006 with the server's words; the copy is no worse for it, and stays an unfinished one."""
    into = scene.root / "no-question"
    wrong = [Question(database="postgres", query="SELECT * FROM missing")]

    with pytest.raises(errors.Misconfigured, match='relation "missing" does not exist') as caught:
        carry_out(restore_plan(scene.repository, scene.backup, into, "latest", wrong), scene.repository)

    assert caught.value.spec is errors.RC006
    assert "stays marked as unfinished" in caught.value.changed
    cluster = adopt_cluster(into, find_binaries(18))
    for text in ("SELEC 1", "", "SET search_path TO public"):
        start(cluster)
        try:
            with pytest.raises(errors.Misconfigured, match="expected one query"):
                prove_server(cluster, [Question(database="postgres", query=text)])
        finally:
            stop(cluster)
    remove_cluster(cluster)


@EIGHTEEN
def test_production_configuration_stands_aside(scene: Scene) -> None:
    """The copy listens on its own socket only, with limits no lower than production's."""
    into = scene.root / "config"
    with restored(scene.repository, scene.backup, into, "latest") as connection:
        row = connection.execute("SELECT current_setting('listen_addresses'), current_setting('restore_command')")
        assert row.fetchone() == ("", "")
        assert connection.execute("SHOW archive_mode").fetchone() == ("off",)
        connection.execute("SELECT pg_reload_conf()")
        assert (into / "production-config" / "postgresql.conf").exists()
        assert (into / "postgresql.auto.conf").read_text() == ""


@EIGHTEEN
def test_what_is_there_is_never_overwritten(scene: Scene) -> None:
    """RC002 for files, a data directory, a running server, and another cluster's unfinished restore."""
    plan_into = scene.root / "occupied"
    plan_into.mkdir()
    (plan_into / "precious").write_text("mine")

    with pytest.raises(errors.Refused) as caught:
        carry_out(restore_plan(scene.repository, scene.backup, plan_into, "latest"), scene.repository)

    assert caught.value.spec is errors.RC002
    assert (plan_into / "precious").read_text() == "mine"
    with servers.serving(scene.root, 18) as other, pytest.raises(errors.Refused, match="running server"):
        carry_out(restore_plan(scene.repository, scene.backup, other.data, "latest"), scene.repository)
    (plan_into / "precious").unlink()
    (plan_into / MARKER).write_text('{"system_identifier": "1"}')
    with pytest.raises(errors.Refused, match="half restored from cluster 1"):
        carry_out(restore_plan(scene.repository, scene.backup, plan_into, "latest"), scene.repository)


@EIGHTEEN
@pytest.mark.parametrize("place", ["/proc/safepoint", "/dev/null/below", 'with"quote', "$(id)"])
def test_a_place_that_no_server_can_live_in_is_refused(scene: Scene, place: str) -> None:
    """Not writable, no directory, or a name that the shell of pg_ctl would read otherwise: RC002 before anything."""
    into = scene.root / place  # an absolute place stays what it is

    with pytest.raises(errors.Refused) as caught:
        carry_out(restore_plan(scene.repository, scene.backup, into, "latest"), scene.repository)

    assert caught.value.spec is errors.RC002
    assert not into.exists()


@EIGHTEEN
def test_a_restore_leads_nowhere_into_a_data_directory(scene: Scene) -> None:
    """Not even through a link to a directory inside of it."""
    (scene.root / "data" / "base").mkdir(parents=True)
    (scene.root / "data" / "PG_VERSION").write_text("18\n")
    (scene.root / "link").symlink_to(scene.root / "data" / "base")

    with pytest.raises(errors.Refused, match="within the data directory"):
        carry_out(restore_plan(scene.repository, scene.backup, scene.root / "link" / "new", "latest"), scene.repository)


@EIGHTEEN
def test_a_primary_configured_in_another_encoding_with_a_database_half_dropped_is_restored(server_root: Path) -> None:
    """Neither bytes that are no UTF-8 in its configuration nor what PostgreSQL calls invalid keep the rest away."""
    repository = new_repository(server_root)
    with servers.serving(server_root, 18) as primary:
        with (primary.data / "postgresql.conf").open("ab") as file:
            file.write("# für\n".encode("latin-1"))
        with connect(primary.url()) as connection:
            connection.execute("CREATE DATABASE victim")
            # As DROP DATABASE leaves it when it is interrupted.
            connection.execute("UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'victim'")
        backup = take_backup(primary.url(), repository)

    with restored(repository, backup, server_root / "restored", "latest") as connection:
        row = connection.execute("SELECT count(*) FROM pg_database WHERE datname = 'victim'").fetchone()

    assert row == (1,)


@EIGHTEEN
def test_limits_that_wal_raises_midway_do_not_stop_recovery(server_root: Path) -> None:
    """The backup's control file knows the old limit, the WAL after it the new one."""
    repository = new_repository(server_root)
    primary = servers.make_server(server_root, 18, SETTINGS)
    try:
        with receiving(primary.url(), repository):
            backup = take_backup(primary.url(), repository)
            stop(primary)
            start(primary, settings={"max_connections": "300", "max_prepared_transactions": "7"})
            with connect(primary.url()) as connection:
                connection.execute("CREATE TABLE rows AS SELECT 1 AS id")
                end = flushed(connection)
            wait_until(lambda: durable(repository, backup) >= end)
    finally:
        remove_cluster(primary)

    with restored(repository, backup, server_root / "raised", "latest") as connection:
        assert ids(connection) == {1}
        row = connection.execute("SELECT current_setting('max_connections')").fetchone()
        assert row == ("300",)


@EIGHTEEN
def test_a_restored_copy_that_becomes_production_can_be_backed_up_and_restored(server_root: Path) -> None:
    """Adopted, on its new timeline, its WAL in the same repository; a third generation holds the rows of all."""
    repository = new_repository(server_root)
    with (
        servers.serving(server_root, 18, SETTINGS) as primary,
        receiving(primary.url(), repository),
        connect(primary.url()) as connection,
    ):
        backup = take_backup(primary.url(), repository)
        connection.execute("CREATE TABLE rows AS SELECT 1 AS id")
        end = flushed(connection)
        wait_until(lambda: durable(repository, backup) >= end)
    second = server_root / "second"
    carry_out(restore_plan(repository, backup, second, "latest"), repository)
    cluster = adopt_cluster(second, find_binaries(18))
    try:
        record_adoption(candidate_at(cluster.url()), repository, by="a test")
        unmark_server(cluster.url())
        with receiving(cluster.url(), repository), connect(cluster.url()) as connection:
            connection.execute("INSERT INTO rows VALUES (2)")
            end = flushed(connection)
            wait_until(lambda end=end: pin(repository, backup, "latest").end >= end)
    finally:
        remove_cluster(cluster)

    pinned = pin(repository, backup, "latest")
    assert (pinned.backup_id, pinned.timeline.value) == (backup.id, 2)
    with restored(repository, backup, server_root / "third", "latest") as connection:
        assert ids(connection) == {1, 2}
        row = connection.execute("SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)").fetchone()
        assert row == ("00000003",)

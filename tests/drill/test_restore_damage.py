"""Restores from what is damaged or incomplete: never handed over as whole, and what can be had is said."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import servers
from backups import (
    DATABASE,
    carry_out,
    flushed,
    new_repository,
    pieces_of,
    pin,
    receiving,
    reopened,
    restore_plan,
    restored,
    wait_until,
)
from restoring import EIGHTEEN, SETTINGS, Scene, durable, ids
from safepoint import errors
from safepoint.backup.plan import take_backup
from safepoint.model.json_value import JsonObject
from safepoint.postgres.binaries import find_binaries
from safepoint.postgres.cluster import adopt_cluster, is_running, remove_cluster
from safepoint.postgres.connect import connect
from safepoint.postgres.control import read_control
from safepoint.recovery import replay
from safepoint.recovery.directory import MARKER
from safepoint.recovery.plan import restore_actions
from safepoint.repository import Repository
from safepoint.steps.execute import Context, execute
from safepoint.steps.journal import MemoryJournal
from safepoint.steps.plan import Plan, Step


@EIGHTEEN
def test_a_damaged_pack_leaves_an_unfinished_copy_and_says_so(scene: Scene) -> None:
    """The files before it are written by then: that nothing was changed would be no truth."""
    root, into = scene.root / "damaged-store", scene.root / "half-written"
    shutil.copytree(scene.root / "repository", root / "repository")
    pack = max((root / "repository" / "packs").rglob("*"), key=lambda path: path.is_file() and path.stat().st_size)
    flip(pack, pack.stat().st_size // 2)
    repository = reopened(root)
    plan = restore_plan(repository, scene.backup, into, "latest")

    with pytest.raises(errors.Damaged) as caught:
        carry_out(plan, repository)

    assert caught.value.spec in {errors.RP004, errors.RP005}
    assert caught.value.changed == (
        f"{into} holds an unfinished copy, marked as such; production and repository are untouched; "
        "the same command begins afresh"
    )
    assert (into / MARKER).exists()


@EIGHTEEN
def test_a_hole_in_the_wal_ends_what_can_be_restored(server_root: Path) -> None:
    """`latest` and targets behind the hole are refused, a target before it works."""
    repository = new_repository(server_root)
    with servers.serving(server_root, 18, SETTINGS) as primary:
        with receiving(primary.url(), repository), connect(primary.url()) as connection:
            backup = take_backup(primary.url(), repository, database=DATABASE, tier="daily")
            connection.execute("CREATE TABLE rows (id int)")
            before = flushed(connection)
            for row in range(4):
                connection.execute("INSERT INTO rows VALUES (%s)", [row])
                connection.execute("SELECT pg_switch_wal()")
            connection.execute("INSERT INTO rows VALUES (4)")
            behind = flushed(connection)
            wait_until(lambda: durable(repository, backup) >= behind)
        pieces = [piece for piece in pieces_of(repository, primary) if piece.start > before]
    (server_root / "repository" / pieces[1].name).unlink()

    for target in ("latest", str(behind)):
        with pytest.raises(errors.Refused) as caught:
            pin(repository, backup, target)
        assert caught.value.spec is errors.RC001
        assert str(pieces[1].start) in caught.value.message
    with restored(repository, backup, server_root / "before", str(before)) as connection:
        assert ids(connection) == set()


def carry_out_with(plan: Plan, repository: Repository, after: str, damage: Callable[[], object]) -> None:
    """The restore done, with something that happens to its directory after a step."""
    with restore_actions(repository) as actions:

        def run(step: Step, context: Context) -> JsonObject:
            outcome = actions[after](step, context)
            damage()
            return outcome

        execute(plan, actions={**actions, after: run}, journal=MemoryJournal())


def flip(path: Path, at: int) -> None:
    """One bit of a file is another."""
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))


@EIGHTEEN
def test_a_file_that_was_written_wrong_is_found_before_a_server_touches_it(scene: Scene) -> None:
    """pg_verifybackup compares every file with what the server said of it."""
    into = scene.root / "written-wrong"
    plan = restore_plan(scene.repository, scene.backup, into, "latest")

    with pytest.raises(errors.Damaged, match="pg_verifybackup failed") as caught:
        carry_out_with(plan, scene.repository, "restore.write", lambda: flip(into / "base/1/1259", 5000))

    assert caught.value.spec is errors.RC004
    assert (into / MARKER).exists()
    assert not (into / "postmaster.opts").exists()


@EIGHTEEN
def test_wal_that_does_not_replay_to_the_pinned_end_is_never_handed_over(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record that is damaged looks like the end of WAL to PostgreSQL, and to nobody else."""
    into = scene.root / "cut-short"
    plan = restore_plan(scene.repository, scene.backup, into, "latest")
    monkeypatch.setattr(replay, "SILENCE_SECONDS", 3.0)

    def damage() -> None:
        last = max(path for path in (into / "pg_wal").iterdir() if len(path.name) == 24)
        flip(last, (scene.end - scene.end.segment_start(1 << 24)) // 2)

    with pytest.raises(errors.Damaged) as caught:
        carry_out_with(plan, scene.repository, "restore.stage-wal", damage)

    assert caught.value.spec is errors.RC003
    assert (into / MARKER).exists()
    assert not is_running(adopt_cluster(into, find_binaries(18)))


@EIGHTEEN
def test_an_index_that_amcheck_finds_damaged_is_never_handed_over(server_root: Path) -> None:
    """Where the extension is there, it is asked, and its word counts."""
    repository = new_repository(server_root)
    into = server_root / "damaged"
    with servers.serving(server_root, 18) as primary, connect(primary.url()) as connection:
        connection.execute("CREATE EXTENSION amcheck")
        connection.execute("CREATE TABLE few AS SELECT g FROM generate_series(1, 1000) g")
        connection.execute("CREATE INDEX few_g ON few (g)")
        row = connection.execute("SELECT pg_relation_filepath('few_g')").fetchone()
        assert row is not None
        backup = take_backup(primary.url(), repository, database=DATABASE, tier="daily")
    plan = restore_plan(repository, backup, into, "latest")

    with pytest.raises(errors.Damaged, match="pg_amcheck of postgres failed") as caught:
        carry_out_with(plan, repository, "restore.prove-files", lambda: flip(into / row[0], 8192 + 8000))

    assert caught.value.spec is errors.RC004


@EIGHTEEN
def test_wal_that_vanishes_during_recovery_stops_it(scene: Scene) -> None:
    """A staged file that is gone is never read as the end of the archive: RC003, and no promotion."""
    into = scene.root / "vanished"
    plan = restore_plan(scene.repository, scene.backup, into, "latest")

    with pytest.raises(errors.Damaged) as caught:
        carry_out_with_lost_wal(plan, scene, into)

    assert caught.value.spec is errors.RC003
    cluster = adopt_cluster(into, find_binaries(18))
    assert not is_running(cluster)
    assert read_control(cluster.binaries, into).timeline.value == 1
    remove_cluster(cluster)


def carry_out_with_lost_wal(plan: Any, scene: Scene, into: Path) -> None:
    from safepoint.recovery.plan import restore_actions  # noqa: PLC0415 - beside its one use
    from safepoint.steps.execute import execute  # noqa: PLC0415
    from safepoint.steps.journal import MemoryJournal  # noqa: PLC0415

    with restore_actions(scene.repository) as actions:

        def configure(step: Any, context: Any) -> Any:
            outcome = actions["restore.configure"](step, context)
            staged = sorted(path for path in (into / "pg_wal").iterdir() if len(path.name) == 24)
            staged[0].unlink()
            return outcome

        execute(plan, actions={**actions, "restore.configure": configure}, journal=MemoryJournal())

"""Restores from what is damaged or incomplete: never handed over as whole, and what can be had is said."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import servers
from backups import (
    carry_out,
    flushed,
    new_repository,
    pieces_of,
    pin,
    receiving,
    reopened,
    restore_plan,
    restored,
    take_backup,
    wait_until,
)
from restoring import EIGHTEEN, SETTINGS, Scene, durable, ids
from safepoint import errors
from safepoint.model.coverage import WalPiece
from safepoint.model.json_value import JsonObject
from safepoint.model.lsn import WalSegment
from safepoint.postgres.binaries import find_binaries
from safepoint.postgres.cluster import adopt_cluster, is_running, remove_cluster
from safepoint.postgres.connect import connect
from safepoint.postgres.control import read_control
from safepoint.recovery import replay
from safepoint.recovery.actions import restore_actions
from safepoint.recovery.directory import MARKER
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
            backup = take_backup(primary.url(), repository)
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
    root, into = scene.root / "wrong-record", scene.root / "cut-short"
    shutil.copytree(scene.root / "repository", root / "repository")
    piece = segments_after(scene)[0]
    content = bytearray(scene.repository.read_wal(piece))
    # Amid the records: behind a switch to the next segment a segment holds nothing that anybody replays.
    content[len(content.rstrip(b"\0")) // 2] ^= 1
    (root / "repository" / piece.name).unlink()
    segment = WalSegment.holding(piece.timeline, piece.start, len(content))
    cluster = scene.backup.system_identifier
    reopened(root).put_wal_segment(cluster, segment, bytes(content), history=b"", mark=None)
    monkeypatch.setattr(replay, "SILENCE_SECONDS", 3.0)

    with pytest.raises(errors.Damaged) as caught:
        carry_out(restore_plan(reopened(root), scene.backup, into, "latest"), reopened(root))

    assert caught.value.spec is errors.RC003
    must_not_be_handed_over(into)


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
        backup = take_backup(primary.url(), repository)
    plan = restore_plan(repository, backup, into, "latest")

    with pytest.raises(errors.Damaged, match="pg_amcheck of postgres failed") as caught:
        carry_out_with(plan, repository, "restore.prove-files", lambda: flip(into / row[0], 8192 + 8000))

    assert caught.value.spec is errors.RC004


@EIGHTEEN
@pytest.mark.parametrize("harm", ["removed", "damaged"])
def test_wal_that_is_gone_when_replay_comes_to_it_stops_recovery(scene: Scene, harm: str) -> None:
    """It is never read as the end of WAL: the object is named, no server is left, and none was promoted."""
    root, into = scene.root / f"wal-{harm}-store", scene.root / f"wal-{harm}"
    shutil.copytree(scene.root / "repository", root / "repository")
    repository = reopened(root)
    piece = segments_after(scene)[0]
    path = root / "repository" / piece.name

    def do_harm() -> None:
        if harm == "removed":
            path.unlink()
        else:
            flip(path, path.stat().st_size // 2)

    plan = restore_plan(repository, scene.backup, into, "latest")
    with pytest.raises(errors.Damaged) as caught:
        carry_out_with(plan, repository, "restore.find-wal", do_harm)

    assert caught.value.spec is (errors.RP004 if harm == "removed" else errors.RP005)
    assert piece.name in caught.value.message
    must_not_be_handed_over(into)


@EIGHTEEN
def test_wal_that_is_gone_before_the_server_starts_is_missed_by_the_listing(scene: Scene) -> None:
    """WL002 names the first byte."""
    root, into = scene.root / "unlisted-store", scene.root / "unlisted"
    shutil.copytree(scene.root / "repository", root / "repository")
    repository, piece = reopened(root), segments_after(scene)[0]
    plan = restore_plan(repository, scene.backup, into, "latest")

    with pytest.raises(errors.Damaged, match=f"up to {piece.start}, expected") as caught:
        carry_out_with(plan, repository, "restore.write", (root / "repository" / piece.name).unlink)

    assert caught.value.spec is errors.WL002


def segments_after(scene: Scene) -> list[WalPiece]:
    """The whole segments behind that in which the backup ended."""
    pieces = scene.repository.wal_pieces(scene.backup.system_identifier)
    return [piece for piece in pieces if not piece.is_partial and piece.start > scene.backup.stop_lsn]


def must_not_be_handed_over(into: Path) -> None:
    """It is marked, nothing runs there, and it never left its timeline."""
    assert (into / MARKER).exists()
    cluster = adopt_cluster(into, find_binaries(18))
    assert not is_running(cluster)
    assert read_control(cluster.binaries, into).timeline.value == 1
    remove_cluster(cluster)

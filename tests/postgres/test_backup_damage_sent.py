"""Damaged pages in a server that sends its files: all is received, what is damaged is named, and all else is good."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from backups import new_repository
from incremental_work import differences, execute, summarized_cluster, take
from plain_copies import connected_copy
from safepoint.backup.verify import verify_backup
from safepoint.model.backup import BackupManifest, BackupSource, DamagedPage, Detection
from safepoint.postgres.basebackup import BaseBackup, Checkpoint
from safepoint.postgres.cluster import Cluster, start, stop
from safepoint.postgres.connect import connect, replication_connection
from safepoint.postgres.page_warnings import NAMED_OF_A_FILE, pages_named
from safepoint.postgres.replication import ReplicationSession
from shell import shell_in

PAGE = 8192
HURT = (1, 3, 4, 7, 9, 11, 12)
EIGHTEEN = pytest.mark.pg("18")


def path_of(server: Cluster, table: str) -> str:
    with connect(server.url()) as connection:
        row = connection.execute("SELECT pg_relation_filepath(%s)", [table]).fetchone()
    assert row is not None
    return str(row[0])


def damage(server: Cluster, path: str, blocks: Iterable[int]) -> None:
    """Bytes in the middle of pages of a server at rest are others."""
    with (server.data / path).open("r+b") as file:
        for block in blocks:
            file.seek(block * PAGE + 4000)
            byte = file.read(1)[0]
            file.seek(block * PAGE + 4000)
            file.write(bytes([byte ^ 0xFF]))


def make_hurt(server: Cluster, directory: Path) -> dict[str, tuple[int, ...]]:
    """Damage in the default tablespace, in one behind a link and in one in the data directory."""
    far = directory / "far"
    server.user.make_directory(far)
    execute(
        server,
        f"CREATE TABLESPACE far LOCATION '{far}'",
        "CREATE TABLE hurt AS SELECT g FROM generate_series(1, 5000) g",
        "CREATE TABLE sound AS SELECT g FROM generate_series(1, 5000) g",
        "CREATE TABLE far_away TABLESPACE far AS SELECT g FROM generate_series(1, 5000) g",
    )
    with connect(server.url()) as connection:
        connection.execute("SET allow_in_place_tablespaces = on")
        connection.execute("CREATE TABLESPACE inside LOCATION ''")
        connection.execute("CREATE TABLE within TABLESPACE inside AS SELECT g FROM generate_series(1, 5000) g")
    found = {path_of(server, "hurt"): HURT, path_of(server, "far_away"): (2,), path_of(server, "within"): (5,)}
    stop(server)
    for path, blocks in found.items():
        damage(server, path, blocks)
    start(server)
    return found


@pytest.mark.pg(">= 15")
def test_every_damaged_page_that_a_server_sends_is_named(server: Cluster, server_root: Path) -> None:
    """In every tablespace, though the server names five of a file and may look at no tablespace in its directory.

    The backup verifies, and a copy of it has all that is sound.
    """
    repository = new_repository(server_root)
    hurt = make_hurt(server, server_root)

    backup = take(server, repository, BackupSource.STREAM)

    expected = {DamagedPage(path=path, block=block) for path, blocks in hurt.items() for block in blocks}
    assert set(backup.damaged_pages) == expected
    verify_backup(repository, backup)
    with connected_copy(repository, backup, server_root / "copy") as copy:
        assert copy.execute("SELECT count(*) FROM sound").fetchone() == (5000,)


@pytest.mark.pg(">= 15")
def test_a_session_goes_on_after_the_server_reported_damage(server: Cluster, server_root: Path) -> None:
    """The end's position comes before the error, and the next command after it is answered."""
    hurt = make_hurt(server, server_root)
    session = ReplicationSession(replication_connection(server.url()))
    backup = BaseBackup(session)
    try:
        begun, _ = backup.begin(label="damage", checkpoint=Checkpoint.FAST)
        for _, pieces in backup.entries(1 << 20):
            for _ in pieces:
                pass
        end = backup.finish()
        assert session.identify_system().flush_lsn >= end.lsn > begun.lsn
    finally:
        session.close()

    assert backup.is_damaged
    named = pages_named(
        backup.warnings,
        tablespaces=backup.tablespaces,
        major=server.binaries.version.major,
        segment_blocks=131_072,
        block_size=PAGE,
    )
    (first, *others) = hurt
    assert [page for page in named if page[0] == first] == [(first, block) for block in HURT[:NAMED_OF_A_FILE]]
    assert {path for path, _ in named} >= {others[0]}


@EIGHTEEN
def test_damage_that_a_server_sends_is_told_loudly(server: Cluster, server_root: Path) -> None:
    """On stderr and in --json; the backup exits 0 and is marked."""
    new_repository(server_root)
    execute(server, "CREATE TABLE hurt AS SELECT g FROM generate_series(1, 5000) g")
    path = path_of(server, "hurt")
    stop(server)
    damage(server, path, [1])
    start(server)
    shell = shell_in(server_root / "project", SHOP_URL=server.url().reveal())
    shell.write(
        "safepoint.toml",
        '[database.shop]\nurl = "env:SHOP_URL"\n'
        f'[repository.main]\nurl = "file:{server_root}/repository"\nkey = "none"\n'
        '[tier.daily]\nkeep = "30d"\nrepository = ["main"]\n',
    )

    said = shell.safepoint("backup", "shop", "--source", "stream", "--json")

    assert said.json["damaged_pages"] == [[path, 1]]
    assert said.json["source"] == "stream"
    assert f"block 1 of {path}" in said.err


@EIGHTEEN
@pytest.mark.parametrize("source", [BackupSource.FILES, BackupSource.STREAM], ids=["files", "stream"])
def test_damage_in_what_an_incremental_backup_reads_is_named_and_read_again_until_it_is_mended(
    server_root: Path, source: BackupSource
) -> None:
    """A page that changed since the parent and is damaged; then the same page, sound again by no word of WAL."""
    repository = new_repository(server_root)
    with summarized_cluster(server_root, 18) as server:
        execute(
            server,
            "CREATE TABLE large AS SELECT g AS id, repeat('l', 500) AS t FROM generate_series(1, 20000) g",
            "CREATE UNIQUE INDEX ON large (id)",
            "VACUUM (FREEZE) large",
        )
        path = path_of(server, "large")
        block = page_of(server, 500)
        parent = take(server, repository, source)
        execute(server, "UPDATE large SET t = upper(t) WHERE id = 500", "CHECKPOINT")
        stop(server)
        damage(server, path, [block])
        start(server)
        hurt = take(server, repository, source)
        stop(server)
        damage(server, path, [block])  # the same again: the byte is what it was
        start(server)
        healed = take(server, repository, source)
        wrong = differences(repository, healed, server)

    assert parent.damaged_pages == ()
    assert_incremental(hurt, healed)
    assert hurt.damaged_pages == (DamagedPage(path=path, block=block),)
    assert healed.damaged_pages == ()
    assert wrong == []


def page_of(server: Cluster, row: int) -> int:
    with connect(server.url()) as connection:
        found = connection.execute("SELECT (ctid::text::point)[0]::int FROM large WHERE id = %s", [row]).fetchone()
    assert found is not None
    return int(found[0])


def assert_incremental(*backups: BackupManifest) -> None:
    for backup in backups:
        assert (backup.detection, backup.detection_reason) == (Detection.SUMMARIES, "")

"""Damaged pages in a server: a backup of its files is marked with them, and everything else of it is good."""

from __future__ import annotations

from pathlib import Path

import pytest

from backups import new_repository
from plain_copies import connected_copy
from safepoint.backup.verify import verify_backup
from safepoint.model.backup import BackupSource, DamagedPage
from safepoint.postgres.cluster import Cluster, start, stop
from safepoint.postgres.connect import connect
from shell import shell_in

HURT_PAGE = 1


def damage(server: Cluster) -> str:
    """The path of a relation of which a page, cold on disk, is not what was written."""
    with connect(server.url()) as connection:
        connection.execute("CREATE TABLE hurt AS SELECT g FROM generate_series(1, 5000) g")
        connection.execute("CREATE TABLE sound AS SELECT g FROM generate_series(1, 5000) g")
        row = connection.execute("SELECT pg_relation_filepath('hurt')").fetchone()
    assert row is not None
    stop(server)
    with (server.data / row[0]).open("r+b") as file:
        file.seek(HURT_PAGE * 8192 + 4000)
        file.write(b"\xff\xfe\xfd")
    start(server)
    return str(row[0])


@pytest.mark.pg("18")
def test_damaged_pages_mark_a_backup_and_are_told_loudly(server: Cluster, server_root: Path) -> None:
    """On stderr, in --json and in the list of backups; it exits 0, verifies, and restores all that is sound."""
    repository = new_repository(server_root)
    path = damage(server)
    shell = shell_in(server_root / "project", SHOP_URL=server.url().reveal())
    shell.write(
        "safepoint.toml",
        f'[database.shop]\nurl = "env:SHOP_URL"\ndata = "{server.data}"\n'
        f'[repository.main]\nurl = "file:{server_root}/repository"\nkey = "none"\n'
        '[tier.daily]\nkeep = "30d"\nrepository = ["main"]\n',
    )

    said = shell.safepoint("backup", "shop", "--json")

    assert said.json["damaged_pages"] == [[path, HURT_PAGE]]
    assert said.json["source"] == "files"
    assert f"block {HURT_PAGE} of {path}" in said.err
    (backup,) = repository.backups()
    assert backup.damaged_pages == (DamagedPage(path=path, block=HURT_PAGE),)
    assert backup.source is BackupSource.FILES
    assert path in shell.safepoint("backups", "shop").err
    verify_backup(repository, backup)
    with connected_copy(repository, backup, server_root / "copy") as copy:
        assert copy.execute("SELECT count(*) FROM sound").fetchone() == (5000,)

"""A page that rots where no WAL summary speaks of it: the share that is read again finds it."""

from __future__ import annotations

from pathlib import Path

import pytest

from incremental_work import new_repository, summarized_cluster, take
from safepoint.backup.changes import is_in_share, main_fork_file
from safepoint.backup.sources.changes_known import share_after
from safepoint.backup.summaries_trust import distrust_of
from safepoint.kernel import PAGE_BYTES
from safepoint.model.backup import BackupManifest, BackupSource, DamagedPage, Detection
from safepoint.postgres.cluster import Cluster, start, stop
from safepoint.repository import Repository


@pytest.mark.pg("18")
@pytest.mark.parametrize("source", list(BackupSource), ids=lambda source: source.value)
def test_rot_in_a_page_that_was_to_be_skipped_is_named_as_damage(server_root: Path, source: BackupSource) -> None:
    """It is the disk's fault and not that of WAL summaries: these are believed further on.

    Once the page is mended, the next backup finds it so.
    """
    repository = new_repository(server_root)
    with summarized_cluster(server_root, 18) as server:
        parent = take(server, repository, source)
        path = skipped_file(repository, parent)
        flip_a_byte(server, path)
        hurt = take(server, repository, source)
        flip_a_byte(server, path)
        healed = take(server, repository, source)

    assert hurt.damaged_pages == (DamagedPage(path=path, block=0),)
    assert distrust_of(repository, hurt.system_identifier) is None
    assert healed.damaged_pages == ()
    assert [backup.detection for backup in (hurt, healed)] == [Detection.SUMMARIES] * 2


def skipped_file(repository: Repository, parent: BackupManifest) -> str:
    """A file of a database that nobody uses, of which the next backup reads again what it would skip."""
    return next(
        entry.path
        for entry in repository.files(parent).entries()
        if entry.path.startswith("base/4/")
        and main_fork_file(entry.path)
        and entry.size >= PAGE_BYTES
        and is_in_share(parent.system_identifier, entry.path, share_after(parent))
    )


def flip_a_byte(server: Cluster, path: str) -> None:
    """In the first page of a file; the server is at rest meanwhile."""
    stop(server)
    with (server.data / path).open("r+b") as file:
        page = bytearray(file.read(PAGE_BYTES))
        page[-40] ^= 0xFF
        file.seek(0)
        file.write(page)
    start(server)

"""Repositories in folders, read by the second reader."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

import second_reader
from repository_samples import (
    CLUSTER,
    DATABASE,
    NOON,
    PASSPHRASE,
    sample_manifest,
    take_files,
    with_files,
)
from safepoint.model.backup import BackupManifest
from safepoint.model.secret import Secret
from safepoint.repository import Repository, open_repository
from safepoint.repository.opening import open_keys
from safepoint.repository.sealing.key_changes import rotate
from safepoint.repository.sealing.key_listing import list_keys
from safepoint.stores import FolderStore

PAGE = 8192
SECOND = "20260301T130000Z-2"
OTHER = Secret("another passphrase")


def text_of(passphrase: Secret | None) -> str | None:
    return None if passphrase is None else passphrase.reveal()


def second_restored(folder: Path, key: Secret | None, backup_id: str) -> dict[str, bytes]:
    """Every file of the backup, as the second reader restores it."""
    into = folder.with_name(f"restored-{len(list(folder.parent.iterdir()))}")
    second_reader.restore(folder, text_of(key), backup_id, into)
    return {path.relative_to(into).as_posix(): path.read_bytes() for path in into.rglob("*") if path.is_file()}


def rotate_in(folder: Path) -> Repository:
    """The repository, opened anew after its keys were rotated."""
    store = FolderStore(folder)
    opened = open_keys(store, PASSPHRASE)
    rotate(store, opened, slots={slot.id for slot in list_keys(store, opened)}, clock=lambda: NOON)
    return open_repository(store, PASSPHRASE)


def next_backup(
    repository: Repository, parent: BackupManifest, files: Mapping[str, bytes], number: int
) -> tuple[BackupManifest, dict[str, bytes]]:
    """A backup upon `parent` in which pages changed, files grew and shrank, one came and one went; what it holds."""
    source = random.Random(number)
    kept = {path: content for path, content in files.items() if path != f"new/{number - 2}"}
    new = {f"new/{number}": source.randbytes(70_000)}
    with repository.write_backup(database=DATABASE, cluster=CLUSTER, parent=parent) as writer:
        for path, content in kept.items():
            if len(content) < 3 * PAGE:
                writer.ingest.unchanged(path)
                continue
            kept[path], pages = _changed(content, source)
            named = [(page, kept[path][page * PAGE : (page + 1) * PAGE]) for page in pages]
            writer.ingest.changed_pages(path, mode=0o600, size=len(kept[path]), pages=named)
        take_files(writer.ingest, new)
        manifest = with_files(sample_manifest(f"backup-{number}"), writer.ingest.finish())
        writer.commit(manifest)
    return manifest, kept | new


def _changed(content: bytes, source: random.Random) -> tuple[bytes, list[int]]:
    """The file with two other pages and maybe another end, and the pages that must be named, ascending."""
    shorter = len(content) - source.choice((0, 0, 1, PAGE + 9))
    changed = bytearray(content[:shorter] + source.randbytes(source.choice((0, 0, 1, PAGE + 9))))
    within = source.sample(range(len(changed) // PAGE), 2)
    for page in within:
        changed[page * PAGE : page * PAGE + 8] = source.randbytes(8)
    last = (len(changed) - 1) // PAGE
    return bytes(changed), sorted({*within, *range(shorter // PAGE, last), last})

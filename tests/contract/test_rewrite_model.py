"""Backups, expiry, collections and rewriting in any order, two writers at work all the while: nothing is ever lost."""

from __future__ import annotations

import random

import pytest

from repository_samples import CLUSTER, DATABASE, make_repository, sample_manifest, with_files
from rewriting import Contents, History, collect_garbage, must_hold, opened_again
from safepoint import errors
from safepoint.repository import Repository
from safepoint.repository.care.rewrite import OldPack, RewritePlan, plan_repack, repack, reseal
from safepoint.stores.memory import MemoryStore


class Writer:
    """A backup that takes its time: it begins, takes files in and commits with anything in between."""

    def __init__(self, repository: Repository, name: str, files: Contents) -> None:
        self.name, self.files = name, files
        parents = repository.backups()
        self._context = repository.write_backup(
            database=DATABASE, cluster=CLUSTER, parent=parents[-1] if parents else None
        )
        self._writer = self._context.__enter__()

    def take(self) -> None:
        """The files are with the store."""
        for path, content in self.files.items():
            with self._writer.ingest.file(path, mode=0o600) as file:
                file.write(content)
        self._manifest = with_files(sample_manifest(self.name), self._writer.ingest.finish())

    def commit(self) -> bool:
        """Whether the backup exists: refused is allowed, a backup with anything missing is not."""
        try:
            self._writer.commit(self._manifest)
        except errors.Damaged:
            return False
        finally:
            self._context.__exit__(None, None, None)
        return True


def some_files(rng: random.Random) -> Contents:
    """Some of ten files, so that blobs are dropped and wanted again."""
    return {f"base/5/{n}": random.Random(n).randbytes(40_000) for n in rng.sample(range(10), rng.randrange(1, 5))}


def rewrite_all(repository: Repository) -> None:
    """Every pack that is needed is replaced, as by a reseal."""
    packs = (OldPack(pack=pack, cluster=CLUSTER, stored_bytes=1, needed_bytes=1) for pack in repository.needed_packs())
    reseal(repository, RewritePlan(packs=tuple(packs)))


@pytest.mark.parametrize("seed", range(20, 32))
def test_no_order_loses_a_backup(seed: int) -> None:
    """Every backup that was committed and not expired reads back after every step."""
    rng = random.Random(seed)
    repository = make_repository(MemoryStore(), None)
    history: History = {}
    writers: list[tuple[Writer, list[str]]] = []
    for step in range(60):
        again = opened_again(repository)
        match rng.choice(("begin", "go on", "go on", "go on", "expire", "collect", "repack", "rewrite")):
            case "begin" if len(writers) < 2:
                writers.append((Writer(again, f"b{step}", some_files(rng)), ["take", "commit"]))
            case "go on" if writers:
                writer, rest = rng.choice(writers)
                if rest.pop(0) == "take":
                    writer.take()
                else:
                    writers = [found for found in writers if found[0] is not writer]
                    history |= {writer.name: writer.files} if writer.commit() else {}
            case "expire" if len(history) > 1:
                name = rng.choice(sorted(history))
                again.expire_backup(name, reason="a test")
                del history[name]
            case "collect":
                collect_garbage(again)
            case "repack":
                repack(again, plan_repack(again, least_share=rng.choice((0.5, 1.0))))
            case "rewrite":
                rewrite_all(again)
            case _:
                continue
        must_hold(repository, history)

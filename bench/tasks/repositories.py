"""Repositories as the tasks need them: in a folder, encrypted, with backups of whole directories."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.changes import PAGE_BYTES, read_changed
from bench.project import KEY
from safepoint.model.secret import Secret
from safepoint.postgres.page_checksum import bad_pages
from safepoint.repository import Repository, create_repository, open_repository
from safepoint.repository.maps.ingest import Ingest, Inspect
from safepoint.stores.folder import FolderStore
from safepoint.stores.port import Store

DATABASE = "shop"
DIRECTORY_MODE = 0o700
FILE_MODE = 0o600

_KEY = Secret(KEY)
_SEGMENT_PAGES = 131_072
_FORK = re.compile(r"(?:base/\d+|global)/\d+(?:_fsm|_vm|_init)?(?:\.(\d+))?")


def new_repository(folder: Path) -> Repository:
    """An empty, encrypted repository in the folder; what was there before is gone."""
    shutil.rmtree(folder, ignore_errors=True)
    return create_repository(FolderStore(folder), _KEY)


def opened(folder: Path, wrap: Callable[[Store], Store] = lambda store: store) -> Repository:
    """The repository in the folder, through whatever `wrap` puts around its store."""
    return open_repository(wrap(FolderStore(folder)), _KEY)


def give_whole(ingest: Ingest, data: Path, path: str) -> None:
    """The backup has this file, read from the first byte to the last, every page's checksum proved."""
    ingest.read_file(path, f"{data}/{path}", mode=FILE_MODE, inspect=_proof(path))


def give_changed(ingest: Ingest, data: Path, path: str, pages: Sequence[int], seed: int) -> None:
    """The backup has this file with these pages changed, named to it, and nothing else of it read."""
    size = (data / path).stat().st_size
    ingest.changed_pages(path, mode=FILE_MODE, size=size, pages=read_changed(data / path, pages, seed))


def _proof(path: str) -> Inspect | None:
    """What proves the checksums of a fork's pages; None for a file that has none."""
    fork = _FORK.fullmatch(path)
    if fork is None:
        return None
    segment = int(fork[1] or 0)

    def prove(pages: memoryview, offset: int) -> None:
        wrong = bad_pages(pages, segment * _SEGMENT_PAGES + offset // PAGE_BYTES, start_lsn=None)
        if wrong:
            raise ValueError(f"found wrong checksums in {path}, blocks {wrong[:5]}, expected none")

    return prove

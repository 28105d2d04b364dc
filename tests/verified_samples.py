"""A repository in a folder to be verified, a clock that is set by hand, and ways to damage it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from repository_samples import (
    NOON,
    commit_manifest,
    fill,
    make_repository,
    sample_manifest,
)
from safepoint.repository import Repository
from safepoint.repository.care.finding import Finding
from safepoint.repository.maps.references import References
from safepoint.repository.names import pack_name
from safepoint.repository.packs.pack import BlobKind
from safepoint.stores import FolderStore

DAY = timedelta(days=1)


@dataclass
class HandClock:
    """Goes when it is told to."""

    now: datetime = field(default=NOON)

    def __call__(self) -> datetime:
        return self.now


def make_healthy(root: Path) -> Path:
    """A repository with one object of each kind, and a second database."""
    repository = make_repository(FolderStore(root))
    fill(repository)
    other = replace(sample_manifest("billing"), database="billing", system_identifier="1111111111111111111")
    commit_manifest(repository, other, {"base/7/20000": random.Random(2).randbytes(300_000)})
    return root


def data_pack(repository: Repository, backup_id: str) -> str:
    """A pack of data that the backup needs."""
    manifest = repository.backup(backup_id)
    references = References(repository.files(manifest).nodes)
    return next(pack_name(ref.pack) for ref, kind in references.of(manifest.root) if kind is BlobKind.DATA)


def flip(path: Path, at: int) -> None:
    """One bit of the file is another."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def only(findings: tuple[Finding, ...]) -> Finding:
    """The one finding."""
    (finding,) = findings
    return finding

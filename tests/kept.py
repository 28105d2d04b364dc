"""Repositories as a person at a terminal cares for them: two that a strategy file names, with backups in the first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from repository_samples import CHEAP, commit_manifest, sample_files, sample_manifest
from safepoint.model.backup import BackupManifest
from safepoint.model.secret import Secret
from safepoint.repository import Repository, create_repository, open_repository
from safepoint.repository.opening import open_keys
from safepoint.stores import FolderStore
from shell import Said, Shell, shell_in

KEY, DR_KEY = "a passphrase", "another one"
STRATEGY = """
[database.shop]
url = "env:DATABASE_URL"

[repository.main]
url = "file:main"
key = "env:SAFEPOINT_KEY"

[repository.dr]
url = "file:dr"
key = "env:DR_KEY"

[repository.open]
url = "file:open"
key = "none"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The folder with the strategy file, and its repositories."""

    shell: Shell

    def run(self, verb: str, *arguments: str, ends: int = 0) -> Said:
        """`safepoint repository VERB …`."""
        return self.shell.safepoint("repository", verb, *arguments, ends=ends)

    def store(self, name: str = "main") -> FolderStore:
        """Where the repository of that name is."""
        return FolderStore(self.folder(name))

    def folder(self, name: str = "main") -> Path:
        """The repository's folder."""
        return self.shell.folder / name

    def opened(self, name: str = "main") -> Repository:
        """The repository, in this process."""
        keys = {"main": Secret(KEY), "dr": Secret(DR_KEY)}
        return open_repository(self.store(name), keys.get(name))

    def back_up(self, backup_id: str, *, seed: int = 1, age: int = 0, **fields: str) -> BackupManifest:
        """A backup of the shop in the first repository, `age` hours old."""
        manifest = replace(sample_manifest(backup_id, age), **fields)
        return commit_manifest(self.opened(), manifest, sample_files(seed))

    def objects(self, prefix: str, name: str = "main") -> list[str]:
        """Names of what is stored."""
        return list(self.store(name).list(prefix))

    def damage(self, name: str, repository: str = "main") -> None:
        """One bit in the middle of the object is another."""
        path = self.folder(repository) / name
        path.chmod(0o600)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)


def make_kept(folder: Path, variables: Mapping[str, str] | None = None) -> Kept:
    """The folder; its first repository is empty and encrypted, under a passphrase that is cheap to try."""
    shell = shell_in(folder / "project", SAFEPOINT_KEY=KEY, DR_KEY=DR_KEY, **(variables or {}))
    shell.write("safepoint.toml", STRATEGY)
    kept = Kept(shell=shell)
    create_repository(kept.store(), Secret(KEY), cost=CHEAP)
    return kept


def make_sibling(kept: Kept, name: str = "dr") -> Repository:
    """The second repository, as the sibling of the first."""
    return create_repository(
        kept.store(name), Secret(DR_KEY), cost=CHEAP, sibling_of=open_keys(kept.store(), Secret(KEY))
    )

"""A repository in a folder that a check passes, ways to damage it, and what a check says of that."""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from repository_samples import (
    CLUSTER,
    MARK,
    MEBIBYTE,
    PASSPHRASE,
    SEGMENT,
    back_up,
    commit_manifest,
    make_repository,
    read_files,
    sample_manifest,
    take_files,
    wal_bytes,
)
from safepoint.model.backup import BackupManifest
from safepoint.repository import Repository, open_repository
from safepoint.repository.care.finding import Finding, FindingKind
from safepoint.repository.commit.journal_finding import Severity
from safepoint.repository.commit.manifest import manifest_to_json
from safepoint.repository.maps.references import References
from safepoint.repository.names import pack_name
from safepoint.repository.packs.pack import BlobKind
from safepoint.repository.sealing.objects import seal_object
from safepoint.repository.sealing.seal import Kind
from safepoint.stores import FolderStore

OTHER_CLUSTER = "1111111111111111111"
LARGE = MEBIBYTE


@dataclass(frozen=True)
class Sample:
    """A repository in a folder: two backups of shop on one another, one of billing, and what each of them holds."""

    root: Path
    repository: Repository
    first: BackupManifest
    second: BackupManifest
    billing: BackupManifest
    contents: dict[str, dict[str, bytes]]

    @property
    def backups(self) -> tuple[BackupManifest, ...]:
        """All of them."""
        return (self.first, self.second, self.billing)

    def path(self, name: str) -> Path:
        """The object's file."""
        return self.root / name

    def opened(self) -> Repository:
        """The repository as somebody else opens it, who remembers nothing."""
        return open_repository(FolderStore(self.root), PASSPHRASE)

    def manifest_name(self, manifest: BackupManifest) -> str:
        """The object's name."""
        names = {self.repository.read_manifest(name).id: name for name in self.repository.store.list("backups/")}
        return names[manifest.id]

    def packs(self, manifest: BackupManifest, kind: BlobKind) -> list[str]:
        """The packs that the backup needs, of one kind, by name."""
        references = References(self.repository.files(manifest).nodes)
        return sorted({pack_name(ref.pack) for ref, found in references.of(manifest.root) if found is kind})

    def own_packs(self, manifest: BackupManifest, kind: BlobKind) -> list[str]:
        """The packs that the backup alone needs."""
        others = {name for other in self.backups if other != manifest for name in self.packs(other, kind)}
        return [name for name in self.packs(manifest, kind) if name not in others]


def make_sample(root: Path) -> Sample:
    """Healthy, with what a life leaves behind: an expired backup and an abandoned writer. To be copied."""
    repository = make_repository(FolderStore(root))
    source = random.Random(3)
    large = source.randbytes(LARGE)
    first = {"base/5/16384": large, "base/5/16385": b"same" * 5000, "global/1260": b"roles"}
    second = {**first, "base/5/16384": large[:8192] + source.randbytes(8192) + large[16384:], "base/5/16999": b"new"}
    billing = {"base/7/20000": source.randbytes(MEBIBYTE)}
    expired = back_up(repository, {"base/5/1": source.randbytes(100_000)}, "expired", age=30)
    one = back_up(repository, first, "first", age=20)
    two = back_up(repository, second, "second", age=10, parent=one)
    manifest = replace(sample_manifest("billing"), database="billing", system_identifier=OTHER_CLUSTER)
    three = commit_manifest(repository, manifest, billing)
    fill_wal(repository)
    repository.expire_backup(expired.id, reason="retention")
    with pytest.raises(ZeroDivisionError):
        abandon(repository, source.randbytes(200_000))
    contents = {"first": first, "second": second, "billing": billing}
    return Sample(root=root, repository=repository, first=one, second=two, billing=three, contents=contents)


def copy_of_sample(sample: Sample, root: Path) -> Sample:
    """The same, for a test to damage."""
    shutil.copytree(sample.root, root)
    return replace(sample, root=root, repository=open_repository(FolderStore(root), PASSPHRASE))


def fill_wal(repository: Repository) -> None:
    """A segment and a record."""
    repository.put_wal_segment(CLUSTER, SEGMENT, wal_bytes(), history=b"", mark=MARK)
    repository.append_record("drill", {"database": "shop", "seconds": 1.5})


def abandon(repository: Repository, content: bytes) -> None:
    """A writer that dies after its packs were put."""
    with repository.write_backup(database="shop", cluster=CLUSTER) as writer:
        take_files(writer.ingest, {"base/5/7": content})
        writer.ingest.finish()
        raise ZeroDivisionError


def flip(path: Path, at: int) -> None:
    """One bit of the file is another."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def swap(one: Path, other: Path) -> None:
    """Each file has the bytes of the other."""
    ours, theirs = one.read_bytes(), other.read_bytes()
    one.write_bytes(theirs)
    other.write_bytes(ours)


def damage_of(findings: tuple[Finding, ...]) -> dict[FindingKind, Finding]:
    """What is proven wrong, by kind."""
    return {finding.kind: finding for finding in findings if finding.is_damage}


def unknown_of(findings: tuple[Finding, ...]) -> dict[FindingKind, Finding]:
    """What is unknown, by kind."""
    return {finding.kind: finding for finding in findings if finding.severity is Severity.UNKNOWN}


def must_restore(sample: Sample, *manifests: BackupManifest) -> None:
    """Each of the backups gives back what went in."""
    repository = sample.opened()
    for manifest in manifests:
        assert read_files(repository, manifest) == sample.contents[manifest.id]


def affected_ids(finding: Finding) -> set[str]:
    """The backups that it names."""
    return {affected.backup_id for affected in finding.affected}


def sealed_again(repository: Repository, name: str, manifest: BackupManifest) -> bytes:
    """The bytes of a manifest's object."""
    return seal_object(repository.keyring, Kind.MANIFEST, name, manifest_to_json(manifest))

"""A model of backups: dictionaries of bytes that change from backup to backup, taken in by every way there is."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from repository_samples import CLUSTER, DATABASE, read_files, sample_manifest, take_files, with_files
from safepoint.model.backup import BackupManifest
from safepoint.repository import Ingest, Repository
from safepoint.repository.maps.shape import GROUP_BYTES, PAGE_BYTES

LARGE = random.Random(3).randbytes(4 * GROUP_BYTES)
SMALL_CHUNK = 2 * GROUP_BYTES
_SIZES = (
    0,
    1,
    PAGE_BYTES - 1,
    PAGE_BYTES,
    PAGE_BYTES + 1,
    65_535,
    65_536,
    65_537,
    GROUP_BYTES - 1,
    GROUP_BYTES,
    GROUP_BYTES + 1,
    SMALL_CHUNK - PAGE_BYTES,
    SMALL_CHUNK - 1,
    SMALL_CHUNK,
    SMALL_CHUNK + 1,
    SMALL_CHUNK + 3 * PAGE_BYTES,
    2 * SMALL_CHUNK + 5 * PAGE_BYTES + 77,
)
_PATHS = ("PG_VERSION", "base/1", "base/2", "base/3/x", "base/3/y", "global/1260")


def use_small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of two groups, so that small files have several. The format's numbers are read by name in many modules."""
    groups = SMALL_CHUNK // GROUP_BYTES
    numbers = {
        "CHUNK_GROUPS": groups,
        "CHUNK_PAGES": groups * GROUP_BYTES // PAGE_BYTES,
        "CHUNK_BYTES": SMALL_CHUNK,
        "BATCH_BYTES": GROUP_BYTES,
    }
    for name, module in list(sys.modules.items()):
        if name.startswith("safepoint.repository.maps"):
            for number, value in numbers.items():
                if hasattr(module, number):
                    monkeypatch.setattr(module, number, value)


def pages_of(content: bytes) -> list[bytes]:
    """The pages of a file; the last may be short."""
    return [content[at : at + PAGE_BYTES] for at in range(0, len(content), PAGE_BYTES)]


def changed_pages(before: bytes, after: bytes) -> list[tuple[int, bytes]]:
    """The pages of `after` that are not the same in `before`."""
    old = pages_of(before)
    return [(number, page) for number, page in enumerate(pages_of(after)) if old[number : number + 1] != [page]]


def with_pages(content: bytes, pages: dict[int, bytes]) -> bytes:
    """The file with other bytes in these pages."""
    return b"".join(pages.get(number, page) for number, page in enumerate(pages_of(content)))


@dataclass(kw_only=True)
class IngestModel:
    """What was backed up, and what must be read back of each backup."""

    repository: Repository
    rng: random.Random
    files: dict[str, bytes] = field(default_factory=dict[str, bytes])
    backups: list[tuple[BackupManifest, dict[str, bytes]]] = field(
        default_factory=list[tuple[BackupManifest, dict[str, bytes]]]
    )

    def step(self) -> None:
        """The files change, are backed up on top of some backup or none, and everything reads back."""
        for path in self.rng.sample(_PATHS, self.rng.randrange(len(_PATHS))):
            self._change(path)
        parent, before = self._parent()
        self.take(parent, before)

    def take(self, parent: BackupManifest | None, before: dict[str, bytes]) -> BackupManifest:
        """Backs up, each file in one of the ways that are right for it."""
        with self.repository.write_backup(database=DATABASE, cluster=CLUSTER, parent=parent) as writer:
            paths = list(self.files)
            self.rng.shuffle(paths)
            for path in paths:
                self._take_file(writer.ingest, path, before.get(path))
            for number in range(self.rng.randrange(2)):
                writer.ingest.directory(f"empty/{number}", 0o700)
            manifest = with_files(sample_manifest(str(len(self.backups))), writer.ingest.finish())
            writer.commit(manifest)
        self.backups.append((manifest, dict(self.files)))
        return manifest

    def expire_some(self) -> None:
        """Older backups may go: what the others need stays."""
        if len(self.backups) > 2 and self.rng.random() < 0.3:
            manifest, _ = self.backups.pop(self.rng.randrange(len(self.backups) - 1))
            self.repository.expire_backup(manifest.id, reason="a test")

    def require_all(self) -> None:
        """Every backup reads back equal: whole, and at random."""
        for manifest, files in self.backups:
            assert read_files(self.repository, manifest) == files
            self._require_at_random(manifest, files)

    def _require_at_random(self, manifest: BackupManifest, files: dict[str, bytes]) -> None:
        backup = self.repository.files(manifest)
        for path, content in files.items():
            file = backup.open(path)
            assert file.size == len(content)
            for _ in range(6):
                offset = self.rng.randrange(len(content) + 2)
                length = self.rng.choice([0, 1, PAGE_BYTES, PAGE_BYTES + 1, 70_000, self.rng.randrange(600_000)])
                assert file.read(offset, length) == content[offset : offset + length]

    def _parent(self) -> tuple[BackupManifest | None, dict[str, bytes]]:
        """Mostly the newest backup, sometimes an older one or none."""
        luck = self.rng.random()
        if not self.backups or luck < 0.1:
            return None, {}
        return self.backups[-1] if luck < 0.7 else self.rng.choice(self.backups)

    def _change(self, path: str) -> None:
        content = self.files.get(path)
        if content is None:
            others = list(self.files.values())
            is_copy = bool(others) and self.rng.random() < 0.3
            self.files[path] = self.rng.choice(others) if is_copy else self._content(self.rng.choice(_SIZES))
            return
        what = self.rng.choice(["remove", "resize", "resize", "scatter", "scatter", "dense", "rewrite"])
        if what == "remove":
            del self.files[path]
        elif what == "resize":
            size = self.rng.choice([*_SIZES, self.rng.randrange(2 * SMALL_CHUNK)])
            self.files[path] = content[:size] + self._content(max(size - len(content), 0))
        elif what == "rewrite":
            self.files[path] = self._content(len(content))
        else:
            self.files[path] = self._with_changes(content, 0.05 if what == "scatter" else 0.7)

    def _with_changes(self, content: bytes, share: float) -> bytes:
        numbers = [number for number in range(len(pages_of(content))) if self.rng.random() < share]
        return with_pages(content, {number: self._content(len(pages_of(content)[number])) for number in numbers})

    def _content(self, size: int) -> bytes:
        """Random, or zeros, or one page again and again."""
        luck = self.rng.random()
        if luck < 0.2:
            return bytes(size)
        if luck < 0.3:
            return (self.rng.randbytes(PAGE_BYTES) * (size // PAGE_BYTES + 1))[:size]
        return self.rng.randbytes(size)

    def _take_file(self, ingest: Ingest, path: str, before: bytes | None) -> None:
        content, luck = self.files[path], self.rng.random()
        if content == before and luck < 0.4:
            ingest.unchanged(path)
        elif luck < 0.7:
            self._take_pages(ingest, path, before or b"")
        else:
            with ingest.file(path, mode=0o600) as file:
                for piece in self._pieces(content):
                    file.write(piece)

    def _take_pages(self, ingest: Ingest, path: str, before: bytes) -> None:
        """The pages that changed, and some that did not: the caller may not know better."""
        content = self.files[path]
        named = dict(changed_pages(before, content))
        named |= {number: page for number, page in enumerate(pages_of(content)) if self.rng.random() < 0.05}
        ingest.changed_pages(path, mode=0o600, size=len(content), pages=sorted(named.items()))

    def _pieces(self, content: bytes) -> Iterator[bytes]:
        at = 0
        while at < len(content):
            size = self.rng.choice([1, 1000, PAGE_BYTES, GROUP_BYTES, SMALL_CHUNK, 1_000_000])
            yield content[at : at + size]
            at += size


def take(
    repository: Repository, fill: Callable[[Ingest], object], parent: BackupManifest | None = None, backup_id: str = "x"
) -> BackupManifest:
    """A backup of what `fill` hands to the ingest."""
    with repository.write_backup(database=DATABASE, cluster=CLUSTER, parent=parent) as writer:
        fill(writer.ingest)
        manifest = with_files(sample_manifest(backup_id), writer.ingest.finish())
        writer.commit(manifest)
    return manifest


def whole(path: str, content: bytes) -> Callable[[Ingest], None]:
    """The file given whole."""
    return lambda ingest: take_files(ingest, {path: content})


def by_pages(path: str, before: bytes, after: bytes) -> Callable[[Ingest], None]:
    """The file given by its changed pages."""
    pages = changed_pages(before, after)
    return lambda ingest: ingest.changed_pages(path, mode=0o600, size=len(after), pages=pages)


BOTH_WAYS = pytest.mark.parametrize("way", ["whole", "by pages"])


def given(way: str, before: bytes, after: bytes, path: str = "base/1") -> Callable[[Ingest], None]:
    """The file in one of both ways."""
    return whole(path, after) if way == "whole" else by_pages(path, before, after)

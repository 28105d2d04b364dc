"""Delta restores: whatever a directory held, it ends byte by byte as a fresh one, and only what differs is read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ingest_model import use_small_chunks
from repository_samples import make_repository
from safepoint import errors
from safepoint.model.backup import BackupManifest
from safepoint.recovery import comparing, delta, files, surplus
from safepoint.recovery.marker import MARKER
from safepoint.repository import Repository
from safepoint.repository.maps.shape import PAGE_BYTES
from safepoint.stores import MemoryStore
from written_copies import CONTROL, FILES, back_up_cluster, harm, judges, state_of, verdict, write_copy

ALL_BYTES = sum(map(len, FILES.values()))


class Killed(BaseException):
    """Nobody catches it."""


@pytest.fixture(scope="module")
def repository() -> Repository:
    """One that holds a backup."""
    return make_repository(MemoryStore())


@pytest.fixture(scope="module")
def backup(repository: Repository) -> BackupManifest:
    """Of something like a cluster."""
    return back_up_cluster(repository)


@pytest.fixture
def fresh(repository: Repository, backup: BackupManifest, tmp_path: Path) -> Path:
    """A directory as a restore writes it."""
    directory = tmp_path / "fresh"
    written = write_copy(repository, backup, directory)
    assert (written.bytes, written.fetched_bytes, written.files) == (ALL_BYTES, ALL_BYTES, len(FILES))
    return directory


def test_where_nothing_differs_only_the_control_file_is_read(
    repository: Repository, backup: BackupManifest, fresh: Path
) -> None:
    """Everything else is compared where it stands, and not written."""
    before = state_of(fresh)
    times = {path: path.lstat().st_mtime_ns for path in (fresh / "base").rglob("*")}

    written = write_copy(repository, backup, fresh, is_delta=True)

    assert (written.bytes, written.fetched_bytes, written.files) == (ALL_BYTES, len(FILES[CONTROL]), len(FILES))
    assert state_of(fresh) == before
    assert {path: path.lstat().st_mtime_ns for path in (fresh / "base").rglob("*")} == times


def test_into_an_empty_directory_everything_is_read(
    repository: Repository, backup: BackupManifest, fresh: Path, tmp_path: Path
) -> None:
    """A delta with nothing to build upon is a whole restore."""
    written = write_copy(repository, backup, tmp_path / "empty", is_delta=True)

    assert written.fetched_bytes == ALL_BYTES
    assert state_of(tmp_path / "empty") == state_of(fresh)


def test_only_pages_that_differ_are_read(repository: Repository, backup: BackupManifest, fresh: Path) -> None:
    """Scattered ones, the last short one, and those behind an early end."""
    before = state_of(fresh)
    with (fresh / "base/5/1").open("r+b") as file:
        for page in (0, 7, 8, 511, 512, 599):
            file.seek(page * PAGE_BYTES + 100)
            file.write(b"other")
    os.truncate(fresh / "base/5/2", 68 * PAGE_BYTES + 1)

    written = write_copy(repository, backup, fresh, is_delta=True)

    assert written.fetched_bytes == (6 + 2) * PAGE_BYTES + 100 + len(FILES[CONTROL])
    assert state_of(fresh) == before


@pytest.mark.parametrize("seed", range(12))
def test_whatever_a_directory_held_it_ends_as_a_fresh_one(
    repository: Repository, backup: BackupManifest, fresh: Path, tmp_path: Path, seed: int
) -> None:
    """Bytes, modes, kinds, links, surplus; PostgreSQL's own judge agrees."""
    harmed = tmp_path / "harmed"
    write_copy(repository, backup, harmed)
    harm(harmed, seed)
    assert state_of(harmed) != state_of(fresh)

    write_copy(repository, backup, harmed, is_delta=True)

    assert state_of(harmed) == state_of(fresh)
    assert verdict(judges()[0], harmed) == ""


def test_files_of_several_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a backup on top of another, over the directory of the first: only what changed between them is read."""
    use_small_chunks(monkeypatch)
    repository = make_repository(MemoryStore())
    first = back_up_cluster(repository)
    changed = bytearray(FILES["base/5/1"])
    for page in (3, 63, 64, 65, 128, 599):
        changed[page * PAGE_BYTES] ^= 1
    files_now = {**FILES, "base/5/1": bytes(changed)}
    second = back_up_cluster(repository, files_now, parent=first)
    write_copy(repository, first, tmp_path / "over")
    write_copy(repository, second, tmp_path / "fresh")

    written = write_copy(repository, second, tmp_path / "over", is_delta=True)

    assert written.fetched_bytes == 6 * PAGE_BYTES + len(FILES[CONTROL])
    assert state_of(tmp_path / "over") == state_of(tmp_path / "fresh")
    assert (tmp_path / "over/base/5/1").read_bytes() == changed


def test_nothing_outside_is_touched(
    repository: Repository, backup: BackupManifest, fresh: Path, tmp_path: Path
) -> None:
    """Links to elsewhere and second names of files are no part of the directory."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    os.link(fresh / "base/5/1", elsewhere / "second-name")
    (fresh / "base/5/2").unlink()
    (elsewhere / "file").write_text("not yours")
    (fresh / "base/5/2").symlink_to(elsewhere / "file")
    (fresh / "pg_wal").rmdir()
    (elsewhere / "wal").mkdir()
    (elsewhere / "wal" / "segment").write_text("not yours")
    (fresh / "pg_wal").symlink_to(elsewhere / "wal")
    (fresh / "surplus").symlink_to(elsewhere)
    with (fresh / "base/5/1").open("r+b") as file:
        file.write(b"changed")
    before = state_of(elsewhere)

    write_copy(repository, backup, fresh, is_delta=True)

    assert state_of(elsewhere) == before
    assert (fresh / "base/5/1").read_bytes() == FILES["base/5/1"]
    assert (fresh / "pg_wal").is_dir()
    assert not (fresh / "pg_wal").is_symlink()


_STEPS: tuple[tuple[object, str, int], ...] = (
    (surplus, "sync_directory", 1),
    (surplus, "remove", 1),
    (surplus, "remove", 2),
    (comparing, "_read", 1),
    (comparing, "_read", 2),
    (delta, "write_all", 1),
    (delta, "crc32c", 1),
    (delta, "crc32c", 2),
    (delta, "make_empty", 1),
    (delta, "set_mode", 1),
    (delta, "set_mode", 2),
    (files, "sync_filesystem", 1),
    (files, "sync_filesystem", 2),
)


@pytest.mark.parametrize(("module", "name", "nth"), _STEPS, ids=[f"{name}-{nth}" for _, name, nth in _STEPS])
def test_killed_anywhere_it_goes_on(
    repository: Repository,
    backup: BackupManifest,
    fresh: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: object,
    name: str,
    nth: int,
) -> None:
    """There is no control file before everything else is there, and the same call again ends it."""
    harmed = tmp_path / "harmed"
    write_copy(repository, backup, harmed)
    harm(harmed, 5)
    with (harmed / "base/5/1").open("r+b") as file:
        file.write(b"changed")
    with monkeypatch.context() as patch:
        patch.setattr(module, name, _killing(getattr(module, name), nth))
        with pytest.raises(Killed):
            write_copy(repository, backup, harmed, is_delta=True)
        assert not (harmed / CONTROL).exists() or (name, nth) == ("sync_filesystem", 2)

    write_copy(repository, backup, harmed, is_delta=True)

    assert state_of(harmed) == state_of(fresh)


def _killing(function: Callable[..., object], nth: int) -> Callable[..., object]:
    """It, until the nth call."""
    calls = 0

    def killed(*arguments: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if calls >= nth:
            raise Killed
        return function(*arguments, **options)

    return killed


def test_a_directory_that_is_not_marked_is_left_alone(
    repository: Repository, backup: BackupManifest, fresh: Path
) -> None:
    """RC002: nobody claimed it."""
    (fresh / MARKER).unlink()
    (fresh / "precious").write_text("mine")
    before = state_of(fresh)

    with pytest.raises(errors.Refused, match=r"RC002: found no safepoint\.restoring in"):
        files.write_files(repository, backup, fresh, lambda _: None, is_delta=True)

    assert state_of(fresh) == before


def test_a_full_disk_is_told(
    repository: Repository, backup: BackupManifest, fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RC002, and the same command goes on."""
    (fresh / "base/5/1").unlink()

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("safepoint.recovery.file_writer.write_past_cache", refuse)
        with pytest.raises(errors.Refused, match=r"RC002: .*No space left"):
            write_copy(repository, backup, fresh, is_delta=True)
    assert not (fresh / CONTROL).exists()

    assert write_copy(repository, backup, fresh, is_delta=True).bytes == ALL_BYTES

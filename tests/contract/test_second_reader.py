"""What safepoint writes, a reader that was written from docs/FORMAT.md alone restores byte for byte, or refuses."""

from __future__ import annotations

import ast
import random
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest

import second_reader
from repository_samples import (
    BACKUP,
    CHEAP,
    CLUSTER,
    DATABASE,
    MARK,
    MEBIBYTE,
    NOON,
    PASSPHRASE,
    SEGMENT,
    TIMELINE,
    assert_proven,
    back_up,
    make_repository,
    sample_files,
    sample_manifest,
    take_files,
    wal_bytes,
    with_files,
)
from safepoint.model.lsn import TimelineId, WalSegment
from safepoint.model.secret import Secret
from safepoint.repository import Repository, open_repository
from safepoint.repository.care.rewrite import reseal
from safepoint.repository.opening import open_keys
from safepoint.repository.sealing.key_changes import add_key, add_recovery_key
from safepoint.stores import FolderStore
from second_reader import Unreadable
from second_reading import OTHER, PAGE, SECOND, next_backup, rotate_in, second_restored, text_of

CHUNK = 256 * MEBIBYTE
HISTORY = b"1\t0/3000000\tno recovery target specified\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the repository lies."""
    return tmp_path / "store"


@pytest.fixture
def repository(folder: Path, passphrase: Secret | None) -> Iterator[Repository]:
    """A new repository, encrypted or not; whatever a test did to it with its own means, it is still whole."""
    repository = make_repository(FolderStore(folder), passphrase)
    yield repository
    assert_proven(open_repository(FolderStore(folder), passphrase))


@pytest.fixture
def encrypted(folder: Path) -> Repository:
    """A new repository with a passphrase."""
    return make_repository(FolderStore(folder), PASSPHRASE)


def test_the_reader_is_small_and_shares_nothing_with_safepoint() -> None:
    """At most 300 lines; of other people's code blake3, zstandard and cryptography only."""
    source = Path(second_reader.__file__).read_text()
    imported: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported |= {name.name.split(".")[0] for name in node.names}
        if isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").split(".")[0])

    assert len(source.splitlines()) <= 300
    assert imported - {"blake3", "zstandard", "cryptography"} <= {
        *("collections", "contextlib", "dataclasses", "functools", "io"),
        *("json", "os", "pathlib", "re", "struct", "typing"),
    }


def test_a_first_backup_is_restored_with_its_directories_and_modes(
    folder: Path, repository: Repository, passphrase: Secret | None, tmp_path: Path
) -> None:
    """Small, large and empty files, empty directories, and a path that is no UTF-8."""
    files = sample_files() | {"base/5/odd-\udcff": b"odd"}
    with repository.write_backup(database=DATABASE, cluster=CLUSTER) as writer:
        take_files(writer.ingest, files)
        writer.ingest.directory("pg_wal", 0o500)
        writer.commit(with_files(sample_manifest(), writer.ingest.finish()))

    second_reader.restore(folder, text_of(passphrase), BACKUP, tmp_path / "restored")

    found = {path.relative_to(tmp_path / "restored").as_posix(): path for path in (tmp_path / "restored").rglob("*")}
    assert {name: path.read_bytes() for name, path in found.items() if path.is_file()} == files
    assert {name for name, path in found.items() if path.is_dir()} == {"base", "base/5", "global", "pg_wal"}
    assert {name: path.stat().st_mode & 0o7777 for name, path in found.items()} == {
        name: 0o600 if path.is_file() else 0o500 if name == "pg_wal" else 0o700 for name, path in found.items()
    }
    (manifest,) = second_reader.backups(folder, text_of(passphrase)).values()
    assert (manifest["file_count"], manifest["raw_bytes"]) == (len(files), sum(map(len, files.values())))


def test_each_of_eleven_backups_that_build_on_one_another_is_restored(
    folder: Path, repository: Repository, passphrase: Secret | None
) -> None:
    """Some pages changed each time; files grow, shrink, come and go."""
    files = sample_files() | {"base/5/16390": random.Random(2).randbytes(900_000)}
    manifest = back_up(repository, files)
    expected = {manifest.id: files}
    for number in range(1, 11):
        manifest, files = next_backup(repository, manifest, files, number)
        expected[manifest.id] = files

    assert second_reader.backups(folder, text_of(passphrase)).keys() == expected.keys()
    for backup_id, content in expected.items():
        assert second_restored(folder, passphrase, backup_id) == content


def test_changes_on_changes_are_restored(
    folder: Path, repository: Repository, passphrase: Secret | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each backup changes less than the one before, so that maps and a listing of two levels become long chains."""
    source = random.Random(3)
    large = bytearray(source.randbytes(32 * MEBIBYTE))
    files = {f"base/5/{number}": str(number).encode() for number in range(2000)}
    manifest = back_up(repository, files | {"base/6/1": bytes(large)})
    expected = {manifest.id: files | {"base/6/1": bytes(large)}}
    for number, (pages, others) in enumerate([(50, 240), (16, 40), (1, 5)]):
        changed = sorted(source.sample(range(len(large) // PAGE), pages))
        for page in changed:
            large[page * PAGE : (page + 1) * PAGE] = source.randbytes(PAGE)
        removed, *written = source.sample(sorted(files), others)
        files = {path: content for path, content in files.items() if path != removed}
        files |= dict.fromkeys(written, f"changed {number}".encode())
        with repository.write_backup(database=DATABASE, cluster=CLUSTER, parent=manifest) as writer:
            take_files(writer.ingest, files)
            named = [(page, bytes(large[page * PAGE : (page + 1) * PAGE])) for page in changed]
            writer.ingest.changed_pages("base/6/1", mode=0o600, size=len(large), pages=named)
            manifest = with_files(sample_manifest(f"backup-{number}"), writer.ingest.finish())
            writer.commit(manifest)
        expected[manifest.id] = files | {"base/6/1": bytes(large)}
    lengths = _chain_lengths(monkeypatch)

    for backup_id, content in expected.items():
        assert second_restored(folder, passphrase, backup_id) == content
    assert lengths[second_reader.PAGE_MAP] == 4
    assert lengths[second_reader.LISTING] >= 3


def _chain_lengths(monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
    """The longest chain of each type that the second reader meets from now on."""
    lengths: dict[int, int] = {}
    whole = second_reader._Repository._chain

    def chain(repository: second_reader._Repository, newest: second_reader.Reference, kind: int) -> list[BytesIO]:
        nodes = whole(repository, newest, kind)
        lengths[kind] = max(len(nodes), lengths.get(kind, 0))
        return nodes

    monkeypatch.setattr(second_reader._Repository, "_chain", chain)
    return lengths


def test_a_file_of_two_chunks_is_restored(folder: Path, encrypted: Repository) -> None:
    """The pages on both sides of the border change between two backups."""
    content = bytearray(CHUNK + 20_000)
    content[:PAGE] = random.Random(1).randbytes(PAGE)
    manifest = back_up(encrypted, {"base/5/1": bytes(content)})
    pages = {number: random.Random(number).randbytes(PAGE) for number in (CHUNK // PAGE - 1, CHUNK // PAGE)}
    with encrypted.write_backup(database=DATABASE, cluster=CLUSTER, parent=manifest) as writer:
        writer.ingest.changed_pages("base/5/1", mode=0o600, size=len(content), pages=pages.items())
        writer.commit(with_files(sample_manifest(SECOND), writer.ingest.finish()))

    assert second_restored(folder, PASSPHRASE, BACKUP)["base/5/1"] == content
    content[CHUNK - PAGE : CHUNK + PAGE] = b"".join(pages.values())
    assert second_restored(folder, PASSPHRASE, SECOND)["base/5/1"] == content


def test_a_recovery_key_opens_the_repository_however_it_is_spelt(folder: Path, encrypted: Repository) -> None:
    """Case, blanks for dashes, O for 0 and L for 1 do not matter; another letter does."""
    store = FolderStore(folder)
    _, recovery_key = add_recovery_key(store, open_keys(store, PASSPHRASE), name="safe", clock=lambda: NOON)
    back_up(encrypted, sample_files())
    printed = recovery_key.reveal()
    word, digits = printed.split("-", 1)
    sloppy = f"{word} {digits.replace('0', 'O').replace('1', 'l').replace('-', ' ')}".lower()
    mistyped = printed[:9] + ("2" if printed[9] == "3" else "3") + printed[10:]

    assert second_restored(folder, recovery_key, BACKUP) == sample_files()
    assert second_restored(folder, Secret(sloppy), BACKUP) == sample_files()
    with pytest.raises(Unreadable, match="no slot opens"):
        second_reader.backups(folder, mistyped)


def test_every_key_opens_what_was_sealed_before_and_after_two_rotations(folder: Path, encrypted: Repository) -> None:
    """A slot made first, one made between the rotations, and a recovery key."""
    store = FolderStore(folder)
    first = back_up(encrypted, sample_files())
    _, recovery_key = add_recovery_key(store, open_keys(store, PASSPHRASE), name="safe", clock=lambda: NOON)
    rotate_in(folder)
    add_key(store, open_keys(store, PASSPHRASE), OTHER, name="ops", clock=lambda: NOON, cost=CHEAP)
    _, files = next_backup(rotate_in(folder), first, sample_files(), 1)

    for key in (PASSPHRASE, OTHER, recovery_key):
        assert second_restored(folder, key, BACKUP) == sample_files()
        assert second_restored(folder, key, "backup-1") == files


def test_backups_are_restored_from_rewritten_packs(folder: Path, encrypted: Repository) -> None:
    """After a rotation and a reseal the packs of the older generation are gone: the indexes say where blobs lie."""
    first = back_up(encrypted, sample_files())
    repository = rotate_in(folder)
    _, files = next_backup(repository, first, sample_files(), 1)
    reseal(repository)
    for pack in folder.glob("packs/*/*0001"):
        pack.unlink()

    assert second_restored(folder, PASSPHRASE, BACKUP) == sample_files()
    assert second_restored(folder, PASSPHRASE, "backup-1") == files


def test_complete_wal_is_read(folder: Path, repository: Repository, passphrase: Secret | None) -> None:
    """Segments of two timelines, whole; no range of an open one."""
    on_two = WalSegment(TimelineId(2), 4, MEBIBYTE)
    repository.put_wal_segment(CLUSTER, SEGMENT, wal_bytes(), history=b"", mark=MARK)
    repository.put_wal_range(CLUSTER, TIMELINE, SEGMENT.end, wal_bytes(size=PAGE), history=b"", mark=None)
    repository.put_history(CLUSTER, TimelineId(2), HISTORY)
    repository.put_wal_segment(CLUSTER, on_two, wal_bytes(8), history=HISTORY, mark=None)

    found = second_reader.wal(folder, text_of(passphrase), CLUSTER)

    assert found == {SEGMENT.name: wal_bytes(), on_two.name: wal_bytes(8)}
    assert second_reader.wal(folder, text_of(passphrase), "1") == {}

"""What safepoint writes, a reader that was written from docs/FORMAT.md alone restores byte for byte, or refuses."""

from __future__ import annotations

import ast
import random
import shutil
from collections.abc import Iterator, Mapping
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
from safepoint.model.backup import BackupManifest
from safepoint.model.lsn import TimelineId, WalSegment
from safepoint.model.secret import Secret
from safepoint.repository import Repository, open_repository
from safepoint.repository.care.rewrite import reseal
from safepoint.repository.opening import open_keys
from safepoint.repository.sealing.key_changes import add_key, add_recovery_key, list_keys, remove_key, rotate
from safepoint.stores import FolderStore
from second_reader import Unreadable

PAGE = 8192
CHUNK = 256 * MEBIBYTE
SECOND = "20260301T130000Z-2"
OTHER = Secret("another passphrase")
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


def _text(passphrase: Secret | None) -> str | None:
    return None if passphrase is None else passphrase.reveal()


def _restored(folder: Path, key: Secret | None, backup_id: str) -> dict[str, bytes]:
    """Every file of the backup, as the second reader restores it."""
    into = folder.with_name(f"restored-{len(list(folder.parent.iterdir()))}")
    second_reader.restore(folder, _text(key), backup_id, into)
    return {path.relative_to(into).as_posix(): path.read_bytes() for path in into.rglob("*") if path.is_file()}


def _rotate(folder: Path) -> Repository:
    """The repository, opened anew after its keys were rotated."""
    store = FolderStore(folder)
    opened = open_keys(store, PASSPHRASE)
    rotate(store, opened, slots={slot.id for slot in list_keys(store, opened)}, clock=lambda: NOON)
    return open_repository(store, PASSPHRASE)


def _flip(path: Path, at: int) -> None:
    """One bit of the object is another."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)


def _next_backup(
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

    second_reader.restore(folder, _text(passphrase), BACKUP, tmp_path / "restored")

    found = {path.relative_to(tmp_path / "restored").as_posix(): path for path in (tmp_path / "restored").rglob("*")}
    assert {name: path.read_bytes() for name, path in found.items() if path.is_file()} == files
    assert {name for name, path in found.items() if path.is_dir()} == {"base", "base/5", "global", "pg_wal"}
    assert {name: path.stat().st_mode & 0o7777 for name, path in found.items()} == {
        name: 0o600 if path.is_file() else 0o500 if name == "pg_wal" else 0o700 for name, path in found.items()
    }
    (manifest,) = second_reader.backups(folder, _text(passphrase)).values()
    assert (manifest["file_count"], manifest["raw_bytes"]) == (len(files), sum(map(len, files.values())))


def test_each_of_eleven_backups_that_build_on_one_another_is_restored(
    folder: Path, repository: Repository, passphrase: Secret | None
) -> None:
    """Some pages changed each time; files grow, shrink, come and go."""
    files = sample_files() | {"base/5/16390": random.Random(2).randbytes(900_000)}
    manifest = back_up(repository, files)
    expected = {manifest.id: files}
    for number in range(1, 11):
        manifest, files = _next_backup(repository, manifest, files, number)
        expected[manifest.id] = files

    assert second_reader.backups(folder, _text(passphrase)).keys() == expected.keys()
    for backup_id, content in expected.items():
        assert _restored(folder, passphrase, backup_id) == content


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
        assert _restored(folder, passphrase, backup_id) == content
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

    assert _restored(folder, PASSPHRASE, BACKUP)["base/5/1"] == content
    content[CHUNK - PAGE : CHUNK + PAGE] = b"".join(pages.values())
    assert _restored(folder, PASSPHRASE, SECOND)["base/5/1"] == content


def test_a_recovery_key_opens_the_repository_however_it_is_spelt(folder: Path, encrypted: Repository) -> None:
    """Case, blanks for dashes, O for 0 and L for 1 do not matter; another letter does."""
    store = FolderStore(folder)
    _, recovery_key = add_recovery_key(store, open_keys(store, PASSPHRASE), name="safe", clock=lambda: NOON)
    back_up(encrypted, sample_files())
    printed = recovery_key.reveal()
    word, digits = printed.split("-", 1)
    sloppy = f"{word} {digits.replace('0', 'O').replace('1', 'l').replace('-', ' ')}".lower()
    mistyped = printed[:9] + ("2" if printed[9] == "3" else "3") + printed[10:]

    assert _restored(folder, recovery_key, BACKUP) == sample_files()
    assert _restored(folder, Secret(sloppy), BACKUP) == sample_files()
    with pytest.raises(Unreadable, match="no slot opens"):
        second_reader.backups(folder, mistyped)


def test_every_key_opens_what_was_sealed_before_and_after_two_rotations(folder: Path, encrypted: Repository) -> None:
    """A slot made first, one made between the rotations, and a recovery key."""
    store = FolderStore(folder)
    first = back_up(encrypted, sample_files())
    _, recovery_key = add_recovery_key(store, open_keys(store, PASSPHRASE), name="safe", clock=lambda: NOON)
    _rotate(folder)
    add_key(store, open_keys(store, PASSPHRASE), OTHER, name="ops", clock=lambda: NOON, cost=CHEAP)
    _, files = _next_backup(_rotate(folder), first, sample_files(), 1)

    for key in (PASSPHRASE, OTHER, recovery_key):
        assert _restored(folder, key, BACKUP) == sample_files()
        assert _restored(folder, key, "backup-1") == files


def test_a_removed_key_opens_nothing_that_was_sealed_after_the_rotation(folder: Path, encrypted: Repository) -> None:
    """Even where its slot is put back: it is in no wrap, and reads what is older."""
    store = FolderStore(folder)
    slot = add_key(store, open_keys(store, PASSPHRASE), OTHER, name="ops", clock=lambda: NOON, cost=CHEAP)
    kept = (folder / "keys" / slot).read_bytes()
    first = back_up(encrypted, sample_files())
    remove_key(store, open_keys(store, PASSPHRASE), slot)
    _next_backup(_rotate(folder), first, sample_files(), 1)

    with pytest.raises(Unreadable, match="no slot opens"):
        second_reader.backups(folder, OTHER.reveal())
    (folder / "keys" / slot).write_bytes(kept)
    assert list(second_reader.backups(folder, OTHER.reveal())) == [BACKUP]
    assert _restored(folder, OTHER, BACKUP) == sample_files()


def test_backups_are_restored_from_rewritten_packs(folder: Path, encrypted: Repository) -> None:
    """After a rotation and a reseal the packs of the older generation are gone: the indexes say where blobs lie."""
    first = back_up(encrypted, sample_files())
    repository = _rotate(folder)
    _, files = _next_backup(repository, first, sample_files(), 1)
    reseal(repository)
    for pack in folder.glob("packs/*/*0001"):
        pack.unlink()

    assert _restored(folder, PASSPHRASE, BACKUP) == sample_files()
    assert _restored(folder, PASSPHRASE, "backup-1") == files


def test_complete_wal_is_read(folder: Path, repository: Repository, passphrase: Secret | None) -> None:
    """Segments of two timelines, whole; no range of an open one."""
    on_two = WalSegment(TimelineId(2), 4, MEBIBYTE)
    repository.put_wal_segment(CLUSTER, SEGMENT, wal_bytes(), history=b"", mark=MARK)
    repository.put_wal_range(CLUSTER, TIMELINE, SEGMENT.end, wal_bytes(size=PAGE), history=b"", mark=None)
    repository.put_history(CLUSTER, TimelineId(2), HISTORY)
    repository.put_wal_segment(CLUSTER, on_two, wal_bytes(8), history=HISTORY, mark=None)

    found = second_reader.wal(folder, _text(passphrase), CLUSTER)

    assert found == {SEGMENT.name: wal_bytes(), on_two.name: wal_bytes(8)}
    assert second_reader.wal(folder, _text(passphrase), "1") == {}


def test_wal_that_was_moved_or_has_two_histories_is_refused(folder: Path, encrypted: Repository) -> None:
    """A segment under the next one's name; a second folder of its timeline."""
    encrypted.put_wal_segment(CLUSTER, SEGMENT, wal_bytes(), history=b"", mark=MARK)
    (path,) = folder.glob("wal/*/*/*MB")
    moved = path.with_name(f"{SEGMENT.next.name}.1MB")
    shutil.copy(path, moved)

    with pytest.raises(second_reader.DAMAGE):
        second_reader.wal(folder, PASSPHRASE.reveal(), CLUSTER)
    moved.unlink()
    shutil.copytree(path.parent, path.parent.with_name(f"00000001-{'f' * 32}"))
    with pytest.raises(Unreadable, match="timeline 00000001 has two histories"):
        second_reader.wal(folder, PASSPHRASE.reveal(), CLUSTER)


def test_an_expired_backup_is_not_listed_and_does_not_come_back(
    folder: Path, repository: Repository, passphrase: Secret | None
) -> None:
    """Neither by its manifest, put back, nor by its end under another lease."""
    back_up(repository, sample_files())
    (manifest,) = folder.glob("backups/*/*")
    kept, lease = manifest.read_bytes(), folder / "leases" / manifest.name
    back_up(repository, sample_files(2), SECOND)
    repository.expire_backup(BACKUP, reason="a test")

    assert list(second_reader.backups(folder, _text(passphrase))) == [SECOND]
    manifest.write_bytes(kept)
    planted = lease.with_name("20260301T120000Z-0000000000000000")
    planted.mkdir()
    shutil.copy(lease / "end", planted / "end")
    assert list(second_reader.backups(folder, _text(passphrase))) == [SECOND]
    with pytest.raises(Unreadable, match=f"no backup {BACKUP} exists"):
        _restored(folder, passphrase, BACKUP)
    shutil.rmtree(planted)


@pytest.mark.parametrize("key", [PASSPHRASE, None], ids=["encrypted", "open"])
def test_a_manifest_that_was_forged_or_moved_is_refused(folder: Path, key: Secret | None) -> None:
    """One bit of it, or another backup's in its place."""
    repository = make_repository(FolderStore(folder), key)
    back_up(repository, sample_files())
    (manifest,) = folder.glob("backups/*/*")
    whole = manifest.read_bytes()
    back_up(repository, sample_files(2), SECOND)
    (other,) = set(folder.glob("backups/*/*")) - {manifest}

    for place in (9, 30, len(whole) // 2, len(whole) - 1):
        _flip(manifest, place)
        assert list(second_reader.backups(folder, _text(key))) == [SECOND]
        with pytest.raises(Unreadable, match=f"no backup {BACKUP} exists"):
            _restored(folder, key, BACKUP)
        _flip(manifest, place)
    shutil.copy(other, manifest)
    assert list(second_reader.backups(folder, _text(key))) == [SECOND]
    assert _restored(folder, key, SECOND) == sample_files(2)


@pytest.mark.parametrize("key", [PASSPHRASE, None], ids=["encrypted", "open"])
def test_a_damaged_pack_is_noticed(folder: Path, key: Secret | None) -> None:
    """One bit anywhere in its blobs, and the file is not restored; nor where the pack is cut or gone."""
    back_up(make_repository(FolderStore(folder), key), files := sample_files())
    packs = {pack: pack.read_bytes() for pack in folder.glob("packs/*/*")}

    for pack, whole in packs.items():
        for place in (48, 60, 200):
            _flip(pack, place)
            with pytest.raises(Unreadable, match="is nowhere"):
                _restored(folder, key, BACKUP)
            _flip(pack, place)
        for cut in (whole[:50], b""):
            pack.write_bytes(cut)
            with pytest.raises(Unreadable, match="is nowhere"):
                _restored(folder, key, BACKUP)
        pack.write_bytes(whole)
    assert _restored(folder, key, BACKUP) == files


@pytest.mark.parametrize(("made", "given"), [(PASSPHRASE, None), (None, PASSPHRASE), (PASSPHRASE, OTHER)])
def test_another_key_or_none_is_refused(folder: Path, made: Secret | None, given: Secret | None) -> None:
    """Also where a key is given and the repository is not encrypted: it may stand in the place of one that is."""
    back_up(make_repository(FolderStore(folder), made), sample_files())

    with pytest.raises(Unreadable):
        second_reader.backups(folder, _text(given))


@pytest.mark.parametrize("garbage", [b"", b"{}\n", b"[1]\n", b"\xff\x00", b'{"version": 1}\n'])
def test_garbage_among_the_keys_hinders_nobody(folder: Path, encrypted: Repository, garbage: bytes) -> None:
    """Whoever writes to the store can put it there; the backups are restored past it."""
    back_up(encrypted, sample_files())
    for name in ("0" * 32, "generation-00000002"):
        (folder / "keys" / name).write_bytes(garbage)

    assert _restored(folder, PASSPHRASE, BACKUP) == sample_files()

"""The backup manifest that a restore makes: PostgreSQL's own programs read it, and find every byte that changed."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from repository_samples import make_repository
from safepoint.model.backup import BackupManifest
from safepoint.postgres.binaries import Binaries
from safepoint.recovery.backup_manifest import BACKUP_MANIFEST, ManifestMaker
from safepoint.repository import Repository
from safepoint.stores import MemoryStore
from written_copies import CONTROL, FILES, back_up_cluster, judges, verdict, write_copy

_NOT_UTF8 = os.fsdecode(b"base/5/caf\xe9")
_ODD = {
    _NOT_UTF8: b"1",
    'base/5/a "quoted" \\ name\n': b"2",
    "base/5/größe": b"3",
    "backup_manifest": b"the server's own",
    "tablespace_map": b"16500 /production\n",
    "safepoint.outside/0-postgresql.conf": b"port = 5432\n",
    "safepoint.outside/1-pg_hba.conf": b"local all all trust\n",
    "safepoint.outside/2-postgresql.conf": b"port = 5433\n",
    "production-config/pg_hba.conf": b"of a copy that became production\n",
}


@pytest.fixture(scope="module")
def repository() -> Repository:
    """One that holds a backup with every kind of name."""
    return make_repository(MemoryStore())


@pytest.fixture(scope="module")
def backup(repository: Repository) -> BackupManifest:
    """It."""
    return back_up_cluster(repository, {**FILES, **_ODD})


@pytest.fixture
def copy(repository: Repository, backup: BackupManifest, tmp_path: Path) -> Path:
    """Its files."""
    write_copy(repository, backup, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.mark.parametrize("binaries", judges(), ids=str)
def test_postgresql_accepts_it(copy: Path, binaries: Binaries) -> None:
    """Names that are no UTF-8 or need escapes, empty files, files of several pieces: all versions at hand."""
    assert verdict(binaries, copy) == ""


@pytest.mark.parametrize("binaries", judges(), ids=str)
@pytest.mark.parametrize("name", ["base/5/1", "base/5/3", CONTROL, _NOT_UTF8, "production-config/postgresql.conf"])
def test_any_byte_that_changed_is_found(copy: Path, binaries: Binaries, name: str) -> None:
    """Of files large and small, ours and others."""
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)

    assert "checksum mismatch" in verdict(binaries, copy)


def test_files_that_came_and_went_are_found(copy: Path) -> None:
    """It lists exactly what is there."""
    (copy / "base/5/4").rename(copy / "base/5/44")

    said = verdict(judges()[0], copy)

    assert '"base/5/4" is present in the manifest but not on disk' in said
    assert '"base/5/44" is present on disk but not in the manifest' in said


def test_a_line_that_changed_is_found(copy: Path) -> None:
    """The manifest has a checksum of its own."""
    manifest = copy / BACKUP_MANIFEST
    manifest.write_bytes(manifest.read_bytes().replace(b'"Size": 3,', b'"Size": 4,'))

    assert "manifest checksum mismatch" in verdict(judges()[0], copy)


def test_what_it_says(copy: Path, backup: BackupManifest) -> None:
    """Version 1, CRC32C with its bytes turned round, the WAL of the backup, SHA-256 of all lines but the last."""
    text = (copy / BACKUP_MANIFEST).read_bytes()

    said = json.loads(text)

    assert said["PostgreSQL-Backup-Manifest-Version"] == 1
    assert said["WAL-Ranges"] == [{"Timeline": 1, "Start-LSN": "0/2000028", "End-LSN": "0/2000158"}]
    assert said["Manifest-Checksum"] == hashlib.sha256(b"".join(text.splitlines(keepends=True)[:-1])).hexdigest()
    by_path = {file.get("Path") or bytes.fromhex(file["Encoded-Path"]): file for file in said["Files"]}
    assert by_path[b"base/5/caf\xe9"]["Size"] == 1
    assert by_path["PG_VERSION"] == {
        "Path": "PG_VERSION",
        "Size": 3,
        "Last-Modified": backup.stopped_at.strftime("%Y-%m-%d %H:%M:%S GMT"),
        "Checksum-Algorithm": "CRC32C",
        "Checksum": "64440205",
    }
    assert by_path["base/5/4"]["Checksum"] == "00000000"


def test_what_is_never_written(copy: Path) -> None:
    """The server's own manifest speaks of other files, and its map would link production's tablespaces."""
    assert not (copy / "tablespace_map").exists()
    assert (copy / BACKUP_MANIFEST).read_bytes() != _ODD["backup_manifest"]


def test_configuration_from_outside_stands_beside_production_s(copy: Path) -> None:
    """Under its own name, with its number where that is taken by another or by a file of the data directory."""
    folder = copy / "production-config"

    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "postgresql.conf": b"port = 5432\n",
        "1-pg_hba.conf": b"local all all trust\n",
        "2-postgresql.conf": b"port = 5433\n",
        "pg_hba.conf": b"of a copy that became production\n",
    }
    assert not (copy / "safepoint.outside").exists()


@pytest.mark.parametrize("is_delta", [False, True])
@pytest.mark.parametrize("binaries", judges(), ids=str)
def test_a_tablespace_stands_where_it_was_put(
    repository: Repository, backup: BackupManifest, tmp_path: Path, binaries: Binaries, *, is_delta: bool
) -> None:
    """A link leads there, and the judge follows it; what another major left there stays, what is surplus goes."""
    path, place = "PG_17_202406281/5/9", tmp_path / "fast disk"
    place.mkdir()
    copy = tmp_path / "copy"
    if is_delta:
        write_copy(repository, backup, copy, tablespaces={16500: place})
        (place / path).write_bytes(b"changed")
        (place / path).with_name("10").write_bytes(b"surplus")

    written = write_copy(repository, backup, copy, tablespaces={16500: place}, is_delta=is_delta)

    assert (copy / "pg_tblspc/16500").readlink() == place
    assert (place / path).read_bytes() == FILES[f"pg_tblspc/16500/{path}"]
    assert verdict(binaries, copy) == ""
    assert written.fetched_bytes == (
        len(FILES[CONTROL]) + len(FILES[f"pg_tblspc/16500/{path}"]) if is_delta else written.bytes
    )


def test_a_tablespace_that_is_given_no_place_comes_back(
    repository: Repository, backup: BackupManifest, tmp_path: Path
) -> None:
    """Inside the directory; where its link led to is not touched."""
    place, copy = tmp_path / "place", tmp_path / "copy"
    place.mkdir()
    write_copy(repository, backup, copy, tablespaces={16500: place})
    (place / "PG_17_202406281/5/9").write_bytes(b"production's")

    write_copy(repository, backup, copy, is_delta=True)

    assert not (copy / "pg_tblspc/16500").is_symlink()
    assert (place / "PG_17_202406281/5/9").read_bytes() == b"production's"
    assert verdict(judges()[0], copy) == ""


def test_modes_are_those_of_the_backup(copy: Path) -> None:
    """Never less than what the owner needs."""
    assert (copy / "base/5").stat().st_mode & 0o777 == 0o750
    assert (copy / "base/5/3").stat().st_mode & 0o777 == 0o640
    assert (copy / "base/5/1").stat().st_mode & 0o777 == 0o600


def test_a_link_in_the_manifest_s_place_is_not_followed(backup: BackupManifest, tmp_path: Path) -> None:
    """What it leads to stays as it is."""
    (tmp_path / "precious").write_text("mine")
    (tmp_path / BACKUP_MANIFEST).symlink_to("precious")

    with ManifestMaker(tmp_path, backup) as made:
        made.finish()

    assert (tmp_path / "precious").read_text() == "mine"
    assert json.loads((tmp_path / BACKUP_MANIFEST).read_text())["Files"] == []

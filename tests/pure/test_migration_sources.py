"""Prisma's folder, read as Prisma reads it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from migrating import folder_of
from safepoint.errors import Misconfigured
from safepoint.migration.sources.prisma import read_folder


def test_every_directory_counts_in_the_order_of_bytes(tmp_path: Path) -> None:
    """Spaces, dots and upper case are part of a name; files beside the directories are not migrations."""
    folder = folder_of(tmp_path, {"b": "", "a copy": "", "B.sql": "", "é": "", ".x": ""})
    (folder / "README.md").write_text("not one")
    (folder / "link").symlink_to(folder / "b")
    assert [file.name for file in read_folder(folder)] == [".x", "B.sql", "a copy", "b", "é"]


def test_a_checksum_is_that_of_the_bytes(tmp_path: Path) -> None:
    """With the byte order mark and CRLF as they are."""
    content = b"\xef\xbb\xbfSELECT 1;\r\n"
    (file,) = read_folder(folder_of(tmp_path, {"1": content}))
    assert file.checksum == hashlib.sha256(content).hexdigest()
    assert [statement.text for statement in file.statements()] == ["SELECT 1"]


def test_a_missing_script_is_named(tmp_path: Path) -> None:
    """Prisma would stop there too."""
    (folder_of(tmp_path, {"1": ""}) / "2_lost").mkdir()
    with pytest.raises(Misconfigured, match=r"MG008: found no migration\.sql in .*2_lost"):
        read_folder(tmp_path / "migrations")


def test_prisma_8_is_recognised(tmp_path: Path) -> None:
    """Its format is another altogether."""
    directory = folder_of(tmp_path, {}) / "1"
    directory.mkdir()
    (directory / "ops.json").write_text("[]")
    with pytest.raises(Misconfigured, match="MG008: found a migration of Prisma 8"):
        read_folder(tmp_path / "migrations")


def test_another_databases_folder_is_refused(tmp_path: Path) -> None:
    """By the first line that starts with `provider`."""
    lock = folder_of(tmp_path, {"1": ""}) / "migration_lock.toml"
    lock.write_text('# provider = "postgresql"\nprovider = "mysql"\nprovider = "postgresql"\n')
    with pytest.raises(Misconfigured, match="MG008: found provider 'mysql'"):
        read_folder(lock.parent)
    lock.unlink()
    assert len(read_folder(lock.parent)) == 1


def test_a_missing_folder_asks_for_the_projects_root(tmp_path: Path) -> None:
    """It may be named in the strategy file."""
    with pytest.raises(Misconfigured, match="MG008: found no folder"):
        read_folder(tmp_path / "nowhere")


def test_a_name_that_no_ledger_can_hold_is_refused(tmp_path: Path) -> None:
    """A name is bytes to the file system and UTF-8 to the ledger."""
    folder = folder_of(tmp_path, {"1": ""})
    (folder / "b\udcff").mkdir()
    with pytest.raises(Misconfigured, match=r"MG008: found the directory b'b\\xff'"):
        read_folder(folder)

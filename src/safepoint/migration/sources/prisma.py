"""Prisma's migrations folder, formats 5 to 7, read exactly as Prisma reads it.

Every sub-directory is a migration, whatever its name; order is that of the names' bytes; a checksum is the SHA-256 of
the file's bytes. Source: prisma-engines, schema-engine/connectors/schema-connector (migrations_directory, checksum).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from safepoint import errors
from safepoint.postgres.parse import Statement, decode, split

SCRIPT = "migration.sql"
LOCK_FILE = "migration_lock.toml"
_PROVIDERS = frozenset({"postgresql", "postgres"})
_PRISMA_8 = ("migration.json", "ops.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationFile:
    """One migration as it lies in the folder. `checksum` is lower-case hexadecimal SHA-256 of `content`."""

    name: str
    content: bytes
    checksum: str

    @property
    def sql(self) -> str:
        """The script as text; MG009 when it is not UTF-8."""
        return decode(self.content, name=self.title)

    @property
    def title(self) -> str:
        """As people find it: `20250114093015_init/migration.sql`."""
        return f"{self.name}/{SCRIPT}"

    def statements(self) -> tuple[Statement, ...]:
        """What it does, in order; MG009 when PostgreSQL's parser refuses it."""
        return split(self.sql, name=self.title)

    def matches(self, checksum: str) -> bool:
        """Whether `checksum` is that of this content, as it is or with its line ends as CRLF or as LF."""
        unix = self.content.replace(b"\r\n", b"\n")
        variants = (self.content, unix, unix.replace(b"\n", b"\r\n"))
        return any(_checksum(variant) == checksum for variant in variants)


def migration_file(name: str, content: bytes) -> MigrationFile:
    """The value for a script of that content."""
    return MigrationFile(name=name, content=content, checksum=_checksum(content))


def read_folder(folder: Path) -> tuple[MigrationFile, ...]:
    """Every migration of the folder, in Prisma's order.

    Raises MG008 when the folder or a script is missing, is for another database, or is of Prisma 8's format.
    """
    if not folder.is_dir():
        raise errors.MG008.error(
            f"found no folder {folder}, expected one directory per migration",
            hints=[
                errors.ask("is this the project's root, and does prisma.config.ts move the folder?"),
                errors.run("name it in safepoint.toml: `folder` under [database.NAME.migrations.APP]"),
            ],
        )
    try:
        names = [entry.name for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
        _require_utf8(names)
        _require_provider(folder)
        return tuple(_read(folder / name) for name in sorted(names, key=os.fsencode))
    except OSError as error:
        raise errors.MG008.error(
            f"found {error.strerror} at {error.filename}, expected to read the migrations",
            hints=[errors.ask("may this user read the folder?")],
        ) from error


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read(directory: Path) -> MigrationFile:
    script = directory / SCRIPT
    if script.is_file():
        return migration_file(directory.name, script.read_bytes())
    if any((directory / name).exists() for name in _PRISMA_8):
        raise errors.MG008.error(
            f"found a migration of Prisma 8 in {directory}, expected {SCRIPT} as Prisma 5 to 7 write it",
            hints=[errors.run("deploy Prisma 8's migrations with Prisma itself; this version cannot read them")],
        )
    raise errors.MG008.error(
        f"found no {SCRIPT} in {directory}, expected one in every sub-directory",
        hints=[
            errors.ask("was the file left out of the commit or the image?"),
            errors.run(f"bring it back from version control, or remove the directory: `rmdir '{directory}'`"),
        ],
    )


def _require_utf8(names: Iterable[str]) -> None:
    for name in names:
        if name != os.fsencode(name).decode("utf-8", errors="replace"):
            raise errors.MG008.error(
                f"found the directory {os.fsencode(name)!r}, expected a name in UTF-8: the ledger is to hold it",
                hints=[errors.ask("was it unpacked or renamed on a machine of another encoding?")],
            )


def _require_provider(folder: Path) -> None:
    """Prisma takes the first line that starts with `provider`, and asks nothing where there is no lock file."""
    lock_file = folder / LOCK_FILE
    if not lock_file.is_file():
        return
    lines = lock_file.read_text(encoding="utf-8", errors="replace").splitlines()
    line = next((line for line in lines if line.startswith("provider")), None)
    if line is None:
        return
    provider = line.partition("=")[2].strip().strip("\"'")
    if provider not in _PROVIDERS:
        raise errors.MG008.error(
            f"found provider {provider!r} in {lock_file}, expected 'postgresql'",
            hints=[errors.ask("are these another database's migrations?")],
        )

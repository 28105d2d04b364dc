"""Configuration that lives outside the data directory, as Debian has it: taken in where it can be read here.

The files of `config_file`, `hba_file` and `ident_file`, and those that the configuration includes, stand in the
listing as `safepoint.outside/<n>-<file name>`; where they were is in the manifest. What cannot be read is said, and
ends no backup.
Source: PostgreSQL documentation, "File Locations", "Managing Configuration File Contents", `pg_file_settings`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from safepoint.postgres.connect import connect
from safepoint.postgres.url import DatabaseUrl
from safepoint.repository import Ingest

OUTSIDE = "safepoint.outside"
"""The directory of the listing in which they stand."""

_FILES = "SELECT setting FROM pg_settings WHERE name IN ('config_file', 'hba_file', 'ident_file') AND setting <> ''"
_INCLUDED = "SELECT DISTINCT sourcefile FROM pg_settings WHERE sourcefile IS NOT NULL"
_MODE = 0o600
_MOST_BYTES = 16 * 1024 * 1024
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """Where each file was and its path in the listing; and a sentence for each that could not be read."""

    files: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()


def configuration_outside(url: DatabaseUrl, data: Path) -> tuple[Path, ...]:
    """The configuration files that the server at `url` reads, as it names them, and that are not below `data`."""
    with connect(url) as connection:
        named = [row[0] for query in (_FILES, _INCLUDED) for row in connection.execute(query).fetchall()]
    roots = {data, data.resolve()}
    paths = dict.fromkeys(Path(name) for name in named)
    return tuple(path for path in paths if not any(path.is_relative_to(root) for root in roots))


def take_outside(ingest: Ingest, paths: tuple[Path, ...]) -> Outside:
    """The files are with the ingest, as far as they can be read."""
    files: list[tuple[str, str]] = []
    warnings: list[str] = []
    for path in paths:
        try:
            content = _read(path)
        except OSError as error:
            warnings.append(f"{path} is not in the backup: {error.strerror or error}")
            continue
        if not files:
            ingest.directory(OUTSIDE, 0o700)
        place = f"{OUTSIDE}/{len(files)}-{_UNSAFE.sub('_', path.name)}"
        with ingest.file(place, mode=_MODE) as file:
            file.write(content)
        files.append((str(path), place))
    return Outside(files=tuple(files), warnings=tuple(warnings))


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise OSError(f"more than {_MOST_BYTES} bytes are no configuration")
    return content

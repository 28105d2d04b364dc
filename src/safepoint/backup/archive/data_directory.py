"""What a data directory says of its cluster to those who archive its WAL: read anew for each file, and never written.

Source: PostgreSQL 15 to 18, src/include/catalog/pg_control.h (the first field), xlogarchive.c (archive_status).
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from safepoint import errors
from safepoint.backup.archive.wal_file import KEPT, FileKind, Origin, kind_of_file
from safepoint.model.history import parse_history
from safepoint.model.lsn import Lsn, TimelineId, WalSegment
from safepoint.postgres.settings import FILE_NAME

COPY_SETTING = "safepoint.copy_of"
"""A restored copy has it in its settings: the id of the backup that it came from. Empty: it was adopted."""

SETTINGS_FILES = ("postgresql.conf", FILE_NAME, "postgresql.auto.conf")
"""As PostgreSQL reads them: what stands later wins."""

_COPY_LINE = re.compile(rf"^[ \t]*{re.escape(COPY_SETTING)}[ \t]*=?[ \t]*'?([^'#\n]*)'?", re.MULTILINE | re.IGNORECASE)
_COPY_BYTES = COPY_SETTING.lower().encode()
_READY = ".ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataDirectory:
    """A data directory of a running or stopped cluster."""

    path: Path

    @property
    def wal(self) -> Path:
        """Where the segments lie, perhaps behind a link."""
        return self.path / "pg_wal"

    @property
    def owner(self) -> int:
        """The user id of whoever runs its server."""
        return self.path.stat().st_uid

    def origin(self) -> Origin:
        """Which cluster it is now; PG002 when it is none."""
        try:
            with (self.path / "global/pg_control").open("rb") as file:
                (identifier,) = struct.unpack("<Q", file.read(8))
            major = int((self.path / "PG_VERSION").read_text().strip())
        except (OSError, struct.error, ValueError) as error:
            raise errors.PG002.error(
                f"found no readable control file and PG_VERSION in {self.path} ({error}), expected a data directory",
                hints=[errors.ask("does the command run in the data directory, and as the server's user?")],
            ) from error
        return Origin(cluster=str(identifier), major=major)

    def require_no_copy(self) -> None:
        """WL006 for a restored copy that was not adopted."""
        if backup := copy_of(self.path):
            raise errors.WL006.error(
                f"found that {self.path} is a copy restored from backup {backup}, expected production or a copy that "
                "was adopted",
                changed=KEPT,
                hints=[
                    errors.ask("is it a drill, or a copy to look at? then it must not archive: `archive_mode = off`"),
                    errors.run(f"if it is production from now on: `safepoint wal adopt DATABASE --data {self.path}`"),
                ],
            )

    def ready(self) -> list[str]:
        """The files that wait to be archived, as the archiver takes them: histories, then by name."""
        try:
            with os.scandir(self.wal / "archive_status") as entries:
                found = [entry.name.removesuffix(_READY) for entry in entries if entry.name.endswith(_READY)]
        except OSError:
            return []
        return sorted(found, key=lambda name: (not name.endswith(".history"), name))

    def open(self, name: str) -> FileIO:
        """A file in pg_wal, to be read; OSError."""
        return (self.wal / name).open("rb", buffering=0)

    def read_history(self, timeline: TimelineId) -> bytes | None:
        """The history file of the timeline, empty for the first one; None when it is not here."""
        if not timeline.has_history:
            return b""
        try:
            return (self.wal / timeline.history_name).read_bytes()
        except FileNotFoundError:
            return None

    def switch_within(self, segment: WalSegment) -> Lsn | None:
        """Where a later timeline left the segment's one within it, by the histories that are here; None: none did."""
        return min(
            (lsn for lsn in self._switches(segment.timeline) if segment.start < lsn <= segment.end), default=None
        )

    def _switches(self, timeline: TimelineId) -> Iterator[Lsn]:
        for path in sorted(self.wal.glob("*.history")):
            if kind_of_file(path.name) is FileKind.HISTORY:
                yield from (each.switch for each in parse_history(path.read_bytes()) if each.timeline == timeline)


def copy_of(data: Path) -> str | None:
    """The backup that this data directory is a restored copy of, None for any other, and for one that was adopted."""
    found = ""
    for name in SETTINGS_FILES:
        try:
            content = (data / name).read_bytes()
        except FileNotFoundError:
            continue
        if _COPY_BYTES not in content.lower():  # asked for each segment: most files need no look at their lines
            continue
        for match in _COPY_LINE.finditer(content.decode(errors="replace")):
            found = match[1].strip()
    return found or None

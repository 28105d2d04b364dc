"""WAL files and data directories as far as archiving looks at them, without a server."""

from __future__ import annotations

import struct
from pathlib import Path

from safepoint.backup.archive.data_directory import DataDirectory
from safepoint.backup.archive.wal_file import MAGIC_OF
from safepoint.model.lsn import Lsn, TimelineId, WalSegment

CLUSTER = 7300000000000000001
MEBIBYTE = 1 << 20
PAGE = 8192
_IS_LONG = 0x0002


def segment(number: int, timeline: int = 1) -> WalSegment:
    """A segment of 1 MiB."""
    return WalSegment(TimelineId(timeline), number, MEBIBYTE)


def segment_bytes(
    wanted: WalSegment, *, written_on: int | None = None, cluster: int = CLUSTER, major: int = 18, seed: int = 0
) -> bytes:
    """The segment as a server of that major writes it: a header on every page, something behind it."""
    timeline = wanted.timeline.value if written_on is None else written_on
    pages = bytearray()
    for at in range(0, wanted.size, PAGE):
        address = wanted.start.value + at
        flags = 0 if at else _IS_LONG
        page = struct.pack("<HHIQIxxxx", MAGIC_OF[major], flags, timeline, address, 0)
        if not at:
            page += struct.pack("<QII", cluster, wanted.size, PAGE)
        pages += page + bytes([1 + (seed + at // PAGE) % 250]) * (PAGE - len(page))
    return bytes(pages)


def history_bytes(*lines: tuple[int, Lsn]) -> bytes:
    """A history as PostgreSQL writes it: each line behind the parent's whole file and a line break."""
    return b"\n".join(f"{timeline}\t{switch}\tno recovery target specified\n".encode() for timeline, switch in lines)


def make_data_directory(path: Path, *, cluster: int = CLUSTER, major: int = 18) -> DataDirectory:
    """What archiving reads of one."""
    for folder in (path, path / "global", path / "pg_wal", path / "pg_wal/archive_status"):
        folder.mkdir()
    (path / "global/pg_control").write_bytes(struct.pack("<Q", cluster) + bytes(100))
    (path / "PG_VERSION").write_text(f"{major}\n")
    (path / "safepoint.conf").write_text("port = '5432'\n")
    return DataDirectory(path=path)


def put_ready(data: DataDirectory, name: str, content: bytes) -> Path:
    """The file is in pg_wal and waits to be archived."""
    path = data.wal / name
    path.write_bytes(content)
    (data.wal / "archive_status" / f"{name}.ready").touch()
    return path

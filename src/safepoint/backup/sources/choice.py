"""Which source a backup reads, and why: the files where they are certainly the server's own, else its stream.

Deciding is pure; what is looked at is the directory's control file and pid file. A directory that is not the server's
(another cluster's, or a standby's of the same cluster under the same path) is never read in its place.
Source: src/include/catalog/pg_control.h (the first fields, the same in 15 to 18), src/include/utils/pidfile.h.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from safepoint import errors
from safepoint.backup.physical_checks import ServerForBackup
from safepoint.model.backup import BackupSource
from safepoint.postgres.url import DatabaseUrl

_CONTROL = struct.Struct("<QIIi")
_IN_ARCHIVE_RECOVERY = 5
_IN_PRODUCTION = 6
_START_SLACK = timedelta(minutes=2)
_START_LINE, _PORT_LINE = 2, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalDirectory:
    """What a data directory on this machine says of who runs on it; `state` is pg_control's number."""

    system_identifier: str
    state: int
    port: int | None
    started_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The source, why it is this one, and the data directory it reads."""

    source: BackupSource
    reason: str
    data: Path | None = None


BY_STREAM = Choice(source=BackupSource.STREAM, reason="as asked")


def choose_source(
    wanted: BackupSource | None, url: DatabaseUrl, server: ServerForBackup, system_identifier: str, data: Path | None
) -> Choice:
    """The source `wanted`; without a wish the files where nothing speaks against them. BK008 for files that do not fit.

    `data` is what the strategy names; without it, for files that are wanted, what the server itself says.
    """
    if wanted is BackupSource.STREAM:
        return BY_STREAM
    if wanted is BackupSource.FILES:
        found = require_local(url, server, system_identifier, data or _own_directory(server))
        return Choice(source=BackupSource.FILES, reason="as asked", data=found)
    if data is None:
        return Choice(source=BackupSource.STREAM, reason="the strategy names no data directory")
    why_not = obstacle(url, server, system_identifier, data)
    if why_not is not None:
        return Choice(source=BackupSource.STREAM, reason=f"found {why_not[0]}")
    return Choice(source=BackupSource.FILES, reason=f"{data} is the server's own", data=data)


def require_local(url: DatabaseUrl, server: ServerForBackup, system_identifier: str, data: Path | None) -> Path:
    """The directory, which the server runs on; BK008 when that is not certain."""
    if data is None:
        found, expected = "no data directory named", "`data` in the strategy"
    else:
        why_not = obstacle(url, server, system_identifier, data)
        if why_not is None:
            return data
        found, expected = why_not
    raise errors.BK008.error(
        f"found {found}, expected {expected}",
        changed="nothing was copied",
        hints=[
            errors.ask("is `data` in the strategy that of the server at the URL, on this very machine?"),
            errors.run("take the backup over the replication protocol: `--source stream`"),
        ],
    )


def obstacle(url: DatabaseUrl, server: ServerForBackup, system_identifier: str, data: Path) -> tuple[str, str] | None:
    """What was found and what was expected, where the server's files cannot be read at `data`; None: they can."""
    if not is_local(url):
        return f"a server at {url.host}", "one on this machine, by socket or loopback address"
    if not server.can_start_backup:
        return "a role without the right to call pg_backup_start", "that right"
    if server.data_directory is None:
        return "a role that may not know the data directory", "pg_read_all_settings"
    try:
        if not data.samefile(server.data_directory):
            return f"the server to run on {server.data_directory}", str(data)
        return mismatch(look_at(data), server, system_identifier)
    except OSError as error:
        return f"{error.filename or data} unreadable ({error.strerror or error})", "the server's own files"


def mismatch(local: LocalDirectory, server: ServerForBackup, system_identifier: str) -> tuple[str, str] | None:
    """What of the directory is not the server's, and what the server has; None: they are one. Pure."""
    if local.system_identifier != system_identifier:
        return f"the files of cluster {local.system_identifier}", f"cluster {system_identifier}"
    state = _IN_ARCHIVE_RECOVERY if server.is_in_recovery else _IN_PRODUCTION
    if local.state != state:
        kind = "a standby" if server.is_in_recovery else "a primary"
        return f"files in state {local.state} (pg_control)", f"state {state}: the server is {kind}"
    if local.port != server.port:
        return f"files of a server on port {local.port}", f"port {server.port}"
    if local.started_at is None or abs(local.started_at - server.started_at) > _START_SLACK:
        return f"files of a server started at {local.started_at}", f"the one started at {server.started_at}"
    return None


def look_at(data: Path) -> LocalDirectory:
    """What the directory says; OSError when it cannot be read."""
    head = (data / "global" / "pg_control").read_bytes()[: _CONTROL.size]
    if len(head) < _CONTROL.size:
        raise OSError(0, f"{len(head)} bytes", str(data / "global" / "pg_control"))
    identifier, _, _, state = _CONTROL.unpack(head)
    lines = (data / "postmaster.pid").read_text(errors="replace").splitlines()
    return LocalDirectory(
        system_identifier=str(identifier),
        state=state,
        port=_number(lines, _PORT_LINE),
        started_at=_instant(_number(lines, _START_LINE)),
    )


def is_local(url: DatabaseUrl) -> bool:
    """Whether the URL names a socket or a loopback address of this machine."""
    host = url.host
    if host is None or host == "" or host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _own_directory(server: ServerForBackup) -> Path | None:
    return None if server.data_directory is None else Path(server.data_directory)


def _number(lines: list[str], at: int) -> int | None:
    return int(lines[at]) if at < len(lines) and lines[at].strip().isdigit() else None


def _instant(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)

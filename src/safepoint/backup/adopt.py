"""A server is adopted: what it writes from now on is the cluster's WAL, whatever else claims its timeline.

Order: the record that makes its lineage the one that is followed, then its history, then the mark of a restored copy
is taken away. Killed in between, the server archives nothing yet, and the same again goes on.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from safepoint import errors
from safepoint.backup.archive.data_directory import COPY_SETTING, SETTINGS_FILES, DataDirectory, copy_of
from safepoint.files import append_durably
from safepoint.model.lsn import TimelineId
from safepoint.postgres.binaries import find_binaries
from safepoint.postgres.connect import connect
from safepoint.postgres.control import read_control
from safepoint.postgres.pid_file import live_pid_file
from safepoint.postgres.replication_session import replication_session
from safepoint.postgres.url import DatabaseUrl
from safepoint.repository import Repository

_HISTORY = re.compile(r"([0-9A-F]{8})\.history")
_OUT_OF_RECOVERY = frozenset({"in production", "shut down", "shutting down"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A server out of recovery: its cluster, timeline and the content of that timeline's history file.

    `copy_of` is the backup that it was restored from, None when nothing says so.
    """

    place: str
    cluster: str
    timeline: TimelineId
    history: bytes = field(repr=False)
    copy_of: str | None


def candidate_in(data: Path) -> Candidate:
    """The cluster of a data directory, its server running or stopped; PG002, WL011 while it is in recovery."""
    directory = DataDirectory(path=data)
    origin = directory.origin()
    control = read_control(find_binaries(origin.major, programs=("pg_controldata",)), data)
    if control.state not in _OUT_OF_RECOVERY:
        raise _not_promoted(str(data), f"its control file says {control.state!r}")
    # The checkpoint in the control file may be from before the promotion; the history is there since then.
    named = (_HISTORY.fullmatch(path.name) for path in directory.wal.glob("*.history"))
    timeline = max([control.timeline, *(TimelineId(int(match[1], 16)) for match in named if match)])
    history = directory.read_history(timeline)
    if history is None:
        raise errors.WL009.error(f"found no {timeline.history_name} in {directory.wal}, expected that of its timeline")
    return Candidate(place=str(data), cluster=origin.cluster, timeline=timeline, history=history, copy_of=copy_of(data))


def candidate_at(url: DatabaseUrl) -> Candidate:
    """The server at the URL; PG004, PG007, WL011 while it is in recovery."""
    with connect(url) as connection:
        row = connection.execute(
            "SELECT pg_is_in_recovery(), current_setting(%s, true)", [COPY_SETTING]
        ).fetchone() or (True, None)
    if row[0]:
        raise _not_promoted(str(url), "it is a standby")
    with replication_session(url) as session:
        identity = session.identify_system()
        history = session.fetch_history(identity.timeline)
    return Candidate(
        place=str(url),
        cluster=identity.system_identifier,
        timeline=identity.timeline,
        history=history,
        copy_of=row[1] or None,
    )


def require_adoptable(candidate: Candidate, repositories: Sequence[Repository]) -> None:
    """WL011 for a restored copy whose lineage is held already: it is production's, because nobody promoted the copy."""
    for repository in repositories if candidate.copy_of else ():
        for stored in repository.wal_lineages(candidate.cluster):
            if stored.start is None or stored.timeline != candidate.timeline:
                continue
            if repository.lineage_of(candidate.timeline, candidate.history) == stored.name:
                raise _not_promoted(candidate.place, f"WAL of {stored.name}, its own lineage, is in the repository")


def record_adoption(candidate: Candidate, repository: Repository, *, by: str) -> None:
    """In this repository the server's lineage is the one that is followed, and its history is stored."""
    repository.adopt_lineage(candidate.cluster, candidate.timeline, candidate.history, by=by)
    if candidate.history:
        repository.put_history(candidate.cluster, candidate.timeline, candidate.history)


def unmark_directory(data: Path) -> None:
    """Its settings no longer say that it is a copy, and a server that runs on it has been told to read them."""
    if copy_of(data) is None:
        return
    naming = [data / name for name in SETTINGS_FILES if COPY_SETTING in _text(data / name)]
    # Appended, not rewritten: the file stays the server's user's.
    append_durably(naming[-1], f"\n{COPY_SETTING} = ''\n".encode())
    if live := live_pid_file(data):
        os.kill(live.pid, signal.SIGHUP)


def unmark_server(url: DatabaseUrl) -> None:
    """The server no longer says that it is a copy; PG007 without the right to change its settings."""
    with connect(url) as connection:
        connection.execute(f"ALTER SYSTEM SET {COPY_SETTING} = ''")  # type: ignore[arg-type] - a constant of ours
        connection.execute("SELECT pg_reload_conf()")


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return ""


def _not_promoted(place: str, found: str) -> errors.SafepointError:
    return errors.WL011.error(
        f"found {place} on a timeline of somebody else ({found}), expected a server promoted to one of its own",
        hints=[
            errors.ask("is it still replaying, or a copy of the disk that was started as it is?"),
            errors.run("promote it: `pg_ctl promote`, or restore with --promote; then adopt it"),
        ],
    )

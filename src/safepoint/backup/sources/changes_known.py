"""What a source knows of the changes since the parent backup, or why it knows nothing and reads all."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import psycopg

from safepoint import errors
from safepoint.backup.changes import BLOCK_BYTES, SEGMENT_BLOCKS, SHARES, main_fork_file
from safepoint.backup.durable import durable_up_to
from safepoint.backup.same_history import Sameness, compare_history
from safepoint.backup.sources.port import SourceRequest
from safepoint.backup.summaries_trust import distrust_of
from safepoint.model.backup import BackupManifest
from safepoint.model.changed_blocks import ChangedBlocks
from safepoint.model.history import parse_history
from safepoint.model.lsn import Lsn
from safepoint.postgres.basebackup import BackupPosition
from safepoint.postgres.connect import connect
from safepoint.postgres.replication_session import replication_session
from safepoint.postgres.url import DatabaseUrl
from safepoint.postgres.wal_summaries import Doubt, fetch_changed_blocks

_WRITTEN = """
SELECT CASE WHEN pg_is_in_recovery() THEN greatest(pg_last_wal_replay_lsn(), pg_last_wal_receive_lsn())
            ELSE pg_current_wal_insert_lsn() END::text
"""

_NO_ANSWER = frozenset({errors.WL005, errors.PG004, errors.PG010})
"""The server is silent, or has no connection left: whoever goes on may still read everything."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KnownChanges:
    """Everything that decides what may be skipped of a backup that begins at `start`.

    `share` is the share of what is skipped that is read again. `damaged` are pages, by path and counted from the
    file's beginning, that were bad when the parent took them.
    """

    changed: ChangedBlocks
    url: DatabaseUrl
    cluster: str
    start: Lsn
    share: int
    are_hints_logged: bool
    has_checksums: bool = False
    damaged: dict[str, frozenset[int]] = field(default_factory=dict[str, frozenset[int]])

    def written_up_to(self) -> Lsn:
        """No page of the server can have an LSN beyond this one yet."""
        with connect(self.url) as connection:
            row = connection.execute(_WRITTEN).fetchone()
        return Lsn(0) if row is None else Lsn.parse(row[0])


def why_not_before(request: SourceRequest) -> Doubt | None:
    """Why everything is read, as far as it is known before the backup begins. RP005 for a record that is damaged."""
    server, parent = request.server, request.parent
    if parent is None:
        return Doubt("there is no parent backup to build upon")
    if server.block_size != BLOCK_BYTES or server.segment_blocks != SEGMENT_BLOCKS:
        return Doubt(f"the server was built with blocks of {server.block_size} bytes, or files of another length")
    if server.version.major != parent.version.major:
        return Doubt(f"the parent is of PostgreSQL {parent.version.major}")
    distrust = distrust_of(request.repository, parent.system_identifier)
    return None if distrust is None else Doubt(str(distrust), is_alarming=True)


def changes_since_parent(request: SourceRequest, start: BackupPosition) -> KnownChanges | Doubt:
    """What WAL summaries say has changed between the parent's start and this one."""
    doubt = why_not_before(request)
    parent = request.parent
    if doubt is not None or parent is None:
        return doubt or Doubt("there is no parent backup to build upon")
    base = BackupPosition(lsn=parent.start_lsn, timeline=parent.timeline)
    try:
        history = _history(request, start)
        doubt = _doubt_of_history(request, parent, start, history)
        if doubt is not None:
            return doubt
        with connect(request.url) as connection:
            changed = fetch_changed_blocks(connection, history=history, base=base, start=start)
    except errors.SafepointError as error:
        if error.spec not in _NO_ANSWER:
            raise
        return Doubt(f"the server's history could not be compared ({error.message})")
    except psycopg.Error as error:
        return Doubt(f"WAL summaries could not be fetched ({' '.join(str(error).split())})")
    if isinstance(changed, Doubt):
        return changed
    return KnownChanges(
        changed=changed,
        url=request.url,
        cluster=parent.system_identifier,
        start=start.lsn,
        share=share_after(parent),
        are_hints_logged=request.server.has_checksums or request.server.has_hints_in_wal,
        has_checksums=request.server.has_checksums,
        damaged=damaged_pages(parent),
    )


def share_after(parent: BackupManifest) -> int:
    """The share whose turn it is: after so many backups every page was read."""
    return (parent.share + 1) % SHARES


def damaged_pages(parent: BackupManifest) -> dict[str, frozenset[int]]:
    """The pages of main forks that the parent holds damaged, by path and counted from the file's beginning."""
    found: dict[str, set[int]] = defaultdict(set)
    for page in parent.damaged_pages:
        file = main_fork_file(page.path)
        if file is not None:
            found[page.path].add(page.block - file.first_block)
    return {path: frozenset(pages) for path, pages in found.items()}


def _doubt_of_history(
    request: SourceRequest, parent: BackupManifest, start: BackupPosition, history: bytes
) -> Doubt | None:
    """Unless the server's own history holds everything that the parent's pages may hold: WAL up to the parent's end."""
    if start.lsn < parent.stop_lsn:
        return Doubt(f"this backup begins at {start.lsn}, before the parent's end at {parent.stop_lsn}")
    end = durable_up_to(request.repository, parent.system_identifier, parent.timeline, parent.start_lsn)
    if parent.timeline != start.timeline:
        switches = {ancestor.timeline: ancestor.switch for ancestor in parse_history(history)}
        switch = switches.get(parent.timeline, Lsn(0))
        if switch < parent.stop_lsn:
            return Doubt(
                f"the server left timeline {parent.timeline} at {switch}, before the parent's end at {parent.stop_lsn}"
            )
        end = min(end, switch)
    sameness = _compared(request, parent, min(end, start.lsn))
    if sameness is Sameness.OTHER:
        return Doubt("the server's WAL is not that of the parent: was its disk put back to a snapshot?")
    if sameness is not Sameness.SAME:
        return Doubt(
            f"the WAL before {end}, the last that is held since the parent, cannot be compared: the server no longer "
            "has it, where a receiver that runs, or wal_keep_size, would keep it; or what is held is damaged"
        )
    return None


def _compared(request: SourceRequest, parent: BackupManifest, end: Lsn) -> Sameness:
    if end < parent.stop_lsn:
        return Sameness.UNKNOWN
    with replication_session(request.url) as session:
        return compare_history(
            session, request.repository, parent.system_identifier, parent.timeline, end, parent.segment_size
        )


def _history(request: SourceRequest, start: BackupPosition) -> bytes:
    with replication_session(request.url) as session:
        return session.fetch_history(start.timeline)

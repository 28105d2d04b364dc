"""Whether a server still has the history of which the repository holds WAL: bytes compared, nothing concluded.

System identifier, timeline and positions are the same on a server whose disk was put back to a snapshot. Its WAL is
not: behind the snapshot other records stand at the same positions. So the last segment held of a stretch is asked of
the server and compared. Equal bytes there mean that everything before is the same, too: each record names the one
before it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from enum import Enum

from safepoint import errors
from safepoint.model.coverage import WalPiece
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.postgres.replication import ReplicationSession
from safepoint.postgres.walstream import EndOfStream, WalData, WalStream
from safepoint.repository import Repository

ANSWER_SECONDS = 20.0
"""How long the server may take to send a segment."""

_POLL_SECONDS = 0.2


class Sameness(Enum):
    """What a comparison showed."""

    SAME = "the same"
    OTHER = "another"
    GONE = "gone"
    UNKNOWN = "unknown"


def compare_history(
    session: ReplicationSession, repository: Repository, cluster: str, timeline: TimelineId, end: Lsn, segment_size: int
) -> Sameness:
    """Whether the server's bytes of the segment before `end` are those that are held of it.

    GONE when the server does not have that segment any more, UNKNOWN when it does not send it in time, or nothing of it
    is held that opens. The session is idle again.
    """
    start = (end + -1).segment_start(segment_size)
    held = [
        piece
        for piece in repository.wal_pieces(cluster)
        if piece.timeline == timeline and piece.start < end and piece.end > start
    ]
    sent = _sent(session, timeline, start, end)
    if isinstance(sent, Sameness):
        return sent
    if not held:
        return Sameness.UNKNOWN
    try:
        return Sameness.SAME if _are_same(repository, held, start, sent) else Sameness.OTHER
    except errors.Damaged:
        return Sameness.UNKNOWN


def _are_same(repository: Repository, held: Sequence[WalPiece], start: Lsn, sent: bytes) -> bool:
    for piece in held:
        begin, end = max(piece.start, start), min(piece.end, start + len(sent))
        if begin < end:
            ours = repository.read_wal(piece)[begin - piece.start : end - piece.start]
            if ours != sent[begin - start : end - start]:
                return False
    return True


def _sent(session: ReplicationSession, timeline: TimelineId, start: Lsn, end: Lsn) -> bytes | Sameness:
    """The server's WAL [start, end); GONE when it refuses to send it, UNKNOWN when less came in time."""
    content = bytearray()
    wal = WalStream(session)
    deadline = time.monotonic() + ANSWER_SECONDS
    try:
        wal.begin(slot=None, timeline=timeline, start=start)
        while start + len(content) < end and time.monotonic() < deadline:
            message = wal.receive(_POLL_SECONDS)
            if isinstance(message, EndOfStream):
                break
            if isinstance(message, WalData):
                content += message.data
        wal.stop()
    except errors.SafepointError as error:
        if error.spec not in {errors.WL004, errors.PG010}:
            raise
        while session.next_result() is not None:
            pass
        return Sameness.GONE
    return bytes(content[: end - start]) if start + len(content) >= end else Sameness.UNKNOWN

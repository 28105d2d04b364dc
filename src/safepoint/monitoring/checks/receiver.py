"""WAL is on its way to the repository: a receiver is connected to its slot, and the server keeps little for it.

The newest restorable instant tells that too, but only once the RPO has passed. Source: PostgreSQL documentation,
`pg_replication_slots`.
"""

from __future__ import annotations

from safepoint.model.measures import format_bytes
from safepoint.monitoring.finding import Finding, State
from safepoint.monitoring.situation import ServerSeen, Situation, SlotSeen

NAME = "receiver"
KEPT_LIMIT = 1 << 30
"""Bytes of WAL that a receiver may be behind before it is bad, where the strategy states no `slot_limit`."""
_LOST = "lost"
_UNRESERVED = "unreserved"


def judge(situation: Situation) -> tuple[Finding, ...]:
    """Bad without a receiver at work; nothing where neither backup nor slot asks for one, or no server answers."""
    server = situation.server
    if server is None or (server.slot is None and not situation.backups):
        return ()
    state, fact = _verdict(server, situation.slot_limit or KEPT_LIMIT)
    cure = "" if state is State.GOOD else _cure(situation, server)
    return (Finding(check=NAME, state=state, fact=fact, cure=cure),)


def _verdict(server: ServerSeen, limit: int) -> tuple[State, str]:
    if server.slot_obstacle:
        return State.UNKNOWN, server.slot_obstacle
    if server.is_in_recovery:
        return State.UNKNOWN, "found a standby: whether WAL is received from its primary cannot be seen here"
    if server.slot is None and server.archives:
        return State.NOTICE, f"no replication slot {server.slot_name}: WAL comes by archive_command"
    if server.slot is None:
        return State.BAD, f"no replication slot {server.slot_name}: no receiver was ever started, or it was dropped"
    return _verdict_on(server.slot, server.slot_name, limit)


def _verdict_on(slot: SlotSeen, name: str, limit: int) -> tuple[State, str]:
    if slot.wal_status == _LOST:
        return State.BAD, f"slot {name} is lost: the server has removed WAL that was not received"
    kept = "an unknown amount" if slot.kept_bytes is None else format_bytes(slot.kept_bytes)
    told = f"slot {name}, {kept} of WAL kept for it"
    if slot.wal_status == _UNRESERVED:
        return State.BAD, f"{told}, which the server may remove at its next checkpoint"
    if not slot.is_active:
        return State.BAD, f"no receiver is connected to {told}"
    if slot.kept_bytes is not None and slot.kept_bytes > limit:
        return State.BAD, f"a receiver is behind: {told}, limit {format_bytes(limit)}"
    return State.GOOD, f"connected to {told}"


def _cure(situation: Situation, server: ServerSeen) -> str:
    slot = server.slot
    if slot is None and server.archives:
        return f"see how the archiver fares: `safepoint wal status {situation.database}`"
    stream = f"`safepoint wal stream {situation.database}`"
    if slot is not None and slot.wal_status == _LOST:
        return f"`safepoint wal stream {situation.database} --accept-gap`, then {situation.backup_command}"
    return f"{stream}, and keep it running"

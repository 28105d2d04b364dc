"""Gaps in WAL in words: what is missing, why, as far as can be told, and what to do, each with its command. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from safepoint.model.lsn import Lsn, TimelineId
from safepoint.model.measures import format_instant
from safepoint.model.reach import Cause, Loss
from safepoint.monitoring.finding import Finding, State

CAUSES: Mapping[Cause, str] = {
    Cause.DAMAGED: "it is stored and does not open: an object is damaged",
    Cause.DELETED: "it was stored, as the journal says, and is gone: an object was deleted",
    Cause.EXPIRED: "it was expired on purpose",
    Cause.HISTORY: "what leads to this timeline is unknown: its history is missing or does not open",
    Cause.BEFORE_STREAM: "a backup began before WAL was received, and its first WAL was never stored",
    Cause.NOT_RECEIVED: (
        "it never arrived: archiving failed or was off, no receiver ran, its slot was lost, or the server had "
        "recycled it"
    ),
}

_REPAIR = "mend it from another repository: `safepoint repository repair --from NAME|URL`"
_COPIED = "a copy of the repository may hold it still: `safepoint coverage {} --repository NAME|URL`"
_BACK_UP = "restore points resume with a new base backup: `safepoint backup {}`"
_STREAM = "receive it again while a server still has it: `safepoint wal stream {}`"
_PUSH = "or push what its pg_wal still holds, in the data directory: `safepoint-wal push pg_wal/FILE`"
_STATUS = "see what archiver, slot and receiver do: `safepoint wal status {}`"

_REGAINING = frozenset({_REPAIR, _COPIED})

_CURES: Mapping[Cause, tuple[str, ...]] = {
    Cause.DAMAGED: (_REPAIR, _BACK_UP),
    Cause.DELETED: (_REPAIR, _BACK_UP),
    Cause.EXPIRED: (_COPIED,),
    Cause.HISTORY: (_STREAM, _PUSH, _REPAIR),
    Cause.BEFORE_STREAM: (_STREAM, _PUSH, _BACK_UP),
    Cause.NOT_RECEIVED: (_STATUS, _STREAM, _PUSH, _BACK_UP),
}


def cures_of(loss: Loss, database: str, *, is_past: bool = False) -> tuple[str, ...]:
    """What to do about it, each with its command; nothing about what concerns no backup, or production no more.

    Of one that a newer backup made an end of: only what brings back the instants that were lost.
    """
    if not loss.is_harmful:
        return ()
    return tuple(cure.format(database) for cure in _CURES[loss.cause] if not is_past or cure in _REGAINING)


def describe_loss(loss: Loss) -> str:
    """The gap, when it was, and why, in one line."""
    place = f"WAL [{loss.start}, {loss.end}) of timeline {loss.timeline} is missing"
    return f"{place}, {_instants_lost(loss)}: {CAUSES[loss.cause]}{_worth(loss)}"


def past_losses(losses: Iterable[Loss], timeline: TimelineId, start: Lsn) -> tuple[Loss, ...]:
    """Those that a backup which begins there has made an end of."""
    return tuple(loss for loss in losses if (loss.timeline, loss.end) <= (timeline, start))


def judge_losses(
    losses: Iterable[Loss], past: Collection[Loss], database: str, *, check: str, where: str = ""
) -> Iterator[Finding]:
    """A finding for each that does harm: bad, or a notice where a newer backup made an end of it."""
    for loss in losses:
        if loss.is_harmful:
            is_past = loss in past
            state = State.NOTICE if is_past else State.BAD
            cure = "; ".join(cures_of(loss, database, is_past=is_past))
            yield Finding(check=check, state=state, fact=f"{where}{describe_loss(loss)}", cure=cure)


def _worth(loss: Loss) -> str:
    if loss.is_abandoned:
        return "; production did not go on on this timeline"
    return "; no backup needs it" if loss.is_harmless else ""


def _instants_lost(loss: Loss) -> str:
    if loss.after is None and loss.before is None:
        return "of a time that neither a mark nor a commit tells"
    after = "an unknown time" if loss.after is None else format_instant(loss.after)
    before = "an unknown time" if loss.before is None else format_instant(loss.before)
    return f"from {after} up to {before}"

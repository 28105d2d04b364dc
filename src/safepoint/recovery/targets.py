"""Where a recovery shall end: what was asked for, and what was decided. Values and their texts; pure.

`choice` decides which backup and which WAL lead to a target.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from enum import Enum
from typing import Any

from safepoint import errors
from safepoint.model.coverage import WalPath
from safepoint.model.json_value import Json
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.model.measures import format_instant

_MOST_NAME_BYTES = 63
_FIRST_TRANSACTION = 3
"""0 to 2 are no transactions (src/include/access/transam.h); eight bytes hold the epoch, too."""
_FORMS = (
    "`latest`, `immediate`, an LSN like 0/3000028, `xid:N`, `name:RESTORE_POINT` or a time like "
    "2026-03-01T02:10:07+00:00"
)


class TargetKind(Enum):
    """What a recovery target is given as."""

    LATEST = "latest"
    IMMEDIATE = "immediate"
    LSN = "lsn"
    TIME = "time"
    XID = "xid"
    NAME = "name"


_WITH_A_SIDE = frozenset({TargetKind.TIME, TargetKind.XID})


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryTarget:
    """What was asked for.

    LATEST: every byte held. IMMEDIATE: the end of a backup, the first consistent state. LSN: every record that begins
    before `lsn`, as it is flushed when `pg_current_wal_lsn()` says so. TIME: in the order of WAL everything before the
    first commit later than `time`, so that a commit of that very instant is included, as in PostgreSQL; exclusive: it
    is not. XID: everything up to the end of that transaction, commit or abort; exclusive: without it. A transaction id
    has its epoch or, below 2^32, may stand for one of those that look alike. NAME: everything up to the restore point,
    whose end is `lsn` once it was found.
    """

    kind: TargetKind
    lsn: Lsn | None = None
    time: datetime | None = None
    xid: int | None = None
    name: str | None = None
    is_exclusive: bool = False

    def __str__(self) -> str:
        before = "just before " if self.is_exclusive else ""
        if self.time is not None:
            return f"{before}{format_instant(self.time)}"
        if self.xid is not None:
            return f"{before}transaction {self.xid}"
        if self.name is not None:
            return f"restore point {self.name!r}"
        return self.kind.value if self.lsn is None else str(self.lsn)


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedRecovery:
    """A recovery decided: from which backup, along which WAL, to which end.

    `end` is the LSN that must have been replayed; with a time target it only says where WAL is known to have passed
    that instant, and recovery stops at the first commit after it, before `end` or behind; with a transaction it is the
    end of all WAL held, and recovery must stop before. `path` is the WAL to be had: its last leg ends at or after
    `end`, and recovery never beyond that. `lineages` are those that were asked for by name.
    """

    backup_id: str
    system_identifier: str
    timeline: TimelineId
    target: RecoveryTarget
    end: Lsn
    path: tuple[WalPath, ...]
    lineages: tuple[str, ...] = ()

    @property
    def ending(self) -> str:
        """Where recovery will stop, in words that stay true."""
        if self.target.time is not None:
            side = "at or after" if self.target.is_exclusive else "after"
            return f"the first commit {side} the target, before {self.path[-1].end}"
        if self.target.xid is not None:
            side = "just before the end" if self.target.is_exclusive else "the end"
            return f"{side} of transaction {self.target.xid}, before {self.path[-1].end}"
        return str(self.end)

    @property
    def position(self) -> Lsn | None:
        """The position at which recovery is told to stop; None when something else says so, or nothing."""
        is_at_end = self.target.kind in {TargetKind.IMMEDIATE, TargetKind.LSN, TargetKind.NAME}
        return self.end if is_at_end else None

    @property
    def must_stop(self) -> bool:
        """Whether the end of the WAL held is no good end: what was asked for had not come by then."""
        return self.target.kind is TargetKind.XID

    @property
    def wal_bytes(self) -> int:
        """Bytes of WAL between the backup's start and the end of what is had."""
        return sum(leg.end - leg.start for leg in self.path)


def parse_target(text: str, *, is_exclusive: bool = False, local: tzinfo | None = None) -> RecoveryTarget:
    """`latest`, `immediate`, an LSN, `xid:N`, `name:TEXT` or an ISO 8601 instant with its zone. RC005 for all else.

    Exclusive: without the transaction, or without the commits of that very instant; RC005 where that means nothing.
    `local` is the zone in which a time without one is also read for the hints: by default this machine's.
    """
    target = _parse(text, local)
    if not is_exclusive:
        return target
    if target.kind not in _WITH_A_SIDE:
        raise errors.RC005.error(
            f"found an exclusive {target.kind.value} target, expected a time or a transaction: other targets are "
            "positions between two records, and everything before is in",
            hints=[errors.run(f"leave `--exclusive` out: `--to {text.strip()}`")],
        )
    return RecoveryTarget(kind=target.kind, time=target.time, xid=target.xid, is_exclusive=True)


def pinned_to_json(pinned: PinnedRecovery) -> dict[str, Json]:
    """As it stands in a plan's arguments; `pinned_from_json` gives back an equal value."""
    return {
        "backup": pinned.backup_id,
        "system_identifier": pinned.system_identifier,
        "timeline": pinned.timeline.value,
        "target": _target_to_json(pinned.target),
        "end": str(pinned.end),
        "path": [[leg.timeline.value, str(leg.start), str(leg.end)] for leg in pinned.path],
        "lineages": list(pinned.lineages),
    }


def pinned_from_json(value: Any) -> PinnedRecovery:
    """The value that `pinned_to_json` wrote."""
    return PinnedRecovery(
        backup_id=value["backup"],
        system_identifier=value["system_identifier"],
        timeline=TimelineId(value["timeline"]),
        target=_target_from_json(value["target"]),
        end=Lsn.parse(value["end"]),
        path=tuple(
            WalPath(timeline=TimelineId(leg[0]), start=Lsn.parse(leg[1]), end=Lsn.parse(leg[2]))
            for leg in value["path"]
        ),
        lineages=tuple(value["lineages"]),
    )


def _target_to_json(target: RecoveryTarget) -> dict[str, Json]:
    return {
        "kind": target.kind.value,
        "lsn": None if target.lsn is None else str(target.lsn),
        "time": None if target.time is None else target.time.isoformat(),
        "xid": target.xid,
        "name": target.name,
        "exclusive": target.is_exclusive,
    }


def _target_from_json(value: Any) -> RecoveryTarget:
    return RecoveryTarget(
        kind=TargetKind(value["kind"]),
        lsn=None if value["lsn"] is None else Lsn.parse(value["lsn"]),
        time=None if value["time"] is None else datetime.fromisoformat(value["time"]),
        xid=value["xid"],
        name=value["name"],
        is_exclusive=value["exclusive"],
    )


def _parse(text: str, local: tzinfo | None) -> RecoveryTarget:
    kind, colon, value = text.partition(":")
    if colon and kind.strip().lower() == "name":
        # PostgreSQL compares names byte by byte, and takes blanks in them.
        return RecoveryTarget(kind=TargetKind.NAME, name=_restore_point(value))
    if colon and kind.strip().lower() == "xid":
        return RecoveryTarget(kind=TargetKind.XID, xid=_transaction_id(value.rstrip()))
    text = text.strip()
    if text.lower() in {"latest", "immediate"}:
        return RecoveryTarget(kind=TargetKind(text.lower()))
    try:
        return RecoveryTarget(kind=TargetKind.LSN, lsn=Lsn.parse(text))
    except ValueError:
        return _parse_time(text, local)


def _transaction_id(text: str) -> int:
    if not text.isdecimal() or not text.isascii() or not _FIRST_TRANSACTION <= int(text) < 1 << 63:
        raise errors.RC005.error(
            f"found the transaction id {text!r}, expected a number of 3 or more",
            hints=[errors.run("give it as `pg_current_xact_id()` or `xmin` has it: `--to xid:74863`")],
        )
    return int(text)


def _restore_point(text: str) -> str:
    if not 0 < len(text.encode()) <= _MOST_NAME_BYTES or "\0" in text:
        raise errors.RC005.error(
            f"found a restore point's name of {len(text.encode())} bytes, expected 1 to {_MOST_NAME_BYTES}",
            hints=[errors.run("give it as `pg_create_restore_point` was: `--to name:before-the-migration`")],
        )
    return text


def _parse_time(text: str, local: tzinfo | None) -> RecoveryTarget:
    try:
        instant = datetime.fromisoformat(text)
        if instant.tzinfo is None:
            raise _without_zone(text, instant, local)
        instant = instant.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise errors.RC005.error(
            f"found {text!r}, expected {_FORMS}",
            hints=[errors.run("write the time in ISO 8601 with its zone: `--to 2026-03-01T02:10:07+01:00`")],
        ) from error
    return RecoveryTarget(kind=TargetKind.TIME, time=instant)


def _without_zone(text: str, instant: datetime, local: tzinfo | None) -> errors.SafepointError:
    here = instant.astimezone() if local is None else instant.replace(tzinfo=local)
    hints = [errors.run(f"if it is UTC: `--to '{instant.isoformat()}Z'`")]
    if here.utcoffset():
        hints.append(errors.run(f"if it is this machine's time: `--to '{here.isoformat()}'`"))
    else:
        hints.append(errors.run(f"if it is another zone's, with its offset: `--to '{instant.isoformat()}+01:00'`"))
    return errors.RC005.error(f"found no zone in {text!r}, expected one as in …Z or …+01:00", hints=hints)

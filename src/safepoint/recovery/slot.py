"""The replication slot by which a primary keeps WAL for a standby that is being made.

Invariant: a restore that fails leaves no slot behind on a primary that answers, and says so of one that does not.
Source: PostgreSQL 15-18 documentation, "Replication Slots".
"""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg
from blake3 import blake3

from safepoint import errors
from safepoint.model.lsn import Lsn
from safepoint.postgres.connect import connect
from safepoint.postgres.url import DatabaseUrl

STANDBY_SLOTS = "safepoint_standby_"
"""How the names of these slots begin."""

MACHINE = Path("/etc/machine-id")
UNTOUCHED = "production and repository are untouched"

_DROP_SECONDS = 5.0
"""So long the primary may take to notice that the standby is gone."""

_POLL_SECONDS = 0.1
_IDENTITY = """
SELECT system_identifier::text,
       (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END)::text
FROM pg_control_system()
"""
_MAKE_SLOT = """
SELECT pg_create_physical_replication_slot(%(slot)s, true)
WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = %(slot)s)
"""
_DROP_LOST = """
SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
WHERE slot_name = %(slot)s AND wal_status = 'lost' AND NOT active
"""
_DROP_SLOT = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %(slot)s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserved:
    """The slot that keeps WAL on the primary, and how far the primary's WAL went when that was asked."""

    slot: str
    position: Lsn


def slot_name(directory: Path) -> str:
    """The slot of the standby in this directory of this machine: the same again, however often it is planned anew.

    So what a restore that was killed has left is found and used by the next one into that place.
    """
    machine = (MACHINE.read_bytes() if MACHINE.exists() else b"") + platform.node().encode()
    return f"{STANDBY_SLOTS}{blake3(machine + bytes(1) + os.fsencode(directory.resolve())).hexdigest(length=8)}"


def reserve_wal(primary: DatabaseUrl, system_identifier: str, slot: str) -> Reserved:
    """The primary keeps WAL for the standby from now on, or since an earlier restore that was killed.

    WL001 when it is another cluster, PG004, PG007, RC009.
    """
    try:
        with connect(primary) as connection:
            found, position = _identity(connection)
            if found != system_identifier:
                raise errors.WL001.error(
                    f"found cluster {found} at {primary.redacted}, expected {system_identifier}, the backup's",
                    hints=[errors.ask("does the strategy's URL lead to another server by now?")],
                )
            connection.execute(_DROP_LOST, {"slot": slot})
            connection.execute(_MAKE_SLOT, {"slot": slot})
    except psycopg.Error as error:
        raise not_following(f"that the primary makes no slot for it ({error})") from error
    return Reserved(slot=slot, position=Lsn.parse(position))


def give_up_wal(primary: DatabaseUrl, system_identifier: str, slot: str) -> bool:
    """Whether the primary keeps no WAL for the standby any more; False when it does not answer, or not soon.

    Another cluster that answers in its place never had the slot.
    """
    deadline = time.monotonic() + _DROP_SECONDS
    try:
        with connect(primary) as connection:
            if _identity(connection)[0] != system_identifier:
                return True
            while not _is_dropped(connection, slot):
                if time.monotonic() > deadline:
                    return False
                time.sleep(_POLL_SECONDS)
    except (psycopg.Error, errors.SafepointError):
        return False
    return True


def name_slot(error: BaseException, slot: str) -> None:
    """The error says that the primary still keeps WAL for the standby, and how that ends."""
    text = f"slot {slot} stays on the primary and keeps WAL there"
    drop = f"run the same command again, or drop the slot on the primary: `SELECT pg_drop_replication_slot('{slot}')`"
    if not isinstance(error, errors.SafepointError):
        error.add_note(f"{text}; {drop}")
        return
    if error.changed == errors.NOTHING_CHANGED:
        error.changed = text
    elif UNTOUCHED in error.changed:
        error.changed = error.changed.replace(UNTOUCHED, f"the repository is untouched; {text}")
    else:
        error.changed = f"{error.changed}; {text}"
    error.hints = (*error.hints, errors.run(drop))


def not_following(found: str) -> errors.SafepointError:
    """RC009."""
    return errors.RC009.error(
        f"found {found}, expected a standby that streams",
        hints=[
            errors.ask("may the strategy's role replicate, and does pg_hba.conf there let this machine in?"),
            errors.run("run the same command again"),
        ],
    )


def _identity(connection: psycopg.Connection[tuple[object, ...]]) -> tuple[str, str]:
    row = connection.execute(_IDENTITY).fetchone()
    return (str(row[0]), str(row[1])) if row is not None else ("", "0/0")


def _is_dropped(connection: psycopg.Connection[tuple[object, ...]], slot: str) -> bool:
    try:
        connection.execute(_DROP_SLOT, {"slot": slot})
    except psycopg.errors.ObjectInUse:
        return False
    return True

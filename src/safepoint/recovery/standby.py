"""A new standby of production: WAL from the repository first, then the primary's stream, kept by a slot of its own.

The slot is made before anything is written, so that whatever the repository does not hold yet, the primary keeps.
Production's configuration is in force but for where the server listens while it is made, and who may enter then.
Source: PostgreSQL 15-18 documentation, "Log-Shipping Standby Servers", "Replication Slots".
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import psycopg

from safepoint.files import write_durably
from safepoint.model.lsn import Lsn
from safepoint.postgres.cluster import Cluster, private_hba, start, stop
from safepoint.postgres.connect import connect
from safepoint.postgres.control import ControlData
from safepoint.postgres.settings import FILE_NAME, render_settings, write_settings
from safepoint.postgres.url import DatabaseUrl
from safepoint.recovery.configuration import PRODUCTION, limits_of, read_configuration, replay_settings
from safepoint.recovery.places import TABLESPACES
from safepoint.recovery.proofs import Outcome, Proof, ProofKind
from safepoint.recovery.replay import url_of
from safepoint.recovery.slot import not_following
from safepoint.recovery.targets import PinnedRecovery

STREAM_SECONDS = 60.0
"""So long without a step forward, a standby is taken not to follow its primary."""

_CONFIGURATION = ("postgresql.conf", "pg_hba.conf", "pg_ident.conf")
_POLL_SECONDS = 0.1
_AUTO = "postgresql.auto.conf"
_OURS = "# safepoint: a standby's own settings, behind production's.\n"
_FOLLOWING = """
SELECT (SELECT status FROM pg_stat_wal_receiver), pg_last_wal_replay_lsn()::text
"""
_ACTIVE = "SELECT active FROM pg_replication_slots WHERE slot_name = %s"
_NOT_FOR_STANDBYS = ("dbname", "application_name", "options", "client_encoding")


def configure_standby(cluster: Cluster, control: ControlData, pinned: PinnedRecovery) -> None:
    """The cluster starts as a standby with production's configuration, on a socket nobody else can enter."""
    data = cluster.data
    _place_configuration(data)
    hba = private_hba(cluster)
    write_settings(data, _settings(cluster, control) | {"hba_file": str(hba)})
    _write_auto(data, replay_settings(pinned))
    (data / "recovery.signal").unlink(missing_ok=True)
    write_durably(data / "standby.signal", b"")
    cluster.user.own(data)


def follow(cluster: Cluster, primary: DatabaseUrl, slot: str, goal: Lsn) -> Proof:
    """The standby streams from its primary and has replayed what that had written when the plan began; RC009."""
    following = {"primary_conninfo": conninfo_for(primary), "primary_slot_name": slot}
    _write_auto(cluster.data, following)
    cluster.user.own(cluster.data / _AUTO)
    with connect(url_of(cluster)) as connection:
        connection.execute("SELECT pg_reload_conf()")
        replayed = _wait_until_there(connection, goal)
    return Proof(
        kind=ProofKind.STREAMING,
        name="streams from the primary",
        outcome=Outcome.PASS,
        detail=f"by slot {slot}, replayed {replayed}, the primary was at {goal} when this began",
    )


def hand_over(cluster: Cluster, primary: DatabaseUrl, slot: str) -> None:
    """Who may enter is what production's configuration says, and the primary sees the standby stream; RC009."""
    hba = cluster.data / "pg_hba.conf"
    if hba.exists():
        written = dict(read_configuration(cluster.data / FILE_NAME))
        write_settings(cluster.data, written | {"hba_file": str(hba)})
        cluster.user.own(cluster.data / FILE_NAME)
        stop(cluster)
        start(cluster)
    deadline = time.monotonic() + STREAM_SECONDS
    with connect(primary) as connection:
        while (row := connection.execute(_ACTIVE, [slot]).fetchone()) is None or not row[0]:
            if time.monotonic() > deadline:
                raise not_following(f"slot {slot} of the primary not in use")
            time.sleep(_POLL_SECONDS)


def conninfo_for(primary: DatabaseUrl) -> str:
    """The primary as a standby connects to it; with its password, as pg_basebackup -R writes it."""
    return primary.conninfo(**dict.fromkeys(_NOT_FOR_STANDBYS))


def _wait_until_there(connection: psycopg.Connection[Any], goal: Lsn) -> Lsn:
    seen, deadline = Lsn(0), time.monotonic() + STREAM_SECONDS
    while True:
        row = connection.execute(_FOLLOWING).fetchone()
        status, replayed = (row[0], Lsn.parse(str(row[1]))) if row is not None else (None, Lsn(0))
        if status == "streaming" and replayed >= goal:
            return replayed
        if replayed > seen:
            seen, deadline = replayed, time.monotonic() + STREAM_SECONDS
        if time.monotonic() > deadline:
            raise not_following(f"its receiver {status or 'without a connection'} and {replayed} replayed of {goal}")
        time.sleep(_POLL_SECONDS)


def _place_configuration(data: Path) -> None:
    """Configuration that production keeps elsewhere stands in the data directory, unless that has its own."""
    for name in _CONFIGURATION:
        if not (data / name).exists() and (data / PRODUCTION / name).exists():
            shutil.copyfile(data / PRODUCTION / name, data / name)
            (data / name).chmod(0o600)
    (data / "postgresql.conf").touch(mode=0o600)


def _settings(cluster: Cluster, control: ControlData) -> dict[str, str]:
    """What must differ from production: where this server is. And limits, which may have grown since the backup."""
    data = cluster.data
    in_place = {"allow_in_place_tablespaces": "on"} if _has_tablespace_in_place(data) else {}
    return {
        "data_directory": str(data),
        "ident_file": str(data / "pg_ident.conf"),
        "external_pid_file": "",
        "port": str(cluster.port),
        "unix_socket_directories": str(cluster.socket_directory),
        "hot_standby": "on",
        **in_place,
    } | {name: str(value) for name, value in limits_of(control).items()}


def _has_tablespace_in_place(data: Path) -> bool:
    """Whether one that was not mapped is a plain directory in pg_tblspc, at which recovery would end."""
    folder = data / TABLESPACES
    return folder.is_dir() and any(entry.is_dir() and not entry.is_symlink() for entry in folder.iterdir())


def _write_auto(data: Path, ours: dict[str, str]) -> None:
    """Production's own, as it was when it was backed up, then ours."""
    aside = data / PRODUCTION / _AUTO
    if not aside.exists() and (data / _AUTO).exists():
        aside.parent.mkdir(mode=0o700, exist_ok=True)
        shutil.copyfile(data / _AUTO, aside)
    theirs = aside.read_bytes() if aside.exists() else b""
    write_durably(data / _AUTO, theirs.rstrip(b"\n") + b"\n" + _OURS.encode() + render_settings(ours).encode())

"""The configuration a restored cluster is started with: ours, not production's, which is kept beside it.

A socket nobody else can enter, no archiving, no replication, no preloaded libraries, small memory, and limits at
least those the WAL was written under: below them recovery stops (PostgreSQL documentation, "Administrator's
Overview" of hot standby).
"""

from __future__ import annotations

import re
from pathlib import Path

from safepoint.files import write_durably
from safepoint.postgres.cluster import Cluster
from safepoint.postgres.control import ControlData
from safepoint.postgres.settings import FILE_NAME, render_settings, write_settings
from safepoint.recovery.targets import PinnedRecovery

PRODUCTION = "production-config"
COPY_OF = "safepoint.copy_of"
"""The setting that says of which backup a cluster is a copy: while it stands there, its WAL is taken by nobody."""

_KEPT = ("postgresql.conf", "postgresql.auto.conf", "pg_hba.conf", "pg_ident.conf", FILE_NAME)
_SIGNALS = ("recovery.signal", "standby.signal")
_HEADER = "# Made by safepoint for a restored copy. Production's configuration is kept in production-config/.\n"

_MEANINGFUL = ("datestyle", "intervalstyle", "default_text_search_config", "lc_monetary", "lc_numeric", "lc_time")
"""Settings that decide what a value means or how it is written, not where or how fast."""

_SETTING = re.compile(r"^\s*(\w+)\s*=?\s*'?([^'#\n]*?)'?\s*(?:#.*)?$")


def configure(cluster: Cluster, control: ControlData, pinned: PinnedRecovery) -> None:
    """The cluster starts as a standby that recovers to the pinned end and stays there, and says whose copy it is."""
    data = cluster.data
    _set_production_aside(data)
    write_durably(data / "pg_hba.conf", b"local all all trust\nlocal replication all trust\n")
    write_durably(data / "pg_ident.conf", b"")
    write_durably(data / "postgresql.conf", _HEADER.encode())
    write_settings(data, _copy_settings(cluster, control, pinned))
    write_durably(data / "postgresql.auto.conf", render_settings(_recovery_settings(pinned)).encode())
    for name in _SIGNALS:
        (data / name).unlink(missing_ok=True)
    write_durably(data / "standby.signal", b"")
    cluster.user.own(data)


def raise_limits(cluster: Cluster, control: ControlData, pinned: PinnedRecovery) -> None:
    """The limits are at least those in the control file, which WAL may have raised meanwhile."""
    if _is_ours(cluster.data / "postgresql.conf"):
        settings = _copy_settings(cluster, control, pinned)
    else:
        settings = dict(read_configuration(cluster.data / FILE_NAME))
        settings |= {name: str(value) for name, value in limits_of(control).items()}
    write_settings(cluster.data, settings)
    cluster.user.own(cluster.data / FILE_NAME)


def forget_target(cluster: Cluster, pinned: PinnedRecovery) -> None:
    """The next start recovers to the end of the WAL fed, with no target to miss."""
    write_durably(cluster.data / "postgresql.auto.conf", render_settings(replay_settings(pinned)).encode())
    cluster.user.own(cluster.data / "postgresql.auto.conf")


def end_recovery_settings(cluster: Cluster) -> None:
    """Nothing of the recovery is left in the configuration."""
    write_durably(cluster.data / "postgresql.auto.conf", b"")
    cluster.user.own(cluster.data / "postgresql.auto.conf")


def are_limits_enough(data: Path, control: ControlData) -> bool:
    """Whether the configuration's limits reach those in the control file."""
    written = dict(read_configuration(data / FILE_NAME))
    return all(int(written.get(name, "0")) >= value for name, value in limits_of(control).items())


def _set_production_aside(data: Path) -> None:
    """Moved once: what stands there after an interruption is production's, what stands in its place is ours."""
    folder = data / PRODUCTION
    folder.mkdir(mode=0o700, exist_ok=True)
    is_ours = _is_ours(data / "postgresql.conf")
    for name in _KEPT:
        if (data / name).exists() and not (folder / name).exists() and not is_ours:
            (data / name).replace(folder / name)


def _is_ours(configuration: Path) -> bool:
    # Production's may be in any encoding.
    return configuration.exists() and configuration.read_bytes().startswith(_HEADER.encode())


def limits_of(control: ControlData) -> dict[str, int]:
    """The least that recovery needs, and what a small server is well with."""
    return {
        "max_connections": max(control.max_connections, 100),
        "max_worker_processes": max(control.max_worker_processes, 8),
        "max_wal_senders": max(control.max_wal_senders, 10),
        "max_prepared_transactions": control.max_prepared_transactions,
        "max_locks_per_transaction": max(control.max_locks_per_transaction, 64),
    }


def _copy_settings(cluster: Cluster, control: ControlData, pinned: PinnedRecovery) -> dict[str, str]:
    ours = _settings(cluster, control) | _meaningful_settings(cluster.data / PRODUCTION)
    return ours | {COPY_OF: pinned.backup_id}


def _settings(cluster: Cluster, control: ControlData) -> dict[str, str]:
    return {
        "port": str(cluster.port),
        "unix_socket_directories": str(cluster.socket_directory),
        "listen_addresses": "",
        "timezone": "GMT",
        "log_timezone": "GMT",
        "wal_level": control.wal_level,
        "track_commit_timestamp": "on" if control.track_commit_timestamp else "off",
        "wal_log_hints": "on" if control.wal_log_hints else "off",
        "archive_mode": "off",
        "hot_standby": "on",
        "shared_buffers": "128MB",
        "shared_preload_libraries": "",
        "max_logical_replication_workers": "0",
        # A tablespace that was not mapped is a plain directory in pg_tblspc, at which recovery would end.
        "allow_in_place_tablespaces": "on",
    } | {name: str(value) for name, value in limits_of(control).items()}


def replay_settings(pinned: PinnedRecovery) -> dict[str, str]:
    """What a server needs that is fed with WAL."""
    return {
        "recovery_target_timeline": str(pinned.timeline),
        # A recycled file is WAL that was fed, under a later name.
        "wal_recycle": "off",
        # How soon a standby that caught up with the feeder looks again.
        "wal_retrieve_retry_interval": "10ms",
        # Until it lets us in, its title is all the server says of where it is.
        "update_process_title": "on",
    }


def _recovery_settings(pinned: PinnedRecovery) -> dict[str, str]:
    settings = {**replay_settings(pinned), "recovery_target_action": "pause"}
    target = pinned.target
    if target.time is not None:
        settings["recovery_target_time"] = target.time.isoformat(sep=" ")
        settings["recovery_target_inclusive"] = "off" if target.is_exclusive else "on"
    elif target.xid is not None:
        settings["recovery_target_xid"] = str(target.xid % (1 << 32))
        settings["recovery_target_inclusive"] = "off" if target.is_exclusive else "on"
    elif pinned.position is not None:
        settings["recovery_target_lsn"] = str(pinned.position)
        settings["recovery_target_inclusive"] = "off"
    return settings


def _meaningful_settings(folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in ("postgresql.conf", FILE_NAME, "postgresql.auto.conf"):
        found.update({key: value for key, value in read_configuration(folder / name) if key in _MEANINGFUL and value})
    return found


def read_configuration(path: Path) -> list[tuple[str, str]]:
    """The settings of a configuration file in their order, without includes; of one that is not there, none."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return []
    matches = (_SETTING.match(line) for line in lines if not line.lstrip().startswith("#"))
    return [(match[1].lower(), match[2]) for match in matches if match]

"""Clusters: made, adopted, started, stopped, promoted.

A cluster's run directory holds its socket and its log. Nobody but the server's user and root can enter it, which is
why connections through it are trusted; TCP, where asked for, wants a password.

A server outlives the process that started it; `running` is for those that must not.
Source: PostgreSQL documentation, "Creating a Database Cluster", initdb, pg_ctl.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from safepoint import errors
from safepoint.postgres.binaries import Binaries
from safepoint.postgres.data_directory import require_data_directory
from safepoint.postgres.initdb import SUPERUSER, remove_made, require_empty, run_initdb, unwritable
from safepoint.postgres.pid_file import PidFile, live_pid_file
from safepoint.postgres.programs import ServerUser, end_program, last_lines, run_program, spawn_program
from safepoint.postgres.run_directory import (
    LOOPBACK,
    free_port,
    is_run_directory,
    make_run_directory,
    require_private,
)
from safepoint.postgres.server_user import server_user
from safepoint.postgres.settings import command_line_options, read_settings, write_settings
from safepoint.postgres.url import DatabaseUrl

_NOTICED_SECONDS = 2.0
_NO_SYNC = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

StopMode = Literal["smart", "fast", "immediate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A data directory with all that is needed to run a server on it. `socket_directory` is its run directory."""

    data: Path
    binaries: Binaries
    user: ServerUser
    socket_directory: Path
    port: int
    listen_addresses: str = ""

    @property
    def log(self) -> Path:
        """Where the server writes its log when safepoint starts it."""
        return self.socket_directory / "server.log"

    def url(self, database: str = "postgres") -> DatabaseUrl:
        """The superuser's URL through the socket."""
        return DatabaseUrl.of(host=str(self.socket_directory), port=self.port, user=SUPERUSER, dbname=database)


def make_cluster(
    data: Path,
    binaries: Binaries,
    *,
    settings: Mapping[str, str] | None = None,
    checksums: bool = True,
    listen_tcp: bool = False,
    sync: bool = True,
) -> Cluster:
    """A new cluster, stopped, in a directory that is absent or empty; durable unless `sync` is False (tests).

    UTF-8 with C.UTF-8 (C where that is missing), superuser `postgres`, `settings` written to its configuration. When
    it fails or is interrupted, what it made is gone. Raises PG002 when there is something in the directory, PG008.
    """
    data = data.resolve()
    require_empty(data)
    user = server_user(data, binaries)
    existed = data.is_dir()
    run_directory: Path | None = None
    try:
        user.make_directory(data)
        run_directory = make_run_directory(data, user)
        run_initdb(data, binaries, user, checksums=checksums, sync=sync)
        cluster = Cluster(
            data=data,
            binaries=binaries,
            user=user,
            socket_directory=run_directory,
            port=free_port(),
            listen_addresses=LOOPBACK if listen_tcp else "",
        )
        durability = {} if sync else _NO_SYNC
        write_settings(data, _own_settings(cluster) | durability | dict(settings or {}))
        user.own(data)
    except BaseException as error:
        remove_made(data, run_directory, keep_directory=existed)
        if isinstance(error, OSError):
            raise unwritable(data, error) from error
        raise
    return cluster


def adopt_cluster(
    data: Path, binaries: Binaries, *, socket_directory: Path | None = None, port: int | None = None
) -> Cluster:
    """A cluster that exists, made or restored by whomever; its files belong to the server's user afterwards.

    Where its server listens is what a running server says, else what is given, else what `make_cluster` wrote for
    this very directory, else a fresh run directory and a free port. Raises PG002 when it is no data directory of the
    binaries' major.
    """
    data = data.resolve()
    require_data_directory(data, binaries)
    user = server_user(data, binaries)
    live = live_pid_file(data)
    if live is not None:
        return _running_cluster(data, binaries, user, live)
    user.own(data)
    written = read_settings(data)
    known = socket_directory or (Path(written["unix_socket_directories"]) if written else None)
    return Cluster(
        data=data,
        binaries=binaries,
        user=user,
        socket_directory=known or make_run_directory(data, user),
        port=port or int(written.get("port", "0")) or free_port(),
        listen_addresses=written.get("listen_addresses", ""),
    )


def start(cluster: Cluster, *, settings: Mapping[str, str] | None = None, timeout: float = 60.0) -> None:
    """The server accepts connections; during recovery: as a hot standby, *before* its target is reached.

    `settings` hold for this start and win over every file. Raises PG002 when a server runs there already, PG003
    with the end of its log when it does not come up within `timeout` seconds; then, as after Ctrl-C, none is left.
    """
    if is_running(cluster):
        raise errors.PG002.error(
            f"found a server running on {cluster.data}, expected none",
            hints=[errors.ask("was it started already, by another terminal or by the system?")],
        )
    require_data_directory(cluster.data, cluster.binaries)
    require_private(cluster.socket_directory, cluster.user)
    _make_log(cluster)
    said_before = cluster.log.stat().st_size
    process = spawn_program(cluster.user, _start_command(cluster, settings or {}, timeout))
    try:
        process.communicate(timeout=timeout + _NOTICED_SECONDS)
        has_started = process.returncode == 0
    except subprocess.TimeoutExpired:
        has_started = False
    except BaseException:
        _give_up(cluster, process)
        raise
    if not has_started:
        _give_up(cluster, process)
        raise _not_started(cluster, said_before)


def stop(cluster: Cluster, *, mode: StopMode = "fast", timeout: float = 60.0) -> None:
    """No server runs on the data directory.

    After `timeout` seconds it is stopped at once, to recover on its next start; PG011 when even that fails.
    """
    modes: tuple[StopMode, ...] = (mode,) if mode == "immediate" else (mode, "immediate")
    for chosen in modes:
        if not is_running(cluster):
            return
        _pg_ctl(cluster, "stop", "-m", chosen, "-w", "-t", str(round(timeout)), check=False)
    if is_running(cluster):
        raise errors.PG011.error(
            f"found the server on {cluster.data} still running after an immediate stop, expected none",
            changed="the server may be stopping still",
            hints=[errors.run(f"see its log: {cluster.log}")],
        )


def promote(cluster: Cluster, *, timeout: float = 60.0) -> None:
    """The standby has left recovery, on a new timeline. Raises PG011 when it was none, or does not within `timeout`."""
    _pg_ctl(cluster, "promote", "-w", "-t", str(round(timeout)))


def is_running(cluster: Cluster) -> bool:
    """Whether a postmaster runs on the data directory, by its pid file and the process it names."""
    return live_pid_file(cluster.data) is not None


@contextmanager
def running(
    cluster: Cluster, *, settings: Mapping[str, str] | None = None, timeout: float = 60.0, mode: StopMode = "fast"
) -> Generator[Cluster]:
    """The server runs inside the context and not after it, whatever happens in between."""
    try:
        start(cluster, settings=settings, timeout=timeout)
        yield cluster
    finally:
        stop(cluster, mode=mode)


def remove_cluster(cluster: Cluster) -> None:
    """Server, data directory and run directory are gone; links out of the data directory are not followed."""
    stop(cluster, mode="immediate")
    shutil.rmtree(cluster.data, ignore_errors=True)
    if is_run_directory(cluster.socket_directory, cluster.data):
        shutil.rmtree(cluster.socket_directory, ignore_errors=True)


def private_hba(cluster: Cluster) -> Path:
    """A pg_hba.conf that trusts the run directory and nothing else, for a copy whose own shuts us out.

    To be given as the setting `hba_file`.
    """
    require_private(cluster.socket_directory, cluster.user)
    path = cluster.socket_directory / "pg_hba.conf"
    path.write_text("local all all trust\nlocal replication all trust\n")
    path.chmod(0o600)
    cluster.user.own(path)
    return path


def _own_settings(cluster: Cluster) -> dict[str, str]:
    return {
        "port": str(cluster.port),
        "unix_socket_directories": str(cluster.socket_directory),
        "listen_addresses": cluster.listen_addresses,
        # GMT needs no time zone files, which minimal systems lack and some packages do not bring.
        "timezone": "GMT",
        "log_timezone": "GMT",
    }


def _running_cluster(data: Path, binaries: Binaries, user: ServerUser, live: PidFile) -> Cluster:
    if live.port is None or live.socket_directory is None:
        raise errors.PG002.error(
            f"found a server on {data} that does not listen on a socket, expected one that does",
            hints=[
                errors.ask("is it starting just now?"),
                errors.run("set `unix_socket_directories` and restart the server"),
            ],
        )
    return Cluster(
        data=data,
        binaries=binaries,
        user=user,
        socket_directory=live.socket_directory,
        port=live.port,
        listen_addresses=live.listen_address or "",
    )


def _make_log(cluster: Cluster) -> None:
    cluster.log.touch(mode=0o600)
    cluster.user.own(cluster.log)


def _start_command(cluster: Cluster, settings: Mapping[str, str], timeout: float) -> list[str | Path]:
    where = {
        "port": str(cluster.port),
        "unix_socket_directories": str(cluster.socket_directory),
        "listen_addresses": cluster.listen_addresses,
    }
    options = command_line_options(where | dict(settings))
    command: list[str | Path] = [cluster.binaries.program("pg_ctl"), "start", "-D", cluster.data, "-l", cluster.log]
    return [*command, "-w", "-t", str(round(timeout)), "-o", options]


def _give_up(cluster: Cluster, process: subprocess.Popen[str]) -> None:
    """Neither pg_ctl nor a server is left. The server may not have written its pid file yet: wait until it has."""
    deadline = time.monotonic() + _NOTICED_SECONDS
    while process.poll() is None and not is_running(cluster) and time.monotonic() < deadline:
        time.sleep(0.02)
    end_program(process)
    stop(cluster, mode="immediate")


def _not_started(cluster: Cluster, said_before: int) -> errors.SafepointError:
    with cluster.log.open("rb") as log:
        log.seek(said_before)
        said = log.read().decode(errors="replace")
    return errors.PG003.error(
        f"found no server on {cluster.data} after its start, expected one; "
        f"its log ends: {last_lines(said) or '(empty)'}",
        changed="no server was left running",
        hints=[errors.run(f"read the whole log: {cluster.log}")],
    )


def _pg_ctl(cluster: Cluster, action: str, *arguments: str, check: bool = True) -> None:
    command = [cluster.binaries.program("pg_ctl"), action, "-D", cluster.data, *arguments]
    run_program(cluster.user, command, check=check)

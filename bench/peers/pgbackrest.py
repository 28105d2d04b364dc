"""pgBackRest with two processes and zstd 1, into a folder.

It is told not to wait for WAL (`archive-check=n`): its backups are of the files alone, to its favour.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.commands import measured
from bench.measure import Outcome
from safepoint.postgres.cluster import Cluster

STANZA = "bench"

_CONFIGURATION = """\
[global]
repo1-path={folder}/repository
repo1-retention-full=1
log-path={folder}/log
lock-path={folder}/lock
spool-path={folder}/spool
log-level-console=warn
log-level-file=off
process-max=2
compress-type=zst
compress-level=1
start-fast=y
archive-check=n
{more}
[{stanza}]
pg1-path={data}
pg1-user=postgres
pg1-socket-path={socket}
pg1-port={port}
"""
_CIPHER = "repo1-cipher-type=aes-256-cbc\nrepo1-cipher-pass=a passphrase for the benchmark\n"
_ASYNC = "archive-async=y\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class PgBackRest:
    """A configuration and its repository below a folder."""

    folder: Path

    @property
    def configuration(self) -> Path:
        """Its configuration file."""
        return self.folder / "pgbackrest.conf"

    def run(self, command: str, *options: str) -> Outcome:
        """One command of its, measured."""
        return measured([*self.argv(command), *options])

    def argv(self, command: str) -> list[str]:
        """How a command of its is called."""
        return ["pgbackrest", f"--config={self.configuration}", f"--stanza={STANZA}", command]

    def full(self) -> Outcome:
        """A full backup."""
        return self.run("backup", "--type=full")

    def restore(self, directory: Path, *options: str) -> Outcome:
        """The newest backup in a directory of its own."""
        return self.run("restore", f"--pg1-path={directory}", "--type=none", *options)

    def stored_bytes(self) -> int:
        """What the files of its repository hold."""
        return sum(path.stat().st_size for path in (self.folder / "repository").rglob("*") if path.is_file())


def version() -> str | None:
    """As `pgbackrest version` says it; None when it is not installed."""
    if shutil.which("pgbackrest") is None:
        return None
    answer = subprocess.run(["pgbackrest", "version"], capture_output=True, text=True, check=True)
    found = re.search(r"\d+(\.\d+)+", answer.stdout)
    return found[0] if found else "unknown"


def for_cluster(folder: Path, cluster: Cluster, *, is_encrypted: bool = False) -> PgBackRest:
    """An empty repository for a running cluster; what was in the folder is gone."""
    place = _placed(folder, cluster.data, cluster.socket_directory, cluster.port, _CIPHER if is_encrypted else "")
    place.run("stanza-create")
    return place


def for_archive(folder: Path, data: Path, *, is_async: bool) -> PgBackRest:
    """An empty repository for WAL of a data directory without a server."""
    place = _placed(folder, data, data, 5432, _ASYNC if is_async else "")
    place.run("stanza-create", "--no-online")
    return place


def _placed(folder: Path, data: Path, socket: Path, port: int, more: str) -> PgBackRest:
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("repository", "log", "lock", "spool"):
        (folder / name).mkdir(parents=True)
    place = PgBackRest(folder=folder)
    text = _CONFIGURATION.format(folder=folder, stanza=STANZA, data=data, socket=socket, port=port, more=more)
    place.configuration.write_text(text)
    return place

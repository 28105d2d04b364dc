"""initdb: an empty directory becomes a data directory, or stays as it was.

Source: PostgreSQL documentation, initdb; src/bin/initdb/initdb.c of 15 to 18.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from safepoint import errors
from safepoint.postgres.binaries import Binaries
from safepoint.postgres.programs import ServerUser, last_lines, run_program

SUPERUSER = "postgres"

_INITDB_SECONDS = 120.0
_FIRST_CHECKSUMS_BY_DEFAULT = 18


def run_initdb(data: Path, binaries: Binaries, user: ServerUser, *, checksums: bool, sync: bool) -> None:
    """A cluster in `data`, which is empty and the user's: UTF-8, C.UTF-8 or C, trusted on its socket only; PG002."""
    command: list[str | Path] = [binaries.program("initdb"), "-D", data, "-U", SUPERUSER, "-E", "UTF8"]
    command += ["--auth-local=trust", "--auth-host=scram-sha-256"]
    if checksums:
        command.append("--data-checksums")
    elif binaries.version.major >= _FIRST_CHECKSUMS_BY_DEFAULT:
        command.append("--no-data-checksums")
    if not sync:
        command.append("--no-sync")
    answer = run_program(user, [*command, "--locale=C.UTF-8"], timeout=_INITDB_SECONDS, check=False)
    if "invalid locale" in answer.stderr:
        answer = run_program(user, [*command, "--locale=C"], timeout=_INITDB_SECONDS, check=False)
    if answer.returncode != 0:
        raise errors.PG002.error(
            f"found that initdb ended with exit code {answer.returncode} on {data}, expected 0: "
            f"{last_lines(answer.stderr)}",
            hints=[errors.ask("is there room on the disk, and may the server's user write there?")],
        )


def require_empty(data: Path) -> None:
    """Raises PG002 unless the directory is absent or empty."""
    try:
        found = _what_is_there(data)
    except OSError as error:
        raise unwritable(data, error) from error
    if found is not None:
        raise errors.PG002.error(
            f"found {found} {data}, expected an absent or empty directory",
            hints=[errors.ask("does a cluster exist there already?"), errors.run("choose another directory")],
        )


def unwritable(data: Path, error: OSError) -> errors.SafepointError:
    """PG002 for a directory that cannot be made or filled."""
    return errors.PG002.error(
        f"found that no cluster can be made in {data} ({error.strerror}: {error.filename}), expected a place to write",
        hints=[errors.ask("may this user write there, and is there room on the disk?")],
    )


def _what_is_there(data: Path) -> str | None:
    if data.is_dir():
        return "files in" if any(data.iterdir()) else None
    return "a file at" if data.exists() else None


def remove_made(data: Path, run_directory: Path | None, *, keep_directory: bool) -> None:
    """What a failed or interrupted making left; an empty directory that was there before stays."""
    if not keep_directory:
        shutil.rmtree(data, ignore_errors=True)
    elif data.is_dir():
        for entry in data.iterdir():
            shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    if run_directory is not None:
        shutil.rmtree(run_directory, ignore_errors=True)

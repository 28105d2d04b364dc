"""Whether a restore may have a directory: looked at before anything in it is touched. Every refusal is RC002."""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from safepoint import errors
from safepoint.errors import SafepointError
from safepoint.files import DRAFT_SUFFIX
from safepoint.model.measures import format_bytes
from safepoint.postgres.binaries import Binaries
from safepoint.postgres.control import read_control
from safepoint.postgres.pid_file import live_pid_file
from safepoint.recovery.marker import MARKER

_NOT_FOR_A_SHELL = frozenset('"$`\\\n')
"""pg_ctl starts the server through a shell, with the directory in double quotes (src/bin/pg_ctl/pg_ctl.c)."""

_EMPTY = "an absent or empty directory"


def require_same_cluster(path: Path, marked: str, wanted: str) -> None:
    """The half restored directory is of the cluster that is wanted."""
    if marked != wanted:
        raise unusable(
            f"{path} half restored from cluster {marked}", f"it empty or half restored from cluster {wanted}"
        )


def require_unused(path: Path) -> None:
    """There is nothing, or an empty directory that a server may have."""
    _require_unserved(path, _EMPTY)
    if path.is_dir() and not all(_is_marker_draft(entry) for entry in path.iterdir()):
        kind = "a data directory" if (path / "PG_VERSION").exists() else "files"
        raise unusable(f"{kind} in {path}", _EMPTY)
    _require_fit(path)


def require_stopped_cluster(path: Path, binaries: Binaries, identifier: str) -> None:
    """A cluster of this system identifier is there, and no server runs on it: a delta may overwrite it."""
    _require_unserved(path, "a stopped cluster")
    try:
        control = read_control(binaries, path)
    except SafepointError as error:
        expected = f"a cluster with system identifier {identifier}, which a delta may overwrite"
        raise unusable(f"that whose cluster {path} is cannot be told ({error.message})", expected) from error
    if str(control.system_identifier) != identifier:
        raise unusable(
            f"the cluster with system identifier {control.system_identifier} in {path}",
            f"that with {identifier}, which a delta may overwrite",
        )
    _require_fit(path)


def require_own_or_empty(path: Path, major: int, *, is_own: bool) -> None:
    """A tablespace may have the directory: nothing is there, or with `is_own` what tablespaces of this major hold."""
    _require_directory(path, _EMPTY)
    names = sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []
    ours = re.compile(rf"PG_{major}_\d+") if is_own else None
    strange = [name for name in names if ours is None or not ours.fullmatch(name)]
    if strange:
        expected = f"nothing but PG_{major}_… of this cluster" if is_own else _EMPTY
        raise unusable(f"{strange[0]} in {path}, the directory of a tablespace", expected)
    _require_fit(path)


def require_space(needed: Mapping[Path, int]) -> None:
    """Each file system has room for what goes to its directories; what they hold counts as free."""
    wanted: Counter[int] = Counter()
    free: dict[int, tuple[Path, int]] = {}
    held: Counter[int] = Counter()
    for path, count in needed.items():
        place = next(parent for parent in (path, *_parents(path)) if parent.is_dir())
        device = place.stat().st_dev
        wanted[device] += count
        held[device] += _allocated_bytes(path)
        free.setdefault(device, (place, shutil.disk_usage(place).free))
    for device, (place, count) in free.items():
        if count + held[device] < wanted[device]:
            found = format_bytes(count + held[device])
            raise unusable(f"{found} free at {place}", f"{format_bytes(wanted[device])} for files and WAL")


def unusable(found: str, expected: str) -> SafepointError:
    """RC002 with both."""
    return errors.RC002.error(
        f"found {found}, expected {expected}",
        hints=[
            errors.ask("is a cluster there that is still wanted?"),
            errors.run("restore into a fresh directory: `--into DIR`"),
        ],
    )


def _require_unserved(path: Path, expected: str) -> None:
    if any(letter in _NOT_FOR_A_SHELL for letter in str(path.resolve())):
        raise unusable(f"the path {str(path)!r}", 'one without any of " $ ` \\ and line breaks: pg_ctl needs a shell')
    if live_pid_file(path) is not None:
        raise unusable(f"a running server on {path}", expected)
    _require_directory(path, expected)


def _require_directory(path: Path, expected: str) -> None:
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise unusable(f"{path} to be no directory", expected)


def _require_fit(path: Path) -> None:
    """It is no mount point, which may be gone one day, and lies in no other data directory."""
    if path.is_dir() and path.is_mount():
        raise unusable(f"{path} to be a mount point", "a directory below it")
    for parent in _parents(path):
        if (parent / "PG_VERSION").exists():
            raise unusable(f"{path} within the data directory {parent}", "a directory of its own")


def _is_marker_draft(entry: Path) -> bool:
    """Whether it is what a restore leaves that is killed while it writes its first file."""
    return entry.name == MARKER + DRAFT_SUFFIX and entry.is_file() and not entry.is_symlink()


def _parents(path: Path) -> Iterator[Path]:
    yield from path.resolve().parents


def _allocated_bytes(path: Path) -> int:
    """What the files below take of the disk; links are not followed, files that vanish meanwhile count nothing."""
    found = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with suppress(FileNotFoundError):
                found += os.lstat(os.path.join(folder, name)).st_blocks * 512  # noqa: PTH118 - of many thousands
    return found

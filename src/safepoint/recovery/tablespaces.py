"""Where the tablespaces of a copy go: chosen by name, oid or former place, each into a directory of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from safepoint import errors
from safepoint.model.backup import BackupManifest, Tablespace
from safepoint.recovery.listed import is_written
from safepoint.recovery.places import TABLESPACES
from safepoint.repository import Repository

IN_PLACE = 0
"""Stands for what lies in the data directory itself."""


def chosen_tablespaces(wanted: Sequence[str], tablespaces: Sequence[Tablespace]) -> dict[int, Path]:
    """The directories by oid, from `NAME=DIRECTORY`, `OID=DIRECTORY` or `FORMER DIRECTORY=DIRECTORY`, absolute.

    RC002 for a tablespace that the backup does not have or that is named twice, and for no directory.
    """
    found: dict[int, Path] = {}
    for text in wanted:
        former, separator, directory = text.partition("=")
        if not separator or not directory:
            raise _unusable(f"{text!r} for a tablespace", "NAME, OID or its former directory, =, and the new one")
        oid = _oid_of(former, tablespaces)
        if oid in found:
            raise _unusable(f"tablespace {former} given twice", "one directory for each")
        found[oid] = Path(os.path.abspath(directory))  # noqa: PTH100 - links are looked at where it is claimed
    return found


def sizes_of(repository: Repository, manifest: BackupManifest) -> dict[int, int]:
    """How many bytes of the backup lie in each tablespace, by oid, and IN_PLACE in the data directory; RP004, RP005."""
    sizes = {IN_PLACE: 0}
    for entry in repository.files(manifest).entries():
        if is_written(entry.path):
            oid = _tablespace_of(entry.path)
            sizes[oid] = sizes.get(oid, 0) + entry.size
    return sizes


def give_to_owner(directory: Path) -> None:
    """What is below a tablespace's directory belongs to whom the directory belongs to; OSError."""
    if os.geteuid() != 0:
        return
    owner = directory.stat()
    for folder, directories, names in os.walk(directory):
        for name in (*directories, *names):
            path = os.path.join(folder, name)  # noqa: PTH118 - of many thousands
            status = os.lstat(path)
            if (status.st_uid, status.st_gid) != (owner.st_uid, owner.st_gid):
                os.lchown(path, owner.st_uid, owner.st_gid)


def require_apart(directory: Path, tablespaces: Mapping[int, Path]) -> None:
    """RC002 unless none of the directories lies in another or in the data directory, or that in one of them."""
    places = [directory.resolve(), *(path.resolve() for path in tablespaces.values())]
    for number, place in enumerate(places):
        for other in places[number + 1 :]:
            if place.is_relative_to(other) or other.is_relative_to(place):
                raise _unusable(f"{other} and {place} within one another", "directories apart from one another")


def _oid_of(former: str, tablespaces: Sequence[Tablespace]) -> int:
    for tablespace in tablespaces:
        if former in {tablespace.name, str(tablespace.oid), tablespace.location}:
            return tablespace.oid
    names = ", ".join(f"{it.name} ({it.oid}, {it.location})" for it in tablespaces) or "none"
    raise _unusable(f"tablespace {former!r}", f"one that the backup has: {names}")


def _tablespace_of(path: str) -> int:
    top, _, below = path.partition("/")
    oid = below.partition("/")[0]
    return int(oid) if top == TABLESPACES and oid.isdigit() else IN_PLACE


def _unusable(found: str, expected: str) -> errors.SafepointError:
    return errors.RC002.error(
        f"found {found}, expected {expected}",
        hints=[errors.run("give each tablespace a directory: `--tablespace NAME=DIR`, or none to keep it inside")],
    )

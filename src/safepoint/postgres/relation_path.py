"""What the name of a file below a data directory says of it: which relation, which fork, which of its segments. Pure.

Source: PostgreSQL documentation, "Database File Layout"; src/common/relpath.c; src/backend/storage/file/reinit.c
(parse_filename_for_nontemp_relation), src/backend/storage/file/fd.c (looks_like_temp_rel_name).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

_NAME = r"(\d{1,10})(?:_(fsm|vm|init))?(?:\.(\d{1,6}))?"
_DIRECTORY = re.compile(r"global|base/\d+|pg_tblspc/\d+/PG_\d+_\d+/\d+")
_RELATION = re.compile(_NAME)
_TEMPORARY = re.compile(rf"t\d+_{_NAME}")


class Fork(Enum):
    """A relation's forks, by the suffix of their files."""

    MAIN = ""
    FREE_SPACE_MAP = "fsm"
    VISIBILITY_MAP = "vm"
    INIT = "init"


@dataclass(frozen=True, slots=True, kw_only=True)
class RelationFile:
    """One segment of one fork of the relation `number` (its relfilenode) in `directory`."""

    directory: str
    number: int
    fork: Fork
    segment: int


def relation_file(path: str) -> RelationFile | None:
    """What the file of this path, relative to the data directory, is part of; None when it is no relation's."""
    directory, _, name = path.rpartition("/")
    match = _RELATION.fullmatch(name)
    if match is None or not holds_relations(directory):
        return None
    return RelationFile(
        directory=directory, number=int(match[1]), fork=Fork(match[2] or ""), segment=int(match[3] or 0)
    )


def holds_relations(directory: str) -> bool:
    """Whether files named like relations are relations there."""
    return _DIRECTORY.fullmatch(directory) is not None


def is_temporary(name: str) -> bool:
    """Whether a file of this name, where relations are held, belongs to a temporary relation of some session."""
    return _TEMPORARY.fullmatch(name) is not None

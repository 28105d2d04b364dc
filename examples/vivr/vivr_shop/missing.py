"""Which acknowledged commits a database does not have: the measure of what was lost."""

from __future__ import annotations

from collections import defaultdict
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from psycopg import Connection

    from .records import Commit

BATCH: Final = 5_000


class _Group(NamedTuple):
    """Rows that are asked for together: those of a payment must also have left PENDING."""

    table: str
    is_settled: bool


def missing(connection: Connection, commits: Iterable[Commit]) -> list[Commit]:
    """Those commits of which a row is not in this database, or not in the state that the commit gave it.

    An order needs itself, its items and its payment; a payment needs its payment and its order to be pending no more.
    """
    commits = list(commits)
    wanted: defaultdict[_Group, set[str]] = defaultdict(set)
    for commit in commits:
        for group, keys in _groups(commit):
            wanted[group].update(keys)
    present = {group: _present(connection, group, keys) for group, keys in wanted.items()}
    return [commit for commit in commits if not all(present[group].issuperset(keys) for group, keys in _groups(commit))]


def _groups(commit: Commit) -> Iterable[tuple[_Group, tuple[str, ...]]]:
    is_settled = commit.kind == "payment"
    return ((_Group(table, is_settled), keys) for table, keys in commit.ids.items())


def _present(connection: Connection, group: _Group, keys: set[str]) -> set[str]:
    settled = " AND \"status\" <> 'PENDING'" if group.is_settled else ""
    query = f'SELECT "id" FROM "public"."{group.table}" WHERE "id" = ANY(%s){settled}'.encode()
    answers = (connection.execute(query, (batch,)).fetchall() for batch in _batches(keys))
    return {key for (key,) in chain.from_iterable(answers)}


def _batches(keys: set[str]) -> Iterable[list[str]]:
    ordered = sorted(keys)
    return (ordered[first : first + BATCH] for first in range(0, len(ordered), BATCH))

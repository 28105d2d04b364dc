"""Whether WAL summaries of a cluster are believed, by its records: until a page changed that they did not tell of.

The newest record of a cluster decides; without one they are believed. What was found is kept for ever, what somebody
decided after it, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from safepoint.model.json_value import Json, JsonObject
from safepoint.repository import Repository

KIND = "summaries"
_MOST_BLOCKS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Distrust:
    """A file with pages that had changed though no WAL summary said so; `blocks` count from the file's beginning."""

    at: str
    path: str
    blocks: tuple[int, ...]

    def __str__(self) -> str:
        named = ", ".join(map(str, self.blocks[:5])) + (", …" if len(self.blocks) > 5 else "")  # noqa: PLR2004
        return f"WAL summaries did not tell of changed pages ({self.path}, page {named}; found {self.at})"


def distrust_of(repository: Repository, cluster: str) -> Distrust | None:
    """Why the cluster's summaries are not believed; None when they are. RP005."""
    return newest_distrust(repository.records(KIND), cluster)


def newest_distrust(records: Iterable[JsonObject], cluster: str) -> Distrust | None:
    """What the records, oldest first, say of the cluster. A record that is not understood is distrust, too. Pure."""
    found: Distrust | None = None
    for record in records:
        if record.get("cluster") == cluster:
            found = None if record.get("disabled") is False else _distrust(record)
    return found


def record_unexplained(repository: Repository, cluster: str, path: str, blocks: Sequence[int], at: datetime) -> None:
    """From now on the cluster's summaries are not believed; durable."""
    named: list[Json] = [*blocks[:_MOST_BLOCKS]]
    repository.append_record(KIND, {**_record(cluster, at), "path": path, "blocks": named, "disabled": True})


def record_trusted(repository: Repository, cluster: str, at: datetime) -> None:
    """From now on the cluster's summaries are believed again; durable."""
    repository.append_record(KIND, {**_record(cluster, at), "path": "", "blocks": [], "disabled": False})


def _record(cluster: str, at: datetime) -> JsonObject:
    return {"cluster": cluster, "at": at.isoformat()}


def _distrust(record: JsonObject) -> Distrust:
    blocks = record.get("blocks")
    return Distrust(
        at=str(record.get("at", "at an unknown time")),
        path=str(record.get("path", "an unknown file")),
        blocks=tuple(block for block in blocks if isinstance(block, int)) if isinstance(blocks, list) else (),
    )

"""What came of a restore: the copy that was handed over, and the record of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from safepoint.errors import SafepointError
from safepoint.model.json_value import Json, JsonObject
from safepoint.postgres.connect import connect
from safepoint.postgres.url import DatabaseUrl
from safepoint.recovery.configuration import PRODUCTION
from safepoint.recovery.options import Purpose
from safepoint.recovery.plan import proofs_of
from safepoint.recovery.proofs import Proof
from safepoint.recovery.verdict import level_of
from safepoint.repository import Repository
from safepoint.steps.execute import Run
from safepoint.workflows.held import RESTORES
from safepoint.workflows.restore import Restore, journal_path

_DATABASES = """
SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate AND datname <> 'postgres' ORDER BY 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """A copy that was handed over. `evidence` says whether the repository took the record; an export has no URL."""

    backup: str
    target: str
    replayed: str | None
    last_commit: str | None
    data: Path
    raw_bytes: int
    url: DatabaseUrl | None
    proofs: tuple[Proof, ...]
    seconds: Mapping[str, float]
    evidence: str
    fetched_bytes: int | None = None
    """Of the files' bytes, those that the repository gave, where others stood there already; None where none did."""
    purpose: Purpose = Purpose.COPY

    @property
    def configuration(self) -> Path:
        """Where production's configuration is kept; the copy has one of its own."""
        return self.data / PRODUCTION


def conclude(restore: Restore, run: Run) -> Restored:
    """What came of it, and the record of it in the repository; only then is the restore no longer under way."""
    proofs = proofs_of(run.outcomes)
    finish, recover = run.outcomes["finish"], run.outcomes.get("recover", {})
    record: dict[str, Json] = {
        "backup": restore.backup,
        "proof": level_of(proofs).value,
        "at": datetime.now(UTC).isoformat(),
        "replayed": recover.get("replayed"),
        "seconds": dict(run.seconds),
        "bytes": restore.raw_bytes,
        "fetched_bytes": _fetched(restore, run),
        "wal_bytes": restore.wal_bytes,
        "purpose": restore.options.purpose.value,
        "proofs": [proof.to_json() for proof in proofs],
    }
    evidence = _record(restore.source.repository, record)
    restored = Restored(
        backup=restore.backup,
        target=restore.target,
        replayed=_text(recover.get("replayed")),
        last_commit=_text(recover.get("last_commit")),
        data=Path(str(finish["data"])),
        raw_bytes=restore.raw_bytes,
        url=_handed_over(restore, finish),
        proofs=proofs,
        seconds=run.seconds,
        evidence=evidence,
        fetched_bytes=_fetched(restore, run),
        purpose=restore.options.purpose,
    )
    journal_path(restore.plan).unlink(missing_ok=True)
    return restored


def _record(repository: Repository, record: dict[str, Json]) -> str:
    try:
        repository.append_record(RESTORES, record)
    except SafepointError as error:
        return f"not recorded: {error.message}"
    return "recorded"


def _fetched(restore: Restore, run: Run) -> int | None:
    return int(str(run.outcomes["write"]["fetched_bytes"])) if restore.options.is_delta else None


def _text(value: Json) -> str | None:
    return None if value is None else str(value)


def _handed_over(restore: Restore, finish: JsonObject) -> DatabaseUrl | None:
    """Where the copy lets us in; None for what runs no server, or lets in whom production does."""
    if "url" not in finish:
        return None
    url = DatabaseUrl.parse(str(finish["url"]))
    return url if restore.options.purpose is Purpose.STANDBY else _url_of(url, restore.source.database)


def _url_of(url: DatabaseUrl, name: str) -> DatabaseUrl:
    """The copy's URL for the database of that name, else for the only one, else for `postgres`."""
    with connect(url) as connection:
        names = [str(row[0]) for row in connection.execute(_DATABASES).fetchall()]
    if name in names:
        return url.with_database(name)
    return url.with_database(names[0]) if len(names) == 1 else url

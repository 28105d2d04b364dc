"""The strategy file that `safepoint init` writes: small, commented for a newcomer, and accepted by `load_strategy`.

Pure: facts in, text out. Two comment styles: `# ` explains; `#` directly before a key or table is an example which
is right as it stands once the `#` is taken away.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from safepoint.strategy.values import Platform

_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST_NAME = 63
_REMARKS = {
    "direct_url": "  # past the transaction pooler; preferred",
    "data": "  # the cluster's files are within reach",
}
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundMigrations:
    """An application whose migrations were found; `folder` as it is to be written."""

    name: str
    folder: Path
    schema: str = "public"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundRds:
    """Which RDS instance it is."""

    instance: str
    region: str


def name_for(text: str) -> str:
    """The text made fit to be a name in the strategy file; `main` if nothing is left."""
    return _NOT_IN_A_NAME.sub("-", text).strip("-._")[:_LONGEST_NAME].rstrip("-._") or "main"


def minimal_strategy(
    *,
    database: str,
    url: str,
    direct_url: str | None = None,
    data: Path | None = None,
    replica: str | None = None,
    rds: FoundRds | None = None,
    migrations: Sequence[FoundMigrations] = (),
    repository: str | None = None,
    key: str = "none",
    notes: Sequence[str] = (),
) -> str:
    """The text of a strategy file for one database; loads without a mistake if the facts are of the right kinds.

    `url`, `direct_url`, `replica`, `key` are references (`env:NAME`), `key` may be `none`; `repository` is a store's
    URL. `notes` are sentences about what was found out, written as comments.
    """
    server = {
        "url": url,
        "direct_url": direct_url,
        "platform": (Platform.RDS if rds else Platform.SELF_MANAGED).value,
        "instance": rds.instance if rds else None,
        "region": rds.region if rds else None,
        "data": data,
        "replica": replica,
    }
    blocks = [
        _heading(notes),
        _database(database, {key: value for key, value in server.items() if value is not None}),
        *(_migrations(database, found) for found in migrations),
        _repository(repository, key) if repository else _EXAMPLE_REPOSITORY,
        _kept(database, with_repository=repository is not None),
        _EXAMPLE_SCENARIO,
        _MIGRATE,
    ]
    return "\n\n".join(block.strip("\n") for block in blocks) + "\n"


def _text(value: str | Path) -> str:
    """A basic string; JSON's escapes are TOML's, but for DEL, which TOML wants escaped."""
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _text(name)


def _heading(notes: Sequence[str]) -> str:
    lines = [
        "# The strategy for this database: how it is backed up, recovered and migrated. safepoint carries it out.",
        "# Secrets never stand here: env:NAME, file:path and cmd:command say where they are kept.",
        "# A mistake in this file is reported with its line by every command: try `safepoint status`.",
    ]
    if notes:
        lines += ["#", "# Found out when this file was written:", *(f"# - {_CONTROL.sub(' ', note)}" for note in notes)]
    return "\n".join(lines)


def _database(name: str, server: Mapping[str, str | Path]) -> str:
    lines = [f"{key} = {_text(value)}{_REMARKS.get(key, '')}" for key, value in server.items()]
    return "\n".join((f"[database.{_key(name)}]", *lines))


def _migrations(database: str, found: FoundMigrations) -> str:
    return f"""
# One table for each application that migrates this database; its ledger lies in `schema`.
[database.{_key(database)}.migrations.{_key(found.name)}]
folder = {_text(found.folder)}
schema = {_text(found.schema)}
"""


def _repository(url: str, key: str) -> str:
    encryption = "not encrypted" if key == "none" else "whoever loses this key loses the backups: keep it elsewhere too"
    return f"""
# Where backups and WAL go. After a loss, `safepoint restore --repository URL` needs this and the key, nothing else.
[repository.main]
url = {_text(url)}
key = {_text(key)}  # {encryption}
"""


_EXAMPLE_REPOSITORY = """
# Backups and WAL need a place, best on another disk or host. Migrating and looking need none.
#[repository.main]
#url = "file:/var/backups/safepoint"
#key = "env:SAFEPOINT_KEY"
"""


def _kept(database: str, *, with_repository: bool) -> str:
    mark = "" if with_repository else "#"
    return f"""
# Within `keep`, any instant is to be restorable.
{mark}[wal.{_key(database)}]
{mark}keep = "35d"

{mark}[tier.daily]
{mark}keep = "30d"

# For the backup before a migration: `safepoint backup --tier pre-migration`.
{mark}[tier.pre-migration]
{mark}keep = "90d"
"""


_EXAMPLE_SCENARIO = """
# A promise: back within `rto`, with at most `rpo` of writes lost.
#[scenario.database-unavailable]
#rto = "15m"
#rpo = "1h"
#recover = "restore-latest"
"""

_MIGRATE = """
[migrate]
lock_timeout = "2s"  # how long one attempt may make others wait behind it
lock_total = "5m"    # how long to go on trying
"""

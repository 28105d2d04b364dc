"""What a cluster is beside its files, for whoever must rebuild its surroundings: settings, roles, databases.

No secret is among them: passwords are never read, and settings that may hold one are left out.
Source: PostgreSQL documentation, `pg_settings`, `pg_roles`, `pg_database`, `pg_extension`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg.rows import dict_row

from safepoint import errors
from safepoint.model.backup import ClusterFacts, DatabaseFacts
from safepoint.model.lsn import Lsn
from safepoint.postgres.connect import connect
from safepoint.postgres.url import DatabaseUrl

SECRET_SETTINGS = ("primary_conninfo", "ssl_passphrase_command")
"""Settings that may hold a password, and are of no use to a copy."""

_SETTINGS = """
SELECT name, coalesce(setting || coalesce(' ' || unit, ''), '')
FROM pg_settings
WHERE source NOT IN ('default', 'client', 'session', 'override', 'command line', 'environment variable')
  AND NOT name = ANY(%s) AND position('.' IN name) = 0
ORDER BY name
"""
_ATTRIBUTES = {
    "rolsuper": "SUPERUSER",
    "rolinherit": "INHERIT",
    "rolcreaterole": "CREATEROLE",
    "rolcreatedb": "CREATEDB",
    "rolcanlogin": "LOGIN",
    "rolreplication": "REPLICATION",
    "rolbypassrls": "BYPASSRLS",
}
_ROLES = """
SELECT rolname::text AS name, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication,
       rolbypassrls,
       ARRAY(SELECT g.rolname::text FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
             WHERE m.member = r.oid ORDER BY 1) AS groups
FROM pg_roles r WHERE rolname !~ '^pg_' ORDER BY rolname
"""
_DATABASES = """
SELECT datname::text AS name, pg_encoding_to_char(encoding) AS encoding, datlocprovider::text AS locale_provider,
       coalesce(to_jsonb(d)->>'datlocale', to_jsonb(d)->>'daticulocale', datcollate::text) AS collation,
       coalesce(pg_database_collation_actual_version(oid), datcollversion) AS collation_version,
       datallowconn AS is_open
FROM pg_database d WHERE datname <> 'template0' ORDER BY datname
"""
_EXTENSIONS = "SELECT extname::text, extversion FROM pg_extension ORDER BY 1"
_PROVIDERS = {"c": "libc", "i": "icu", "b": "builtin"}
_UNKNOWN_XID = 0


def fetch_cluster_facts(url: DatabaseUrl, *, strategy: str = "") -> tuple[ClusterFacts, tuple[str, ...]]:
    """The facts as they are now, and a sentence for each database whose extensions could not be asked for."""
    with connect(url) as connection:
        settings = tuple((name, value) for name, value in connection.execute(_SETTINGS, [list(SECRET_SETTINGS)]))
        with connection.cursor(row_factory=dict_row) as cursor:
            roles = tuple(_role(row) for row in cursor.execute(_ROLES).fetchall())
            found = cursor.execute(_DATABASES).fetchall()
    databases: list[DatabaseFacts] = []
    unreachable: list[str] = []
    for row in found:
        extensions, why = _extensions(url, row)
        databases.append(_database(row, extensions))
        if why:
            unreachable.append(f"the extensions of database {row['name']} are not in the manifest: {why}")
    facts = ClusterFacts(settings=settings, roles=roles, databases=tuple(databases), strategy=strategy)
    return facts, tuple(unreachable)


def fetch_next_xid(url: DatabaseUrl, stop: Lsn) -> int:
    """No transaction with this id or a greater one, epoch included, committed before `stop`; 0 when that is unknown.

    A primary gives a new id. A snapshot's upper end would not do: a commit is in the WAL some time before it is in a
    snapshot, with a synchronous standby a long one. A standby gives no ids; there a snapshot shows what was replayed.
    """
    with connect(url) as connection:
        row = connection.execute("SELECT pg_is_in_recovery(), pg_last_wal_replay_lsn()::text").fetchone()
        if row is None:
            return _UNKNOWN_XID
        is_in_recovery, replayed = row
        if is_in_recovery and (replayed is None or Lsn.parse(replayed) < stop):
            return _UNKNOWN_XID
        query = "pg_snapshot_xmax(pg_current_snapshot())" if is_in_recovery else "pg_current_xact_id()"
        row = connection.execute(f"SELECT {query}::text".encode()).fetchone()
    return _UNKNOWN_XID if row is None else int(row[0])


def _role(row: dict[str, Any]) -> str:
    """As CREATE ROLE would have it: `"shop" NOSUPERUSER INHERIT … IN ROLE "readers"`."""
    words = [_quoted(row["name"])]
    words += [word if row[attribute] else f"NO{word}" for attribute, word in _ATTRIBUTES.items()]
    if row["groups"]:
        words.append(f"IN ROLE {', '.join(map(_quoted, row['groups']))}")
    return " ".join(words)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _database(row: dict[str, Any], extensions: Sequence[tuple[str, str]]) -> DatabaseFacts:
    return DatabaseFacts(
        name=row["name"],
        encoding=row["encoding"],
        locale_provider=_PROVIDERS.get(row["locale_provider"]) or str(row["locale_provider"]),
        collation=row["collation"],
        collation_version=row["collation_version"],
        extensions=tuple(extensions),
    )


def _extensions(url: DatabaseUrl, row: dict[str, Any]) -> tuple[tuple[tuple[str, str], ...], str]:
    """Names and versions; and why there are none, where the database lets nobody in."""
    if not row["is_open"]:
        return (), "it allows no connections"
    try:
        with connect(url.with_database(row["name"])) as connection:
            return tuple((name, version) for name, version in connection.execute(_EXTENSIONS)), ""
    except (errors.SafepointError, psycopg.Error) as error:
        return (), " ".join(str(error).split())

"""libpq connections as they come, and what went wrong when they do not.

Before there is a session libpq tells causes as text only, and the server's part of it in the server's language; what
is not recognised is reported as unreachable, with the text.
"""

from __future__ import annotations

from psycopg import pq
from psycopg.pq.abc import PGconn

from safepoint import errors
from safepoint.postgres.url import DatabaseUrl

CONNECT_SECONDS = 10

_KEEPALIVES = {"keepalives": 1, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
_DEFAULTS: dict[str, str | int] = {"connect_timeout": CONNECT_SECONDS, **_KEEPALIVES}

_NOT_LET_IN = (
    "password authentication failed",
    "no password supplied",
    "authentication failed",
    "no pg_hba.conf entry",
    "pg_hba.conf rejects",
    "is not permitted to log in",
    "permission denied for database",
    'role "',
    "permission denied to start WAL sender",
    "must be superuser or replication role",
)
_NO_SLOT_FREE = ("max_wal_senders", "max_connections", "too many connections", "too many clients")


def conninfo_of(url: DatabaseUrl, *, application_name: str, **overrides: str) -> str:
    """The URL for libpq with safepoint's defaults for whatever it leaves open."""
    given = {name for name, _ in url.parameters}
    defaults = {name: value for name, value in _DEFAULTS.items() if name not in given}
    return url.conninfo(**{**defaults, "application_name": application_name, **overrides})


def open_raw(url: DatabaseUrl, *, application_name: str = "safepoint", **overrides: str) -> PGconn:
    """A connection of libpq's own; PG004, PG007 or PG010 when there is none. The caller finishes it."""
    connection = pq.PGconn.connect(conninfo_of(url, application_name=application_name, **overrides).encode())
    if connection.status != pq.ConnStatus.OK:
        text = connection.get_error_message()
        connection.finish()
        raise connection_error(url, text)
    return connection


def connection_error(url: DatabaseUrl, text: str) -> errors.SafepointError:
    """The registered error for what libpq said; the URL's passwords do not appear in it."""
    cause = _without_secrets(url, " | ".join(line.strip() for line in text.strip().splitlines()))
    found = f"found {cause or 'no answer'}"
    if any(sign in text for sign in _NO_SLOT_FREE):
        return errors.PG004.error(
            f"{found}; expected a free connection at {_where(url)}",
            hints=[errors.ask("are all of max_connections or max_wal_senders in use?")],
        )
    if 'database "' in text and "does not exist" in text:
        return errors.PG004.error(
            f"{found}; expected the database {url.database!r} at {_where(url)}",
            hints=[errors.run(f"list those that exist: `psql -l '{url.with_database('postgres').redacted}'`")],
        )
    if any(sign in text for sign in _NOT_LET_IN):
        return _not_let_in(url, found, text)
    return errors.PG004.error(
        f"{found}; expected a server at {_where(url)}",
        hints=[
            errors.ask("is the server running, and does a firewall or security group let this machine through?"),
            errors.run(f"try it: `pg_isready -h '{url.host or ''}' -p '{url.port or 5432}'`"),
        ],
    )


def _not_let_in(url: DatabaseUrl, found: str, text: str) -> errors.SafepointError:
    user = url.user or "this role"
    if "pg_hba.conf" in text:
        cure = errors.run("let it in: a line in the server's pg_hba.conf, then `SELECT pg_reload_conf()`")
    elif "WAL sender" in text or "replication role" in text:
        cure = errors.run(f'grant it: `ALTER ROLE "{user}" REPLICATION`')
    else:
        cure = errors.ask("are user and password right, and is the password percent-encoded in the URL?")
    return errors.PG007.error(f"{found}; expected {user} to be let in at {_where(url)}", hints=[cure])


def _where(url: DatabaseUrl) -> str:
    host, port = url.host or "libpq's default host", url.port or "5432"
    return f"{host} port {port}"


def _without_secrets(url: DatabaseUrl, text: str) -> str:
    for name, value in url.parameters:
        if "password" in name:
            text = text.replace(value, "***")
    return text

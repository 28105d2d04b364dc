"""Prisma's connection URLs, made acceptable to libpq."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from psycopg import pq


def without_prisma_parameters(url: str) -> str:
    """The URL with only the parameters that libpq knows; `schema`, `pgbouncer`, `connection_limit` are among the lost.

    The shop's tables are always in schema `public`. Anything but a URL is returned as it was given.
    """
    if "://" not in url:
        return url
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    parts = urlsplit(url)
    kept = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if name in known]
    return urlunsplit(parts._replace(query=urlencode(kept)))

"""Connection URLs: libpq's own, and Prisma's with parameters that libpq refuses.

A `DatabaseUrl` is pure: it reads no environment and opens nothing. What it holds of passwords leaves it only through
`conninfo` and `reveal`; its text, its representation and every error about it are safe to print.
Source: PostgreSQL documentation, "Connection Strings"; Prisma documentation, "PostgreSQL: connection URL arguments".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from urllib.parse import quote, unquote

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from safepoint import errors

PRISMA_PARAMETERS = frozenset(
    {
        "connection_limit",
        "max_connection_lifetime",
        "max_idle_connection_lifetime",
        "pgbouncer",
        "pool_timeout",
        "schema",
        "single_use_connections",
        "socket_timeout",
        "sslaccept",
        "sslidentity",
        "statement_cache_size",
        "uselibpqcompat",
    }
)
"""Understood or of no concern to us, and never handed to libpq."""

_SCHEMES = ("postgresql://", "postgres://")
_SECRETS = frozenset({"password", "sslpassword", "oauth_client_secret"})
_URI_ONLY = frozenset({"ssl"})  # JDBC's ssl=true, which libpq takes in a URI
_HIDDEN = "***"
_EXAMPLE = "postgresql://user:password@host:5432/database?schema=public"
_Hide = Callable[[str], str]
_OPTION_NAME = re.compile(r'invalid connection option "([\w.-]+)"')


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class DatabaseUrl:
    """Where a database is and who asks. `parameters` are libpq's by libpq's names, `prisma` the others; both sorted."""

    parameters: tuple[tuple[str, str], ...]
    prisma: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> DatabaseUrl:
        """From a URL or from `key=value` pairs; PG006 when it is neither or has a parameter nobody knows."""
        text = text.strip()
        if text.startswith(_SCHEMES):
            return _parse_uri(text)
        if "://" in text.partition("=")[0] or "=" not in text:
            raise _wrong_scheme(text)
        return cls(parameters=_sorted(_libpq_parameters(text)))

    @classmethod
    def of(cls, **parameters: str | int) -> DatabaseUrl:
        """From libpq's parameters by name."""
        return cls(parameters=_sorted({name: str(value) for name, value in parameters.items()}))

    @property
    def schema(self) -> str | None:
        """The schema that Prisma was told to use; None when it was told none."""
        return dict(self.prisma).get("schema")

    @property
    def database(self) -> str:
        """The database's name: as libpq has it, the user's when none is given; empty when neither is."""
        return self._value("dbname") or self._value("user") or ""

    @property
    def host(self) -> str | None:
        """Host, socket directory or a list of them; None when libpq's default holds."""
        return self._value("host")

    @property
    def port(self) -> str | None:
        """Port or a list of them; None when libpq's default holds."""
        return self._value("port")

    @property
    def user(self) -> str | None:
        """The role; None when libpq's default holds."""
        return self._value("user")

    @property
    def redacted(self) -> str:
        """The URL with every password hidden: safe to print and to store."""
        return _render(self, lambda _: _HIDDEN)

    def reveal(self) -> str:
        """The URL with its passwords, as `parse` and Prisma read it."""
        return _render(self, lambda secret: quote(secret, safe=""))

    def conninfo(self, **overrides: str | int | None) -> str:
        """libpq's connection string, with its passwords; an override of None leaves the parameter out."""
        merged: dict[str, str | int | None] = {**dict(self.parameters), **overrides}
        return make_conninfo("", **{name: value for name, value in merged.items() if value is not None})

    def with_database(self, name: str) -> DatabaseUrl:
        """The same server and role, another database."""
        return self.with_parameters(dbname=name)

    def with_parameters(self, **parameters: str) -> DatabaseUrl:
        """The same with these libpq parameters in place of what stood there."""
        return DatabaseUrl(parameters=_sorted(dict(self.parameters) | parameters), prisma=self.prisma)

    def _value(self, name: str) -> str | None:
        return dict(self.parameters).get(name)

    def __str__(self) -> str:
        return self.redacted

    def __repr__(self) -> str:
        return f"DatabaseUrl({self.redacted!r})"


def _parse_uri(text: str) -> DatabaseUrl:
    base, query = _split_query(text)
    if _is_ambiguous(base, query):
        raise _not_encoded()
    pairs = [_split_pair(part) for part in query.split("&") if part]
    prisma = {name: unquote(value) for name, value in pairs if name in PRISMA_PARAMETERS}
    known = _known_parameters() | _URI_ONLY
    unknown = sorted({name for name, _ in pairs} - known - PRISMA_PARAMETERS)
    if unknown:
        raise _unknown_parameters(unknown)
    kept = "&".join(f"{name}={value}" for name, value in pairs if name in known)
    parameters = _libpq_parameters(f"{base}?{kept}" if kept else base)
    return DatabaseUrl(
        parameters=_sorted(_certificates_as_libpq_names_them(parameters, prisma)), prisma=_sorted(prisma)
    )


def _split_query(text: str) -> tuple[str, str]:
    """The URI up to its query, and the query. libpq lets an unencoded `?` stand in the password; so do we."""
    start = text.index("://") + 3
    authority_end = next((index for index in range(start, len(text)) if text[index] in "@/"), len(text))
    start = authority_end if text[authority_end : authority_end + 1] == "@" else start
    head, _, query = text[start:].partition("?")
    return text[:start] + head, query


def _is_ambiguous(base: str, query: str) -> bool:
    """Whether a password may have ended too early, its rest being taken for host, port, database or parameters."""
    before_path, _, path = base.partition("://")[2].partition("/")
    is_misplaced = "@" in path or before_path.count("@") > 1
    return is_misplaced or ("@" in query and ("@" in before_path or not _are_pairs(query)))


def _are_pairs(query: str) -> bool:
    known = _known_parameters() | _URI_ONLY | PRISMA_PARAMETERS
    return all(part.partition("=")[0] in known for part in query.split("&"))


def _not_encoded() -> errors.SafepointError:
    """Nothing of the URL is quoted: nobody can tell which part of it is the password."""
    return errors.PG006.error(
        f"found a URL with an @ where none can stand, expected one like {_EXAMPLE}",
        hints=[errors.ask("does the password hold a character like @ : / # % or ? that is not percent-encoded?")],
    )


def _split_pair(part: str) -> tuple[str, str]:
    name, separator, value = part.partition("=")
    if not separator or "=" in value:
        raise errors.PG006.error(
            f"found the parameter {unquote(name)!r} without one value, expected name=value",
            hints=[errors.ask("does a password or a value hold =, &, ? or % that is not percent-encoded?")],
        )
    return unquote(name), value


def _certificates_as_libpq_names_them(parameters: dict[str, str], prisma: Mapping[str, str]) -> dict[str, str]:
    """Prisma's `sslcert` is the authority's certificate, which libpq calls `sslrootcert`; libpq's is the client's.

    It is Prisma's when Prisma's other words about certificates stand beside it. Prisma uses it only when it is to be
    strict.
    """
    if "sslcert" not in parameters or "sslkey" in parameters or not prisma.keys() & {"sslaccept", "sslidentity"}:
        return parameters
    others = {name: value for name, value in parameters.items() if name != "sslcert"}
    return others | {"sslrootcert": parameters["sslcert"]} if prisma.get("sslaccept") == "strict" else others


def _libpq_parameters(text: str) -> dict[str, str]:
    try:
        found = conninfo_to_dict(text)
    except psycopg.ProgrammingError as error:
        # libpq's message quotes what it could not read, which may be the password.
        match = _OPTION_NAME.search(str(error))
        if match is not None:
            raise _unknown_parameters([match[1]]) from None
        raise errors.PG006.error(
            f"found a connection string that libpq cannot read, expected one like {_EXAMPLE}",
            hints=[errors.ask("does the password hold a character like @ : / # % or ? that is not percent-encoded?")],
        ) from None
    parameters = {name: str(value) for name, value in found.items() if value not in {None, ""}}
    if not parameters.get("port", "0").replace(",", "").isdigit():
        raise errors.PG006.error(
            f"found a port that is no number, expected a URL like {_EXAMPLE}",
            hints=[errors.ask("does the password hold a / that is not percent-encoded, or is the host missing?")],
        )
    return parameters


@cache
def _known_parameters() -> frozenset[str]:
    return frozenset(option.keyword.decode() for option in pq.Conninfo.get_defaults())


def _unknown_parameters(names: Iterable[str]) -> errors.SafepointError:
    return errors.PG006.error(
        f"found the connection parameter {', '.join(map(repr, names))}, expected one that libpq or Prisma knows",
        hints=[errors.ask("is it misspelt? Both lists are in PostgreSQL's and Prisma's documentation")],
    )


def _wrong_scheme(text: str) -> errors.SafepointError:
    scheme = text.partition("://")[0] if "://" in text else ""
    if scheme in {"prisma", "prisma+postgres"}:
        return errors.PG006.error(
            f"found a {scheme}:// URL, which only Prisma's own service understands; expected one like {_EXAMPLE}",
            hints=[errors.run("give the direct URL, the one Prisma calls `directUrl` or DIRECT_URL")],
        )
    found = f"the scheme {scheme}://" if re.fullmatch(r"[A-Za-z][\w+:.-]*", scheme) else "no scheme"
    return errors.PG006.error(
        f"found {found}, expected a URL like {_EXAMPLE}",
        hints=[errors.ask("is the variable empty, or the URL of another kind of database?")],
    )


def _render(url: DatabaseUrl, hide: _Hide) -> str:
    rest = dict(url.parameters)
    host = rest.get("host", "")
    is_plain = bool(host) and not host.startswith(("/", "@")) and "," not in host + rest.get("port", "")
    if is_plain:
        authority = f"[{host}]" if ":" in host else quote(host, safe="")
        del rest["host"]
    else:
        # Prisma wants a host before the path; the one in the query wins, for libpq and for Prisma.
        authority = "localhost" if host else ""
    if authority and "," not in rest.get("port", ","):
        authority += f":{rest.pop('port')}"
    login = _login(rest, hide)
    name = quote(rest.pop("dbname", ""), safe="")
    pairs = [*rest.items(), *url.prisma]
    query = "&".join(f"{key}={hide(value) if key in _SECRETS else quote(value, safe='/,:')}" for key, value in pairs)
    return f"postgresql://{login}{authority}/{name}" + (f"?{query}" if query else "")


def _login(rest: dict[str, str], hide: _Hide) -> str:
    """Takes user and password out of `rest`; without a user the password stays a parameter."""
    if "user" not in rest:
        return ""
    user = quote(rest.pop("user"), safe="")
    return f"{user}:{hide(rest.pop('password'))}@" if "password" in rest else f"{user}@"


def _sorted(parameters: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(parameters.items()))

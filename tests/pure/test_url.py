"""Connection URLs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from safepoint.errors import SafepointError
from safepoint.postgres.url import PRISMA_PARAMETERS, DatabaseUrl

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30)


def libpq(url: DatabaseUrl) -> dict[str, object]:
    return {name: value for name, value in conninfo_to_dict(url.conninfo()).items() if value is not None}


def test_plain_url_is_handed_to_libpq_as_it_is() -> None:
    """Every part of a libpq URL arrives under libpq's own name."""
    url = DatabaseUrl.parse("postgresql://app:s3cret@db.example:6432/shop?sslmode=require")
    assert libpq(url) == {
        "user": "app",
        "password": "s3cret",
        "host": "db.example",
        "port": "6432",
        "dbname": "shop",
        "sslmode": "require",
    }


@pytest.mark.parametrize("name", sorted(PRISMA_PARAMETERS))
def test_prisma_parameters_never_reach_libpq(name: str) -> None:
    """None of Prisma's parameters stands in the connection string, and each survives in the URL."""
    url = DatabaseUrl.parse(f"postgresql://app@db/shop?{name}=1&connect_timeout=7")
    assert libpq(url) == {"user": "app", "host": "db", "dbname": "shop", "connect_timeout": "7"}
    assert f"{name}=1" in url.reveal()


def test_prisma_schema_is_understood() -> None:
    """`?schema=` is the schema, decoded."""
    assert DatabaseUrl.parse("postgres://app@db/shop?schema=my%20shop").schema == "my shop"


def test_no_schema_is_not_guessed() -> None:
    """Without `?schema=` there is none."""
    assert DatabaseUrl.parse("postgres://app@db/shop").schema is None


def test_prisma_certificate_authority_becomes_root_certificate() -> None:
    """Prisma's `sslcert` is an authority's certificate, which libpq would take for the client's."""
    url = DatabaseUrl.parse("postgresql://a@db/shop?sslmode=require&sslcert=/ca.pem&sslaccept=strict")
    assert libpq(url)["sslrootcert"] == "/ca.pem"
    assert "sslcert" not in libpq(url)


def test_client_certificate_of_libpq_stays() -> None:
    """With its key beside it, `sslcert` is libpq's client certificate."""
    url = DatabaseUrl.parse("postgresql://a@db/shop?sslcert=/me.crt&sslkey=/me.key&schema=public")
    assert libpq(url)["sslcert"] == "/me.crt"


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://app@localhost/shop?host=/run/postgresql",
        "postgresql://app@/shop?host=/run/postgresql",
        "postgresql://app@%2Frun%2Fpostgresql/shop",
        "host=/run/postgresql user=app dbname=shop",
    ],
)
def test_socket_directory_in_every_spelling(text: str) -> None:
    """A socket directory is understood in libpq's and Prisma's spellings, which all mean the same."""
    assert libpq(DatabaseUrl.parse(text)) == {"host": "/run/postgresql", "user": "app", "dbname": "shop"}


def test_socket_url_is_rendered_as_prisma_wants_it() -> None:
    """Prisma refuses a URL without a host: a socket's says localhost and names the directory in the query."""
    url = DatabaseUrl.of(host="/run/pg", port=5433, user="app", dbname="shop")
    assert url.reveal() == "postgresql://app@localhost:5433/shop?host=/run/pg"


def test_several_hosts_survive() -> None:
    """A list of hosts and ports arrives whole."""
    url = DatabaseUrl.parse("postgresql://app@one:1,two:2/shop?target_session_attrs=read-write")
    assert (libpq(url)["host"], libpq(url)["port"]) == ("one,two", "1,2")
    assert DatabaseUrl.parse(url.reveal()) == url


def test_ipv6_host_survives() -> None:
    """An IPv6 address keeps its brackets."""
    url = DatabaseUrl.parse("postgresql://app@[::1]:5432/shop")
    assert url.host == "::1"
    assert DatabaseUrl.parse(url.reveal()) == url


def test_question_mark_in_a_password_is_no_query() -> None:
    """As in libpq, an unencoded `?` before the @ belongs to the password."""
    url = DatabaseUrl.parse("postgresql://app:a?schema=b@db/shop?schema=c")
    assert libpq(url)["password"] == "a?schema=b"
    assert url.schema == "c"


@given(
    user=TEXT, password=TEXT, database=TEXT, schema=TEXT, host=st.sampled_from(["db", "10.0.0.1", "::1", "/run/a b"])
)
def test_what_is_revealed_is_parsed_to_the_same(
    user: str, password: str, database: str, schema: str, host: str
) -> None:
    """Whatever characters a name or a password has, the rendered URL means the same to us and to libpq."""
    url = DatabaseUrl(
        parameters=DatabaseUrl.of(user=user, password=password, dbname=database, host=host).parameters,
        prisma=(("schema", schema),),
    )
    again = DatabaseUrl.parse(url.reveal())
    assert again == url
    assert libpq(again) == {"user": user, "password": password, "dbname": database, "host": host}


@given(password=TEXT.filter(lambda text: len(text) > 3))
def test_password_is_in_no_printable_form(password: str) -> None:
    """Text, representation and redacted URL are the same for every password."""
    other = DatabaseUrl.of(user="app", password="another", host="db", dbname="shop")
    url = DatabaseUrl.of(user="app", password=password, host="db", dbname="shop")
    assert (str(url), repr(url), url.redacted) == (str(other), repr(other), other.redacted)


def test_with_database_changes_nothing_else() -> None:
    """Another database of the same server keeps role, password and Prisma's parameters."""
    url = DatabaseUrl.parse("postgresql://app:pw@db/shop?schema=s").with_database("other")
    assert url.reveal() == "postgresql://app:pw@db/other?schema=s"


def test_override_replaces_and_none_removes() -> None:
    """Overrides of the connection string replace a parameter; None leaves it out."""
    url = DatabaseUrl.parse("postgresql://app:pw@db/shop")
    assert conninfo_to_dict(url.conninfo(dbname="x", password=None)) == {"user": "app", "host": "db", "dbname": "x"}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "no scheme"),
        ("shop", "no scheme"),
        ("mysql://app@db/shop", "mysql://"),
        ("jdbc:postgresql://db/shop", "jdbc:postgresql://"),
        ("prisma://accelerate.example/?api_key=topsecret", "prisma://"),
        ("prisma+postgres://accelerate.example/?api_key=topsecret", "prisma+postgres://"),
        ("postgresql://app:topsecret@db/shop?shcema=public", "'shcema'"),
        ("postgresql://app:topsecret@db/shop?schema", "'schema'"),
        ("postgresql://app:topsecret@db/shop?schema=a=b", "'schema'"),
        ("postgresql://app:top%zzsecret@db/shop", "cannot read"),
        ("postgresql://app:topsecret@[::1/shop", "cannot read"),
        ("host=db schema=public password=topsecret", "'schema'"),
        ("host=db password='topsecret", "cannot read"),
    ],
)
def test_what_cannot_be_understood_is_refused_without_secrets(text: str, named: str) -> None:
    """PG006 names what is wrong, and says nothing of the password."""
    with pytest.raises(SafepointError) as caught:
        DatabaseUrl.parse(text)
    error = caught.value
    assert error.spec.code == "PG006"
    assert named in error.message
    assert "secret" not in error.message
    assert error.hints
    assert error.__cause__ is None


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://shop:s3cr3t@hunter2@db:5432/shop",
        "postgresql://shop:s3cr3t/hunter2@db:5432/shop",
        "postgresql://shop:hunter2@s3cr3t/x@db:5432/shop",
        "postgresql://shop:hu@nter?s3cr3t&x=1@db:5432/shop",
        "postgresql://shop:12/hunter?s3cr3t@db:5432/shop",
        "postgresql://shop:s3cr3t",
        "postgresql://shop:pw@db:1@s3cr3t/shop",
    ],
)
def test_a_password_that_is_not_encoded_is_never_taken_for_something_printable(text: str) -> None:
    """Where a password may have ended too early nothing of the URL is quoted, and it is refused."""
    with pytest.raises(SafepointError) as caught:
        DatabaseUrl.parse(text)
    said = str(caught.value) + " ".join(hint.text for hint in caught.value.hints)
    assert caught.value.spec.code == "PG006"
    assert not [word for word in ("s3cr3t", "hunter", "nter") if word in said]


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("postgresql://shop:p%40ss%2Fw@db/shop", "db"),
        ("postgresql://db/shop?user=me@server&password=x", "db"),
        ("postgresql://shop@/shop?host=/run/postgresql&application_name=x", "/run/postgresql"),
        ("postgresql://shop:pw@a:1,b:2/shop", "a,b"),
    ],
)
def test_an_at_sign_where_one_can_stand_is_taken_as_it_is(text: str, host: str) -> None:
    """Encoded ones, one before the host, and those of parameters that libpq knows."""
    assert DatabaseUrl.parse(text).host == host

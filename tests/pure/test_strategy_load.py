"""The strategy file: found, loaded whole, or refused with every mistake at once."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from safepoint import errors
from safepoint.model.measures import parse_duration
from safepoint.strategy import (
    BackupKind,
    DrillTarget,
    MigrateStrategy,
    MigrationsStrategy,
    Platform,
    Recover,
    RepositoryMode,
    Strategy,
    find_strategy,
    load_strategy,
    mistakes_in,
    parse_strategy,
    strategy_to_json,
    unused_in_this_version,
)
from safepoint.strategy.report import duration_text

RELAXED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no failure
REPOSITORY = Path(__file__).parents[2]
EXAMPLE = REPOSITORY / "examples/vivr/safepoint.toml"
GOLDEN = REPOSITORY / "tests/golden/strategy"
MINIMAL = '[database.shop]\nurl = "env:DATABASE_URL"\n'
WITH_REPOSITORY = MINIMAL + '[repository.main]\nurl = "file:/srv/backups"\nkey = "env:KEY"\n'


def parsed(text: str) -> Strategy:
    return parse_strategy(text, Path("/srv/shop/safepoint.toml"))


def lines_of(text: str) -> list[str]:
    return [mistake.line("safepoint.toml") for mistake in mistakes_in(text)]


def must_complain(text: str, *lines: str) -> None:
    assert lines_of(text) == [f"safepoint.toml:{line}" for line in lines]


def test_the_example_is_the_strategy_of_the_shop() -> None:
    """Every section of the design's example reaches the value."""
    strategy = load_strategy(EXAMPLE)
    vivr = strategy.database("vivr")
    assert (str(vivr.url), str(vivr.connection), str(vivr.replica)) == (
        "env:DATABASE_URL",
        "env:DIRECT_URL",
        "env:REPLICA_URL",
    )
    assert vivr.migrations == (MigrationsStrategy(name="shop", folder=EXAMPLE.parent / "prisma/migrations"),)
    assert vivr.application().folder.is_dir()
    assert strategy.tier("daily").repositories == ("main", "dr")
    assert strategy.tier("monthly").kind is BackupKind.LOGICAL
    assert strategy.drills[0].target is DrillTarget.RANDOM_SECOND
    assert strategy.migrate == MigrateStrategy()
    window = strategy.wal_of("vivr")
    assert window is not None
    assert window.keep == timedelta(days=35)
    assert strategy.wal_of("vivr-staging") is None


def test_the_example_promises_what_the_document_does() -> None:
    """The four scenarios of the strategy document, with their RTO and RPO."""
    strategy = load_strategy(EXAMPLE)
    assert {s.name: (duration_text(s.rto), duration_text(s.rpo)) for s in strategy.scenarios} == {
        "database-unavailable": ("15m", "1h"),
        "data-corruption": ("30m", "1h"),
        "region-failure": ("1h", "1h"),
        "complete-loss": ("4h", "1d"),
    }
    assert strategy.scenario("region-failure").recover is Recover.FAILOVER_TO_REPLICA


def test_the_example_as_json() -> None:
    """The JSON form is stable, complete, and holds references where secrets are."""
    strategy = parse_strategy(EXAMPLE.read_text(), Path("/srv/vivr/safepoint.toml"))
    expected = (GOLDEN / "vivr.json").read_text()
    assert json.dumps(strategy_to_json(strategy), indent=2) + "\n" == expected


def test_a_file_with_many_mistakes_is_told_all_of_them() -> None:
    """Every mistake, in the order of the file, with line, column, found and expected."""
    with pytest.raises(errors.Misconfigured) as caught:
        load_strategy(GOLDEN / "mistakes.toml")
    assert caught.value.spec is errors.CF001
    assert caught.value.message + "\n" == (GOLDEN / "mistakes.txt").read_text()
    assert "env:NAME" in caught.value.hints[0].text


def test_no_secret_stands_in_the_report() -> None:
    """What was written where a reference belongs is never repeated, nor kept in a chained exception."""
    with pytest.raises(errors.Misconfigured) as caught:
        load_strategy(GOLDEN / "mistakes.toml")
    for secret in ("hunter2", "correct horse", "AKIA", "T0/B0"):
        assert secret not in caught.value.message
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_a_single_mistake_is_a_single_line() -> None:
    """No headline for one mistake."""
    with pytest.raises(errors.Misconfigured) as caught:
        parsed(MINIMAL + 'plattform = "rds"\n')
    assert caught.value.message.startswith("safepoint.toml:3:1: database.shop.plattform: found an unknown key")
    assert caught.value.message.endswith('; did you mean "platform"?')
    assert caught.value.hints == ()


def test_a_connection_string_alone_suffices() -> None:
    """One url is a strategy; everything else has a default."""
    strategy = parsed(MINIMAL)
    assert strategy.database().platform is Platform.SELF_MANAGED
    assert strategy.database().connection == strategy.database().url
    assert unused_in_this_version(strategy) == ()


def test_defaults_of_a_repository_and_a_tier() -> None:
    """A tier that names no repository is kept in the first; a repository is required unless it says otherwise."""
    strategy = parsed(WITH_REPOSITORY + '[repository.dr]\nurl = "file:/dr"\nkey = "none"\n[tier.daily]\nkeep = "1d"\n')
    assert strategy.tier("daily").repositories == ("main",)
    assert strategy.repository().name == "main"
    assert strategy.repository().mode is RepositoryMode.REQUIRED
    assert strategy.repository("dr").key is None


def test_staging_inherits_the_application_and_not_the_server() -> None:
    """Migrations and platform come from `of`, own migrations win; data, replica and addresses never do."""
    strategy = parsed(
        """
        [database.production]
        url = "env:URL"
        direct_url = "env:DIRECT"
        replica = "env:REPLICA"
        platform = "patroni"
        api = ["http://10.0.0.1:8008", "env:API"]
        data = "/data"
        migrations.shop.folder = "shop"
        migrations.blog = {folder = "blog", schema = "blog"}
        [database.staging]
        of = "production"
        url = "env:STAGING"
        api = "http://10.1.0.1:8008"
        migrations.blog.folder = "../blog/next"
        """
    )
    staging = strategy.database("staging")
    assert staging.platform is Platform.PATRONI
    assert (staging.direct_url, staging.replica, staging.data) == (None, None, None)
    assert [str(url) for url in staging.api] == ["http://10.1.0.1:8008"]
    assert staging.migrations == (
        MigrationsStrategy(name="shop", folder=Path("/srv/shop/shop")),
        MigrationsStrategy(name="blog", folder=Path("/srv/shop/../blog/next")),
    )
    assert strategy.dotenv_folders == tuple(map(Path, ("/srv/shop", "/srv/shop/../blog")))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("backups", "file:/srv/shop/backups"),
        ("file:backups", "file:/srv/shop/backups"),
        ("./a:b", "file:/srv/shop/a:b"),
        ("file:/srv/backups", "file:/srv/backups"),
        ("file:///srv/back%20ups", "file:///srv/back%20ups"),
        ("~/backups", "~/backups"),
        ("s3://bucket/pg?region=us-east-1", "s3://bucket/pg?region=us-east-1"),
        ("env:REPOSITORY_URL", "env:REPOSITORY_URL"),
    ],
)
def test_a_relative_repository_lies_beside_the_strategy_file(written: str, meant: str) -> None:
    """Not beside whoever runs the command."""
    strategy = parsed(MINIMAL + f'[repository.main]\nurl = "{written}"\nkey = "none"\n')
    assert str(strategy.repository().url) == meant


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://app@db.example:5432/shop?schema=public&pgbouncer=true",
        "postgres:///shop?host=/var/run/postgresql&sslkey=/etc/ssl/key.pem",
    ],
)
def test_a_url_without_a_password_may_stand_in_the_file(url: str) -> None:
    """Prisma's parameters stay as they are; a path to a key is no key."""
    assert str(parsed(f"[database.shop]\nurl = '{url}'").database().url) == url


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://app:pw@db/shop",
        "postgresql://app:p/w?#@db/shop",
        "postgresql://app@db/shop?password=pw",
        "postgresql://app@db/shop?sslmode=require&ssl%70assword=pw",
        "host=db password=pw",
        "prisma://accelerate.example/?api_key=pw",
    ],
)
def test_a_url_with_a_password_is_refused_and_not_repeated(url: str) -> None:
    """However the password is written."""
    (line,) = lines_of(f"[database.shop]\nurl = '{url}'")
    assert line.startswith("safepoint.toml:2:7: database.shop.url: found a ")
    assert "pw" not in line


@pytest.mark.parametrize(
    ("text", "place", "complaint"),
    [
        ("a = ", "1:5", "invalid value"),
        ("\r\n[a\r\n", "2:3", "expected ']' at the end of a table declaration"),
        ("a = [1,\n  2", "2:4", "unclosed array"),
        ("a = " + "[" * 5000, "1:1", "it is nested too deep"),
    ],
)
def test_what_is_no_toml_is_told_with_its_place(text: str, place: str, complaint: str) -> None:
    """tomllib's complaint, at the place where it stopped; where it names none, the start."""
    must_complain(text, f'{place}: found no valid TOML ({complaint}), expected lines like: key = "text"')


def test_a_number_beyond_all_measure_is_told() -> None:
    """Python refuses it with an error that is not tomllib's own."""
    (line,) = lines_of("a = " + "9" * 5000)
    assert line.startswith("safepoint.toml:1:1: found no valid TOML (")


def test_every_key_that_is_said_twice_is_told_with_its_first_place() -> None:
    """tomllib stops at the first; the scan goes on."""
    must_complain(
        MINIMAL + 'url = "env:OTHER"\n[migrate]\n[migrate]\n',
        "3:1: database.shop.url: found a second time, expected once (the first is in line 2)",
        "5:2: migrate: found a second time, expected once (the first is in line 4)",
    )


def test_said_twice_and_no_toml_are_both_told() -> None:
    """A repetition does not hide the syntax error that stopped the reader."""
    must_complain(
        "a = 1\nb = ?\na = 2\n",
        '2:5: found no valid TOML (invalid value), expected lines like: key = "text"',
        "3:1: a: found a second time, expected once (the first is in line 1)",
    )


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        ("", ["1:1: found no database, expected at least one [database.NAME]"]),
        ("database = 5", ["1:12: database: found an integer, expected a table"]),
        ("[database]\nshop = 5", ["2:8: database.shop: found an integer, expected a table"]),
        ("[database.shop]", ["1:11: database.shop.url: found nothing, expected a reference like"]),
        (
            MINIMAL + "migrations = 1979-05-27",
            ["3:14: database.shop.migrations: found a date or time, expected a table"],
        ),
        (MINIMAL + 'of = "shop"', ['3:6: database.shop.of: found a circle "shop" → "shop", expected an end']),
        (
            MINIMAL + 'platform = "rds"\nregion = "r"',
            ["1:11: database.shop.instance: found nothing, expected instance"],
        ),
        (MINIMAL + 'instance = "x"', ['3:1: database.shop.instance: found instance with platform "self-managed"']),
        (MINIMAL + '[tier.daily]\nkeep = "1d"', ["3:7: tier.daily: found no repository to keep this in"]),
        (MINIMAL + '[wal.shop]\nkeep = "1d"', ["3:6: wal.shop: found no repository to keep this in"]),
        (
            WITH_REPOSITORY + 'mode = "eventual"',
            ['6:8: repository.main.mode: found only repositories of mode "eventual", expected a required one'],
        ),
        (
            MINIMAL + '[database.copy]\nurl = "env:DATABASE_URL"',
            ["4:7: database.copy.url: found the url of database.shop again, expected a database of its own"],
        ),
        (
            MINIMAL + 'migrations.a.folder = "m"\nmigrations.b.folder = "m/"',
            ["4:23: database.shop.migrations.b.folder: found the folder and schema of a again"],
        ),
        (
            MINIMAL + "[migrate]\nmax_waiters = -1",
            ["4:15: migrate.max_waiters: found the integer -1, expected a whole"],
        ),
        (
            MINIMAL + '[repository.main]\nurl = "file:/r"\nkey = "none"\n[tier.daily]\nkeep = "1d"\ncompression = 20',
            ["8:15: tier.daily.compression: found the integer 20, expected a whole number from 1 to 19"],
        ),
        (
            MINIMAL + "[migrate]\nmax_waiters = true",
            ["4:15: migrate.max_waiters: found the boolean true, expected a whole"],
        ),
        (
            MINIMAL + f"[migrate]\nmax_waiters = 0x{'f' * 5000}",
            ["4:15: migrate.max_waiters: found an integer, expected a whole number from 0 to 10000"],
        ),
        (MINIMAL + '[migrate]\ncontract = "now"', ['4:12: migrate.contract: found "now", expected "manual"']),
        (MINIMAL + "migrate = 5", ["3:1: database.shop.migrate: found an unknown key"]),
        (
            WITH_REPOSITORY + '[tier.daily]\nkeep = "1d"\nrepository = "man"',
            ['8:14: tier.daily.repository: found "man", expected the name of a [repository] (known: main)'],
        ),
        (
            WITH_REPOSITORY + '[tier.daily]\nkeep = "1d"\nrepository = " "',
            [
                '8:14: tier.daily.repository: found " ", expected a text that is not blank',
                '8:14: tier.daily.repository: found " ", expected the name of a [repository]',
            ],
        ),
        (
            WITH_REPOSITORY + "[drill.x]\nqueries = 1",
            ["7:11: drill.x.queries: found an integer, expected an array of SQL"],
        ),
        (
            MINIMAL + 'data = "/a\\u0000b"',
            ["3:8: database.shop.data: found a text with a NUL character, expected an abs"],
        ),
        (MINIMAL + "[repository]\nmain = 1", ["4:8: repository.main: found an integer, expected a table"]),
        ("migrate = 5\n" + MINIMAL, ["1:11: migrate: found an integer, expected a table"]),
    ],
)
def test_each_mistake_is_told_where_it_stands(text: str, mistakes: list[str]) -> None:
    """Position, key, found and expected; and nothing else is complained about."""
    lines = lines_of(text)
    assert len(lines) == len(mistakes), lines
    for line, mistake in zip(lines, mistakes, strict=True):
        assert line.startswith(f"safepoint.toml:{mistake}")


def test_a_circle_is_told_once_and_those_who_lead_into_it_are_not_blamed() -> None:
    """a → b → a is one mistake; c → a is none of its own."""
    text = "".join(
        f'[repository.{name}]\nurl = "file:/{name}"\nkey = "none"\nsibling_of = "{other}"\n'
        for name, other in (("c", "a"), ("a", "b"), ("b", "a"))
    )
    must_complain(MINIMAL + text, '10:14: repository.a.sibling_of: found a circle "a" → "b" → "a", expected an end')


def test_wrong_shapes_do_not_hide_wrong_references() -> None:
    """What one key says about another is judged even where other keys have the wrong type."""
    must_complain(
        '[database.shop]\nurl = 5\n[database.staging]\nurl = "env:S"\nof = "shp"\n',
        f"2:7: database.shop.url: found an integer, expected {'a reference like'} "
        '"env:DATABASE_URL", or a postgresql:// URL without a password',
        '5:6: database.staging.of: found "shp", expected the name of a [database] (known: shop, staging); '
        'did you mean "shop"?',
    )


@RELAXED
@given(
    st.recursive(
        st.integers() | st.text("ab:/") | st.booleans(), lambda inner: st.lists(inner, max_size=2), max_leaves=4
    )
)
def test_any_value_anywhere_is_told_or_taken(value: object) -> None:
    """No type in any place makes the loader raise anything but its own report."""
    written = json.dumps(value)
    places = ("database", "repository", "wal", "tier", "drill", "scenario", "migrate", "notify")
    keys = (
        "url",
        "of",
        "platform",
        "migrations",
        "repository",
        "sibling_of",
        "lock_timeout",
        "success",
        "keep",
        "mode",
    )
    for section in places:
        lines_of(f"{section} = {written}")
        lines_of(f"[{section}]\nx = {written}")
        lines_of(f"[{section}.x]\n" + "".join(f"{key} = {written}\n" for key in keys))


def test_the_file_is_found_in_the_folder_or_above(tmp_path: Path) -> None:
    """As git finds its repository: the nearest one counts."""
    deep = tmp_path / "a/b"
    deep.mkdir(parents=True)
    (tmp_path / "safepoint.toml").write_text(MINIMAL)
    (tmp_path / "a/safepoint.toml").mkdir()
    assert find_strategy(deep) == tmp_path / "safepoint.toml"


def test_no_file_is_told_with_the_command_that_writes_one(tmp_path: Path) -> None:
    """CF002, with `safepoint init`."""
    with pytest.raises(errors.Misconfigured) as caught:
        find_strategy(tmp_path)
    assert caught.value.spec is errors.CF002
    assert "safepoint init" in caught.value.hints[-1].text


@pytest.mark.parametrize("name", ["absent.toml", "."])
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, name: str) -> None:
    """Absent, or a folder: CF002 with the system's reason."""
    with pytest.raises(errors.Misconfigured, match=r"CF002: found (no such file|is a directory)"):
        load_strategy(tmp_path / name)


def test_bytes_that_are_no_utf8_are_told_with_their_line(tmp_path: Path) -> None:
    """A file saved in another encoding."""
    path = tmp_path / "safepoint.toml"
    path.write_bytes(MINIMAL.encode() + b"# caf\xe9\n")
    with pytest.raises(errors.Misconfigured, match=r"CF001: safepoint\.toml:3:1: found the byte 0xe9"):
        load_strategy(path)


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    """Some editors write one."""
    path = tmp_path / "safepoint.toml"
    path.write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())
    assert load_strategy(path).database().name == "shop"


def test_an_unknown_name_is_told_with_the_known_ones() -> None:
    """CF004 with what was probably meant."""
    strategy = load_strategy(EXAMPLE)
    with pytest.raises(errors.Misconfigured, match=r'CF004: found "vivrr", .*known: vivr, vivr-staging') as caught:
        strategy.database("vivrr")
    assert 'did you mean "vivr"?' in caught.value.hints[0].text


def test_no_name_where_there_are_several_is_told() -> None:
    """The only one may be left out, one of two may not."""
    with pytest.raises(errors.Misconfigured, match=r"CF004: found no name, expected one of the names of \[database"):
        load_strategy(EXAMPLE).database()


def test_a_name_unlike_any_other_gets_no_guess() -> None:
    """A bad guess is worse than none."""
    with pytest.raises(errors.Misconfigured, match=r"known: none") as caught:
        parsed(MINIMAL).scenario("zebra")
    assert caught.value.hints == ()


def test_a_command_that_needs_a_repository_says_so() -> None:
    """CF006 with the lines to add."""
    with pytest.raises(errors.Misconfigured) as caught:
        parsed(MINIMAL).repository()
    assert caught.value.spec is errors.CF006
    assert "[repository.main]" in caught.value.hints[-1].text


def test_what_a_verb_acts_on_is_not_named() -> None:
    """One physical tier in a folder, and the lock budget."""
    other = '[repository.other]\nurl = "~/backups"\nkey = "none"\n'
    strategy = parsed(
        WITH_REPOSITORY + other + '[tier.daily]\nkeep = "1d"\nkind = "physical"\n[migrate]\nlock_timeout = "1s"'
    )
    assert unused_in_this_version(strategy) == ("tier.daily.keep",)


def test_what_no_verb_acts_on_yet_is_named() -> None:
    """The file is the one place; what this version does not do is said, not pretended."""
    assert "\n".join(unused_in_this_version(load_strategy(EXAMPLE))) + "\n" == (GOLDEN / "unused.txt").read_text()
    rds = parsed('[database.shop]\nurl = "env:U"\nplatform = "rds"\ninstance = "shop"\nregion = "us-east-1"\n')
    assert unused_in_this_version(rds) == (
        "database.shop.instance",
        "database.shop.region",
        'database.shop with platform "rds"',
    )


@RELAXED
@given(st.timedeltas(min_value=timedelta(), max_value=timedelta(days=400_000)))
def test_durations_are_written_as_they_are_read(duration: timedelta) -> None:
    """duration_text and parse_duration are inverse, to the millisecond."""
    whole = duration - duration % timedelta(milliseconds=1)
    assert parse_duration(duration_text(whole)) == whole


def test_a_file_without_an_end_is_refused() -> None:
    """A device is no strategy, and is not read until the memory is full."""
    with pytest.raises(errors.Misconfigured, match="CF001: zero:1:1: found more than"):
        load_strategy(Path("/dev/zero"))

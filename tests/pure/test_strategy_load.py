"""The strategy file: found, loaded whole, or refused with every mistake at once."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
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
    find_strategy,
    load_strategy,
    parse_strategy,
    strategy_to_json,
    unused_in_this_version,
)
from safepoint.strategy.report import duration_text
from strategy_samples import GOLDEN, MINIMAL, RELAXED, REPOSITORY, WITH_REPOSITORY, parsed

EXAMPLE = REPOSITORY / "examples/vivr/safepoint.toml"


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
    assert [hint.text for hint in caught.value.hints] == ["add [scenario.NAME] to the strategy file"]


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
@given(st.timedeltas(min_value=timedelta(), max_value=timedelta(days=365_000)))
def test_durations_are_written_as_they_are_read(duration: timedelta) -> None:
    """duration_text and parse_duration are inverse, to the millisecond."""
    whole = duration - duration % timedelta(milliseconds=1)
    assert parse_duration(duration_text(whole)) == whole


def test_a_file_without_an_end_is_refused() -> None:
    """A device is no strategy, and is not read until the memory is full."""
    with pytest.raises(errors.Misconfigured, match="CF001: zero:1:1: found more than"):
        load_strategy(Path("/dev/zero"))

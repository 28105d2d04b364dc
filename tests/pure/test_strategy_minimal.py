"""The file that `init` writes loads back as what it was made of."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from safepoint.strategy import (
    FoundMigrations,
    FoundRds,
    MigrateStrategy,
    Platform,
    Strategy,
    minimal_strategy,
    name_for,
    parse_strategy,
    read_prisma_project,
    unused_in_this_version,
)
from safepoint.strategy.kinds import name

RELAXED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no failure
GOLDEN = Path(__file__).parents[1] / "golden/strategy"
FILE = Path("/srv/shop/safepoint.toml")
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
VARIABLES = st.from_regex(r"env:[A-Z_][A-Z0-9_]{0,9}", fullmatch=True)


def uncommented(text: str) -> Strategy:
    """With every example in it made real."""
    return parse_strategy(re.sub(r"^#(?=[\[a-z])", "", text, flags=re.MULTILINE), FILE)


def whole() -> str:
    return minimal_strategy(
        database="vivr",
        url="env:DATABASE_URL",
        direct_url="env:DIRECT_URL",
        data=Path("/var/lib/postgresql/17/main"),
        migrations=[FoundMigrations(name="shop", folder=Path("prisma/migrations"))],
        repository="file:/var/backups/safepoint",
        key="env:SAFEPOINT_KEY",
        notes=["PostgreSQL 17.10, checksums on", "archive_mode is off"],
    )


def test_the_file_of_a_found_project() -> None:
    """The text a newcomer sees, as it was reviewed."""
    assert whole() == (GOLDEN / "minimal.toml").read_text()


def test_it_says_what_was_found_and_no_more() -> None:
    """Each fact is in the value; the lock budget is written out with its defaults."""
    strategy = parse_strategy(whole(), FILE)
    assert str(strategy.database().connection) == "env:DIRECT_URL"
    assert strategy.database().application("shop").folder == Path("/srv/shop/prisma/migrations")
    assert str(strategy.repository().url) == "file:/var/backups/safepoint"
    assert [tier.name for tier in strategy.tiers] == ["daily", "pre-migration"]
    assert strategy.migrate == MigrateStrategy()
    assert strategy.scenarios == ()


def test_a_url_alone_gives_a_file_of_examples() -> None:
    """Nothing is promised that nobody asked for, and nothing is stated that this version ignores."""
    strategy = parse_strategy(minimal_strategy(database="shop", url="env:DATABASE_URL"), FILE)
    assert (strategy.repositories, strategy.tiers, strategy.wal) == ((), (), ())
    assert unused_in_this_version(strategy) == ()


@pytest.mark.parametrize("text", [whole(), minimal_strategy(database="a.b", url="env:DATABASE_URL")])
def test_its_examples_are_right_once_uncommented(text: str) -> None:
    """Taking the # away is all that a newcomer has to do."""
    strategy = uncommented(text)
    assert [scenario.name for scenario in strategy.scenarios] == ["database-unavailable"]
    assert strategy.wal_of(strategy.database().name) is not None
    assert strategy.repository().key is not None


@RELAXED
@given(
    database=NAMES,
    url=VARIABLES,
    replica=st.none() | VARIABLES,
    folder=TEXTS.filter(str.strip),
    schema=TEXTS.filter(str.strip),
    data=st.none() | TEXTS.map(lambda text: "/" + text),
    key=st.sampled_from(["none", "file:key"]),
    notes=st.lists(TEXTS, max_size=3),
)
def test_any_facts_load_back(
    database: str,
    url: str,
    replica: str | None,
    folder: str,
    schema: str,
    data: str | None,
    key: str,
    notes: list[str],
) -> None:
    """Whatever characters paths, schemas and notes hold."""
    text = minimal_strategy(
        database=database,
        url=url,
        replica=replica,
        data=Path(data) if data else None,
        migrations=[FoundMigrations(name="app", folder=Path(folder), schema=schema)],
        repository="file:/backups",
        key=key,
        notes=notes,
    )
    found = parse_strategy(text, FILE).database(database)
    assert str(found.url) == url
    assert found.data == (Path(data) if data else None)
    assert found.application().folder == FILE.parent / folder
    assert found.application().schema == schema
    assert (str(found.replica) if found.replica else None) == replica


def test_an_rds_instance() -> None:
    """The platform with what it needs."""
    text = minimal_strategy(database="shop", url="env:U", rds=FoundRds(instance="shop", region="us-east-1"))
    found = parse_strategy(text, FILE).database()
    assert (found.platform, found.instance, found.region) == (Platform.RDS, "shop", "us-east-1")


def test_a_prisma_project_becomes_a_strategy() -> None:
    """What the reader finds is what the writer takes."""
    root = Path(__file__).parents[2] / "examples/vivr"
    project = read_prisma_project(root)
    assert project is not None
    assert project.migrations is not None
    text = minimal_strategy(
        database="vivr",
        url=f"env:{project.url_variable}",
        direct_url=f"env:{project.direct_url_variable}",
        migrations=[FoundMigrations(name=name_for(root.name), folder=project.migrations.relative_to(root))],
    )
    assert parse_strategy(text, root / "safepoint.toml").database().application("vivr").folder == project.migrations


@RELAXED
@given(TEXTS)
def test_any_text_can_be_made_a_name(text: str) -> None:
    """A database may be called anything; a table of the file may not."""
    assert name(name_for(text)) == name_for(text)


@pytest.mark.parametrize(
    ("text", "made"), [("shop", "shop"), ("My Shop", "My-Shop"), ("../x", "x"), ("ä", "main"), ("", "main")]
)
def test_a_name_stays_recognisable(text: str, made: str) -> None:
    """What is allowed is kept."""
    assert name_for(text) == made

"""What a self-managed server lets one do, by the role's rights and the server's settings."""

from __future__ import annotations

from dataclasses import replace

import pytest

from safepoint.model.version import PgVersion
from safepoint.platforms.self_managed import Ability, Answer, abilities_of
from safepoint.postgres.facts import ServerFacts

ABLE = ServerFacts(
    version=PgVersion(170010),
    is_in_recovery=False,
    role="app",
    is_superuser=False,
    can_replicate=True,
    can_read_all_stats=True,
    can_read_all_settings=True,
    can_signal_backends=True,
    can_create_in_database=True,
    can_create_restore_point=True,
    can_switch_wal=True,
    can_start_backup=True,
    system_identifier=1,
    data_directory=None,
    config_file=None,
    hba_file=None,
    wal_level="replica",
    archive_mode="off",
    archive_command=None,
    archive_library=None,
    max_connections=100,
    max_wal_senders=10,
    max_replication_slots=10,
    has_checksums=True,
    has_full_page_writes=True,
    summarizes_wal=False,
    segment_size=1 << 24,
    block_size=8192,
)


def ability(facts: ServerFacts, feature: str, obstacle: str | None = None) -> Ability:
    """One feature's answer."""
    return next(item for item in abilities_of(facts, replication_obstacle=obstacle) if item.feature == feature)


def test_everything_open() -> None:
    """With every right each feature is there, and nothing needs a cure."""
    assert {(item.answer, item.cure) for item in abilities_of(ABLE, replication_obstacle=None)} == {(Answer.YES, "")}


@pytest.mark.parametrize(
    ("changed", "because"),
    [
        ({"can_replicate": False}, "app lacks REPLICATION"),
        ({"wal_level": "minimal"}, "wal_level is minimal"),
        ({"max_wal_senders": 0}, "max_wal_senders is 0"),
    ],
)
def test_what_closes_backup_and_stream(changed: dict[str, object], because: str) -> None:
    """What closes the backup closes the stream, for the same reason, with a cure."""
    facts = replace(ABLE, **changed)  # pyright: ignore[reportArgumentType]
    for feature in ("backup", "wal stream"):
        found = ability(facts, feature)
        assert (found.answer, found.because) == (Answer.NO, because)
        assert found.cure
    assert ability(facts, "migrate deploy").answer is Answer.YES


def test_replication_that_is_not_let_in() -> None:
    """The right alone is not enough: the connection was tried, and its failure is the reason."""
    found = ability(ABLE, "backup", obstacle="no pg_hba.conf entry")
    assert (found.answer, found.because) == (Answer.NO, "no pg_hba.conf entry")


@pytest.mark.parametrize("hidden", ["wal_level", "max_wal_senders"])
def test_hidden_settings_are_unknown(hidden: str) -> None:
    """A setting that the role may not see leaves the feature unknown, not open."""
    facts = replace(ABLE, **{hidden: None})  # pyright: ignore[reportArgumentType]
    assert ability(facts, "backup").answer is Answer.UNKNOWN
    assert ability(facts, "wal stream").answer is Answer.UNKNOWN


@pytest.mark.parametrize(
    ("changed", "feature"),
    [
        ({"max_replication_slots": 0}, "wal stream"),
        ({"can_create_in_database": False}, "migrate deploy"),
        ({"can_create_restore_point": False}, "named restore points"),
        ({"can_read_all_stats": False}, "naming who blocks a deployment"),
    ],
)
def test_what_closes_one_feature_only(changed: dict[str, object], feature: str) -> None:
    """A right that lacks closes its feature, with a cure, and no other."""
    found = abilities_of(replace(ABLE, **changed), replication_obstacle=None)  # pyright: ignore[reportArgumentType]
    assert [(item.feature, bool(item.cure)) for item in found if item.answer is not Answer.YES] == [(feature, True)]

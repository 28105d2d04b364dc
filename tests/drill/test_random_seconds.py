"""Restores to random instants of a server under traffic, against the order of commits in WAL.

A few by default; `make campaign-seconds` restores SAFEPOINT_SECONDS times.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Generator
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
import pytest

import servers
from fake_clock import fake_clock
from random_seconds import Recorded, pauses, recorded, steps_back
from safepoint.postgres.binaries import find_binaries
from safepoint.postgres.cluster import adopt_cluster, remove_cluster

RESTORES = int(os.environ.get("SAFEPOINT_SECONDS", "10"))
MAJORS = 2
IS_CAMPAIGN = "SAFEPOINT_SECONDS" in os.environ
SCENE_SECONDS = 30.0 if IS_CAMPAIGN else 6.0
QUIET = timedelta(seconds=SCENE_SECONDS / 10)

pytestmark = [pytest.mark.pg("!= 16, != 17"), pytest.mark.timeout(300 + 30 * RESTORES)]


@pytest.fixture(scope="module")
def scene(major: int) -> Generator[Recorded]:
    """Traffic with a quiet stretch and a clock that was set back, in the repository."""
    with servers.server_directory() as root, recorded(major, fake_clock(root), root, seconds=SCENE_SECONDS) as found:
        yield found


def restored_rows(scene: Recorded, major: int, instant: datetime, into: Path) -> set[int]:
    """The rows of a copy restored to the instant by the command; the copy is gone afterwards."""
    said = scene.shell.safepoint("restore", "--to", instant.isoformat(), "--into", str(into), "--no-promote", "--json")
    try:
        with psycopg.connect(said.json["url"]) as connection:
            return {row[0] for row in connection.execute("SELECT id FROM rows").fetchall()}
    finally:
        remove_cluster(adopt_cluster(into, find_binaries(major)))


def test_the_scene_has_what_makes_instants_hard(scene: Recorded) -> None:
    """Quiet stretches, commits in another order than their times, and a clock that was set back."""
    assert len([ending for ending in scene.endings if ending.row is not None]) > 100
    assert any(ending.row is None for ending in scene.endings)
    assert pauses(scene.endings, QUIET) >= 1
    assert steps_back(scene.endings) > timedelta(seconds=30)


def test_random_instants_hold_exactly_what_was_committed_before_the_first_later_commit(
    scene: Recorded, major: int
) -> None:
    """In the order of WAL, by the server's own timestamps; before, within and after the clock's step as well."""
    seed = int(os.environ.get("SAFEPOINT_SEED", random.randrange(1 << 30)))
    chance = random.Random(seed)
    wrong: list[str] = []
    instants = scene.random_instants(RESTORES // MAJORS, chance)

    for number, instant in enumerate(instants):
        found, expected = restored_rows(scene, major, instant, scene.root / f"copy{number}"), scene.rows_at(instant)
        if found != expected:
            extra, missing = len(found - expected), len(expected - found)
            wrong.append(f"{instant.isoformat()}: {extra} rows too many, {missing} missing")
        told = f"pg{major} {number + 1}/{len(instants)} {instant.isoformat()} {len(expected)} rows"
        sys.stdout.write(f"{told} {'right' if found == expected else 'WRONG'}\n")

    assert wrong == [], f"found {len(wrong)} of {len(instants)} wrong with SAFEPOINT_SEED={seed}"

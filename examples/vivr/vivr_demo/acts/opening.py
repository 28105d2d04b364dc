"""Act one: a primary with the shop's schema, its orders, and shoppers of the old application version."""

from __future__ import annotations

import shutil
import time

import psycopg
from psycopg import sql

from safepoint.postgres.binaries import find_binaries
from safepoint.postgres.cluster import make_cluster, start
from vivr_demo.shop import open_shop
from vivr_demo.story import VIVR, Story
from vivr_shop.generate import fill

_SHOPPERS = 4
_SETTINGS = {"track_commit_timestamp": "on", "shared_buffers": "256MB", "max_wal_size": "2GB"}
_PROMISES = """
[scenario.data-corruption]
rto = "30m"
rpo = "1h"
recover = "restore-to-time"

[scenario.database-unavailable]
rto = "15m"
rpo = "1h"
recover = "restore-latest"

[scenario.complete-loss]
rto = "4h"
rpo = "24h"
recover = "restore-latest"
"""


def open_the_shop(story: Story) -> None:
    """The shop serves shoppers from a database that safepoint has migrated."""
    _start_primary(story)
    shutil.copytree(VIVR / "prisma", story.stage.project / "prisma")
    story.terminal.safepoint("init", "--repository", f"file:{story.stage.repository}")
    with (story.stage.project / "safepoint.toml").open("a") as file:
        file.write(_PROMISES)
    story.load_contracts()
    done = story.terminal.safepoint("migrate", "deploy", "--without-backup", "the database is new and empty")
    story.happened(f"{len(done['applied'])} migrations deployed")
    _fill(story)
    story.shop = open_shop(story.stage, story.terminal, story.url.reveal(), old=_SHOPPERS)
    story.happened(f"{_SHOPPERS} shoppers of the old version are shopping")


def _start_primary(story: Story) -> None:
    binaries = find_binaries()
    cluster = make_cluster(story.stage.servers / "primary", binaries, settings=_SETTINGS)
    start(cluster)
    with psycopg.connect(cluster.url().conninfo(), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE vivr"))
    story.serve_from(cluster.url("vivr").reveal(), str(cluster.data))
    _install_amcheck(story)
    story.facts.append(("server", f"PostgreSQL {binaries.version} ({binaries.origin}), run by {cluster.user}"))
    story.happened(f"PostgreSQL {binaries.version} serves the shop")


def _install_amcheck(story: Story) -> None:
    """Restores check heaps and indexes where the extension is installed; outside of the schema that Prisma owns."""
    with story.connect() as connection:
        if connection.execute("SELECT FROM pg_available_extensions WHERE name = 'amcheck'").fetchone() is not None:
            connection.execute("CREATE SCHEMA amcheck")
            connection.execute("CREATE EXTENSION amcheck SCHEMA amcheck")


def _fill(story: Story) -> None:
    began = time.monotonic()
    with psycopg.connect(story.url.conninfo()) as connection:
        counts = fill(connection, orders=story.orders)
    rate = counts.orders / (time.monotonic() - began)
    story.facts.append(("shop", f"{counts.orders} orders, {counts.total} rows, filled at {rate:.0f} orders a second"))
    story.happened(f"the shop holds {counts.orders} orders ({rate:.0f} a second)")

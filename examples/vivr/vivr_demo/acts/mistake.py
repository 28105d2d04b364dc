"""Act four: data corruption. A day of orders is deleted and committed; the shop goes on until somebody notices."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

import psycopg
from psycopg.rows import class_row, scalar_row

from safepoint.postgres.binaries import find_binaries
from safepoint.postgres.cluster import adopt_cluster, stop
from safepoint.postgres.url import DatabaseUrl
from vivr_demo.measure import Outage
from vivr_demo.story import Story
from vivr_shop.generate import END

_DAY = {"first": (END - timedelta(days=1)).replace(tzinfo=None), "end": END.replace(tzinfo=None)}
_NOTICED_AFTER_SECONDS = 3.0
_IN_TIME: LiteralString = '"createdAt" >= %(first)s AND "createdAt" < %(end)s'
_OF_THE_DAY: LiteralString = f'"orderId" IN (SELECT "id" FROM "Order" WHERE {_IN_TIME})'
_COUNT: LiteralString = (
    f'SELECT (SELECT count(*) FROM "Order" WHERE {_IN_TIME}) AS orders, '
    f'(SELECT count(*) FROM "OrderItem" WHERE {_OF_THE_DAY}) AS items, '
    f'(SELECT count(*) FROM "Payment" WHERE {_OF_THE_DAY}) AS payments, '
    f'(SELECT count(*) FROM "Review" WHERE {_OF_THE_DAY}) AS reviews'
)
_DELETES: tuple[LiteralString, ...] = (
    f'DELETE FROM "Review" WHERE {_OF_THE_DAY}',
    f'DELETE FROM "Payment" WHERE {_OF_THE_DAY}',
    f'DELETE FROM "Order" WHERE {_IN_TIME}',
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """How many rows belong to the orders of the day."""

    orders: int
    items: int
    payments: int
    reviews: int


def make_a_mistake(story: Story) -> None:
    """The day is back, and the shop serves from the instant before the mistake."""
    before = _fetch_day(story.url)
    deleted_at = _delete_day(story.url)
    story.happened(f"{before.orders} orders of one day are deleted", deleted_at)
    time.sleep(_NOTICED_AFTER_SECONDS)
    stop(adopt_cluster(story.data, find_binaries()))
    closed_at = story.happened("somebody has noticed: the server is stopped, nothing more is written to it")
    story.stop_receiver()
    target = deleted_at - timedelta(microseconds=1)
    place = story.stage.servers / "before-the-mistake"
    restored = story.terminal.safepoint("restore", "vivr", "--to", target.isoformat(), "--into", str(place))
    story.recover(
        "data-corruption",
        Outage(failed_at=deleted_at, closed_at=closed_at, target=target),
        by=f"restore to {target.isoformat()}, the instant before the mistake",
        restored=restored,
        proofs=[_prove_day_is_back(DatabaseUrl.parse(restored["url"]), before)],
    )
    story.adopt_copy()
    story.start_receiver()
    taken = story.terminal.safepoint("backup", "vivr", "--tier", "daily")
    story.happened(f"the new timeline has a backup of its own: {taken['backup']}")


def _fetch_day(url: DatabaseUrl) -> Day:
    with psycopg.connect(url.conninfo()) as connection, connection.cursor(row_factory=class_row(Day)) as cursor:
        day = cursor.execute(_COUNT, _DAY).fetchone()
    if day is None or day.orders == 0:
        raise ValueError(f"found {day} on the day in question, expected orders")
    return day


def _delete_day(url: DatabaseUrl) -> datetime:
    """The day's orders are gone; returns the instant of that commit by the server's clock."""
    with psycopg.connect(url.conninfo()) as connection, connection.cursor(row_factory=scalar_row) as cursor:
        for statement in _DELETES:
            cursor.execute(statement, _DAY)
        xid: Any = cursor.execute("SELECT pg_current_xact_id()::text").fetchone()
        connection.commit()
        committed_at: Any = cursor.execute("SELECT pg_xact_commit_timestamp(%s::text::xid)", [xid]).fetchone()
    return committed_at.astimezone(UTC)


def _prove_day_is_back(url: DatabaseUrl, before: Day) -> str:
    found = _fetch_day(url)
    if found != before:
        raise ValueError(f"found {found} after the restore, expected {before}")
    return f"the deleted day is back: {found.orders} orders, {found.items} items, {found.payments} payments"

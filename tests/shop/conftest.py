"""A PostgreSQL server for the shop's tests, and databases with the migrated shop in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

import psycopg
import pytest

import servers
from safepoint.postgres import cluster
from safepoint.postgres.cluster import Cluster
from vivr_shop.generate import fill
from vivr_shop.migrations import apply_migrations

SETTINGS = {
    "track_commit_timestamp": "on",
    "max_connections": "50",
    "synchronous_standby_names": "nobody",
    "synchronous_commit": "local",
}
"""A commit waits for ever where a database sets synchronous_commit = on: there is no standby of that name."""

TEMPLATE = "shop_template"
SOLD = "shop_sold"
ORDERS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A scratch cluster that tests stop and start."""

    cluster: Cluster

    def start(self) -> None:
        cluster.start(self.cluster)

    def stop(self, mode: cluster.StopMode = "immediate") -> None:
        cluster.stop(self.cluster, mode=mode)

    def url(self, database: str) -> str:
        return self.cluster.url(database).reveal()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """One cluster for all tests, with an empty shop and one of 400 orders to copy from."""
    with servers.server_directory() as folder:
        server = Server(cluster=servers.make_server(folder, servers.majors_at_hand()[-1], SETTINGS))
        try:
            _make_shops(server)
            yield server
        finally:
            cluster.remove_cluster(server.cluster)


def _make_shops(server: Server) -> None:
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {TEMPLATE}".encode())
        with psycopg.connect(server.url(TEMPLATE), autocommit=True) as empty:
            apply_migrations(empty)
        connection.execute(f"CREATE DATABASE {SOLD} TEMPLATE {TEMPLATE}".encode())
        with psycopg.connect(server.url(SOLD)) as sold:
            fill(sold, orders=ORDERS)


@pytest.fixture
def new_shop(server: Server) -> Callable[..., str]:
    """Makes a database with a migrated shop, empty unless told otherwise, and returns its URL."""

    def create(*, is_filled: bool = False) -> str:
        name = f"shop_{next(_numbers)}"
        with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {SOLD if is_filled else TEMPLATE}".encode())
        return server.url(name)

    return create


_numbers = count(1)

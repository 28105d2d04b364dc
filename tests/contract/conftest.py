"""Every store that can run here, behind one fixture.

`SAFEPOINT_TEST_STORES` may name more, as URLs with blanks between them; their credentials come from the environment,
and each test leaves its objects below a prefix of its own: `SAFEPOINT_TEST_STORES="s3://bucket/tests" make test`.
"""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

import object_servers
from object_servers import ObjectServer
from pack_samples import KEYRINGS
from repository_samples import PASSPHRASE, make_repository
from safepoint.model.secret import Secret
from safepoint.repository import Repository
from safepoint.repository.sealing.seal import Keyring
from safepoint.stores import FolderStore, MemoryStore, Meter, Store, open_store
from safepoint.stores.faults import FaultyStore
from safepoint.stores.metering import MeteredStore
from safepoint.stores.retry import RetryingStore

_LOCAL: dict[str, Callable[[Path], Store]] = {
    "folder": FolderStore,
    "memory": lambda _: MemoryStore(),
    "wrapped": lambda path: RetryingStore(MeteredStore(FaultyStore(FolderStore(path)), Meter())),
}
_SERVED = {"s3": ("weed", "s3_server"), "az": ("azurite-blob", "azure_server")}
_AT_HAND = [kind for kind, (program, _) in _SERVED.items() if object_servers.find_server(program)]
_NAMED = os.environ.get("SAFEPOINT_TEST_STORES", "").split()


@pytest.fixture(params=[*sorted(_LOCAL), *_AT_HAND, *_NAMED])
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    """Makes empty stores of each kind: every call another."""
    kind = request.param
    folders = itertools.count()
    if kind in _LOCAL:
        return lambda: _LOCAL[kind](tmp_path / f"store-{next(folders)}")
    if kind in _NAMED:
        url, question, options = kind.partition("?")
        return lambda: open_store(f"{url.rstrip('/')}/{secrets.token_hex(8)}{question}{options}")
    server: ObjectServer = request.getfixturevalue(_SERVED[kind][1])
    monkeypatch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return lambda: open_store(server.url(secrets.token_hex(8)))


@pytest.fixture
def store(new_store: Callable[[], Store]) -> Store:
    """An empty store of each kind."""
    return new_store()


@pytest.fixture(params=[PASSPHRASE, None], ids=["encrypted", "open"])
def passphrase(request: pytest.FixtureRequest) -> Secret | None:
    """With and without encryption."""
    return request.param


@pytest.fixture
def repository(store: Store, passphrase: Secret | None) -> Repository:
    """A new repository in each store."""
    return make_repository(store, passphrase)


@pytest.fixture(params=KEYRINGS, ids=["encrypted", "open"])
def keyring(request: pytest.FixtureRequest) -> Keyring:
    """With and without encryption."""
    return request.param

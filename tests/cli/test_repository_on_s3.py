"""`safepoint repository …` on S3: a life by the repository's URL; and a killed writer, without conditional put."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from object_servers import ObjectServer
from repository_samples import CHEAP, CLUSTER, DATABASE, back_up, read_files, sample_files, take_files
from rewriting import changed_files, large_files
from safepoint.model.secret import Secret
from safepoint.repository import Repository, create_repository, open_repository
from safepoint.repository.opening import open_keys
from safepoint.stores import open_store
from safepoint.stores.faults import FaultyStore, Killed
from shell import Said, Shell, shell_in

KEY = "a passphrase for the tests"
STRATEGY = """
[database.shop]
url = "env:DATABASE_URL"

[repository.main]
url = "{main}"
key = "env:SAFEPOINT_KEY"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """Prefixes of a bucket, a shell that has the credentials, and a strategy file that names the first prefix."""

    shell: Shell
    urls: Mapping[str, str]

    def run(self, *arguments: str, at: str | None = "main", ends: int = 0) -> Said:
        """`safepoint repository …` on the repository at that prefix, by its URL; by the strategy file without one."""
        where = () if at is None else ("--repository", self.urls[at])
        return self.shell.safepoint("repository", *arguments, *where, ends=ends)

    def opened(self, name: str = "main") -> Repository:
        """The repository, in this process."""
        return open_repository(open_store(self.urls[name]), Secret(KEY))


@pytest.fixture
def bucket(s3_server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """Three prefixes: one whose repository has two backups, its empty sibling, and one without conditional put."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    prefix = secrets.token_hex(6)
    urls = {name: s3_server.url(f"{prefix}/{name}") for name in ("main", "dr", "alone")}
    urls["alone"] += "&conditional_put=no"
    shell = shell_in(tmp_path / "project", SAFEPOINT_KEY=KEY, **s3_server.environment)
    shell.write("safepoint.toml", STRATEGY.format(main=urls["main"]))
    bucket = Bucket(shell=shell, urls=urls)
    repository = create_repository(open_store(urls["main"]), Secret(KEY), cost=CHEAP)
    files = large_files(1, 20)
    first = back_up(repository, files, "one", age=2)
    back_up(repository, changed_files(files, 2), "two", age=1, parent=first)
    opened = open_keys(repository.store, Secret(KEY))
    create_repository(open_store(urls["dr"]), Secret(KEY), cost=CHEAP, sibling_of=opened)
    create_repository(open_store(urls["alone"]), Secret(KEY), cost=CHEAP)
    return bucket


def test_a_life_by_url(bucket: Bucket) -> None:
    """Checked, copied, rotated, sealed anew, expired, collected, repacked, mended from its sibling, verified."""
    files = read_files(bucket.opened(), bucket.opened().backup("two"))

    assert bucket.run("check", "--json").json["packs"] > 0
    assert bucket.run("copy", "--to", bucket.urls["dr"], "--json").json["backups"] == ["one", "two"]
    bucket.run("key", "rotate", at=None)
    assert bucket.run("key", "reseal", "--json").json["packs"] > 0
    bucket.run("expire", "one", "--reason", "a test", "--force")
    assert bucket.run("gc", "--json").json["deleted_packs"] > 0
    assert bucket.run("repack", "--json").json["kept"] == []
    repository = bucket.opened()
    name, *_ = repository.store.list("backups/")
    repository.store.delete(name)
    bucket.run("check", ends=13)
    assert bucket.run("repair", "--from", bucket.urls["dr"], "--json").json["unrepaired"] == []
    assert bucket.run("verify", "--all", "--json").json["verified"] > 0
    bucket.run("check")

    assert bucket.run("stats", "--json").json["backups"] == 1
    assert read_files(bucket.opened(), bucket.opened().backup("two")) == files


def test_without_conditional_put_a_killed_writer_is_unlocked_by_hand(bucket: Bucket) -> None:
    """Until then gc, a copy and a backup are refused with RP010; afterwards its packs go, and all works."""
    repository = bucket.opened("alone")
    back_up(repository, sample_files(1), "own")
    dying = FaultyStore(repository.store)
    with suppress(Killed), repository.through(dying).write_backup(database=DATABASE, cluster=CLUSTER) as writer:
        take_files(writer.ingest, sample_files(2))
        writer.ingest.finish()
        dying.cut_power()

    assert bucket.run("gc", at="alone", ends=10).error == "RP010"
    assert bucket.run("copy", "--to", bucket.urls["alone"], ends=10).error == "RP010"
    assert len(bucket.run("unlock", "--force", "--json", at="alone").json["revoked"]) == 1
    assert bucket.run("gc", "--json", at="alone").json["deleted_packs"] > 0
    assert bucket.run("copy", "--to", bucket.urls["alone"], "--json").json["backups"] == ["one", "two"]
    bucket.run("check", at="alone")

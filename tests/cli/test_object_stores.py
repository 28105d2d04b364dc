"""The command line with a repository in an object store: init, stream, back up, restore; and what init warns of."""

from __future__ import annotations

from pathlib import Path

import pytest

from migrating import ask
from object_servers import ObjectServer
from projects import Project
from safepoint.postgres.binaries import find_binaries
from safepoint.postgres.cluster import adopt_cluster, remove_cluster
from safepoint.postgres.url import DatabaseUrl
from shell import interrupted, wait_for_line

pytestmark = pytest.mark.pg("17")


def test_a_cluster_comes_back_from_s3(fresh: Project, s3_server: ObjectServer, tmp_path: Path) -> None:
    """A row written after the backup is restored with URL and key alone, by credentials that were never printed."""
    url = s3_server.url("cli/pg")
    environment = {**s3_server.environment, "SAFEPOINT_KEY": "a long passphrase"}
    shell = fresh.shell.knowing(**environment)
    ask(fresh.url, "CREATE TABLE orders AS SELECT generate_series(1, 1000) AS id")

    said = [shell.safepoint("init", "--repository", url)]
    with shell.begun("wal", "stream", "--ship-every", "0.2", "--json") as receiver:
        wait_for_line(receiver, "timeline 1: durable up to")
        said.append(shell.safepoint("backup"))
        ask(fresh.url, "INSERT INTO orders VALUES (1001)")
        ask(fresh.url, "SELECT pg_switch_wal()")
        said.append(interrupted(receiver))
    copy = fresh.root / "copy"
    elsewhere = type(shell)(folder=tmp_path, environment=shell.knowing(DATABASE_URL=None).environment)
    restored = elsewhere.safepoint("restore", "--repository", url, "--to", "latest", "--into", str(copy), "--json")
    try:
        assert ask(DatabaseUrl.parse(restored.json["url"]), "SELECT count(*), max(id) FROM orders") == [(1001, 1001)]
    finally:
        remove_cluster(adopt_cluster(copy, find_binaries(17)))

    assert said[2].code == 0
    assert f'url = "{url}"' in (shell.folder / "safepoint.toml").read_text()
    spoken = "".join(part.out + part.err for part in [*said, restored])
    assert environment["AWS_SECRET_ACCESS_KEY"] not in spoken
    assert environment["SAFEPOINT_KEY"] not in spoken


def test_init_says_that_a_store_without_conditional_put_takes_one_writer(fresh: Project) -> None:
    """It stands among the warnings of the plan, before anything is made."""
    url = "s3://bucket/pg?conditional_put=no"

    warned = fresh.shell.safepoint("init", "--repository", url, "--dry-run", "--json").json["warnings"]
    silent = fresh.shell.safepoint("init", "--repository", "s3://bucket/pg", "--dry-run", "--json").json["warnings"]

    assert any("only one safepoint at a time" in warning for warning in warned)
    assert not any("only one safepoint at a time" in warning for warning in silent)


def test_init_names_the_store_and_what_it_answered(fresh: Project, s3_server: ObjectServer) -> None:
    """A bucket that is not there ends init with its name, and no strategy file is left that leads nowhere."""
    shell = fresh.shell.knowing(**s3_server.environment, SAFEPOINT_KEY="a long passphrase")
    url = s3_server.url("pg").replace("safepoint-tests", "no-such-bucket")

    said = shell.safepoint("init", "--repository", url, ends=11)

    assert said.error == "ST003"
    assert "found 404 NoSuchBucket at s3://no-such-bucket/pg" in said.err
    assert not (shell.folder / "safepoint.toml").exists()

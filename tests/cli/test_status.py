"""`status`: what could not be checked is unknown, never good; it never fails because something else did."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from backups import system_identifier
from migrating import ask
from projects import Project, back_up
from shell import Said, interrupted, wait_for_line

pytestmark = pytest.mark.pg("17")


def states(said: Said, database: str = "shop") -> dict[str, str]:
    return {finding["check"]: finding["state"] for finding in said.json["databases"][database]}


def test_without_server(project: Project) -> None:
    """A server that does not answer is bad, its migrations are unknown; backup and proof are known all the same."""
    shell = project.shell.knowing(DATABASE_URL="postgresql://nobody@127.0.0.1:1/shop")
    said = shell.safepoint("status", "--json", ends=3)
    assert states(said) == {
        "server": "bad",
        "repository": "good",
        "backup": "good",
        "proof": "good",
        "wal": "good",
        "migrations": "unknown",
    }


def test_without_repository(project: Project) -> None:
    """A repository that is not there is bad, and makes backups unknown."""
    text = (project.shell.folder / "safepoint.toml").read_text()
    path = project.shell.write("elsewhere.toml", text.replace("/repository", "/nowhere"))
    said = project.shell.safepoint("status", "--config", str(path), "--json", ends=3)
    path.unlink()
    assert states(said) == {
        "server": "good",
        "repository": "bad",
        "backup": "unknown",
        "receiver": "bad",
        "migrations": "good",
    }


def test_damaged_manifest(own: Project) -> None:
    """A manifest that does not open is bad, and `backups` names it and exits 3: no list with a hole in it."""
    back_up(own)
    [manifest] = [path for path in (own.repository / "backups").rglob("*") if path.is_file()]
    manifest.chmod(0o600)
    manifest.write_bytes(manifest.read_bytes()[:-1] + b"x")
    said = own.shell.safepoint("status", "--json", ends=3)
    assert states(said) == {
        "server": "good",
        "repository": "unknown",
        "backup": "bad",
        "proof": "bad",
        "migrations": "good",
    }
    assert own.shell.safepoint("backups", "--json", ends=3).json["unreadable"] == [
        str(manifest.relative_to(own.repository))
    ]


def test_several_databases_some_unset(project: Project, tmp_path: Path) -> None:
    """Databases with an unset variable, or on a platform that cannot be backed up, are unknown beside a known one."""
    shell = replace(project.shell, folder=tmp_path)
    shell.write("migrations/migration_lock.toml", 'provider = "postgresql"\n')
    shell.write(
        "safepoint.toml",
        f"""
[database.shop]
url = "env:DATABASE_URL"
[database.staging]
url = "env:STAGING_URL"
[database.staging.migrations.app]
folder = "migrations"
[database.cloud]
url = "env:CLOUD_URL"
platform = "rds"
instance = "shop"
region = "eu-west-1"
[repository.main]
url = "file:{project.repository}"
key = "none"
""",
    )
    said = shell.safepoint("status", "--json", ends=3)
    assert states(said) == {
        "server": "good",
        "repository": "good",
        "backup": "good",
        "proof": "good",
        "receiver": "bad",
        "wal": "good",
    }
    assert states(said, "staging") == {
        "server": "unknown",
        "repository": "good",
        "backup": "bad",
        "migrations": "unknown",
    }
    assert states(said, "cloud") == {"server": "unknown", "backup": "unknown"}
    assert "staging" in shell.safepoint("status", ends=3).out
    with shell.begun("wal", "stream", "shop", "--ship-every", "0.2") as receiver:
        wait_for_line(receiver, "timeline 1: durable up to")
        assert shell.safepoint("status", "shop").code == 0
        interrupted(receiver)


def test_stored_is_not_proven(own: Project) -> None:
    """A backup that nothing has read back is unknown, and so is WAL behind it that carries no mark."""
    back_up(own)
    said = own.shell.safepoint("status", "--json", ends=3)
    assert states(said) == {
        "server": "good",
        "repository": "unknown",
        "backup": "good",
        "proof": "unknown",
        "receiver": "bad",
        "wal": "unknown",
        "migrations": "good",
    }


def test_receiver_that_stopped(project: Project) -> None:
    """A receiver that has stopped is bad at once, though the newest instant is fresh, and the cure is named."""
    said = project.shell.safepoint("status", "--json", ends=3)
    assert states(said)["receiver"] == "bad"
    [found] = [item for item in said.json["databases"]["shop"] if item["check"] == "receiver"]
    assert found["fact"].startswith("no receiver is connected to slot safepoint_shop, ")
    assert found["cure"] == "`safepoint wal stream shop`, and keep it running"


def test_slot_that_was_dropped(own: Project) -> None:
    """Backups without a slot: nothing keeps the WAL that they need."""
    back_up(own)
    with own.shell.begun("wal", "stream", "--ship-every", "0.2") as receiver:
        wait_for_line(receiver, "timeline 1: durable up to")
        assert states(own.shell.safepoint("status", "--json", ends=3))["receiver"] == "good"
        interrupted(receiver)
    ask(own.url, "SELECT pg_drop_replication_slot('safepoint_shop')")
    said = own.shell.safepoint("status", "--json", ends=3)
    [found] = [item for item in said.json["databases"]["shop"] if item["check"] == "receiver"]
    assert (found["state"], found["fact"].split(":")[0]) == ("bad", "no replication slot safepoint_shop")


def test_another_cluster(project: Project, own: Project) -> None:
    """A URL that leads to another cluster than the backups are of is bad, with both identifiers."""
    shell = project.shell.knowing(DATABASE_URL=own.url.reveal())
    said = shell.safepoint("status", "--json", ends=3)
    assert states(said)["server"] == "bad"
    fact = said.json["databases"]["shop"][0]["fact"]
    assert all(f"cluster {system_identifier(place.cluster)}" in fact for place in (project, own))

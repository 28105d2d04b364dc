"""Every verb, as typed: data on stdout, talk on stderr, --json one value, --dry-run without effect."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from migrating import ask
from projects import FIRST, SECOND, Project, back_up, stream_once
from safepoint.postgres.binaries import find_binaries
from safepoint.postgres.cluster import adopt_cluster, is_running, remove_cluster
from safepoint.postgres.connect import connect
from safepoint.postgres.url import DatabaseUrl
from safepoint.recovery.directory import MARKER
from safepoint.steps.execute import Silence
from safepoint.workflows.held import VERIFICATIONS
from safepoint.workflows.restore import Wish, prepare, source_at
from shell import fingerprint, interrupted, wait_for_line

pytestmark = pytest.mark.pg("17")


@contextmanager
def gone_afterwards(copy: Path) -> Generator[Path]:
    """A place for a restored copy."""
    try:
        yield copy
    finally:
        if (copy / "PG_VERSION").exists():
            remove_cluster(adopt_cluster(copy, find_binaries(17)))


def orders_in(url: DatabaseUrl) -> int:
    with connect(url) as connection:
        row = connection.execute('SELECT count(*) FROM "Order"').fetchone()
    assert row is not None
    return int(row[0])


def test_init_writes_what_status_reads(fresh: Project) -> None:
    """`init --json` names the file and every ability; without a repository `status` exits 3: nothing is backed up."""
    said = fresh.shell.safepoint("init", "--json")
    assert said.json["path"] == str(fresh.shell.folder / "safepoint.toml")
    assert said.json["migrations"] == str(fresh.shell.folder / "prisma/migrations")
    assert {ability["answer"] for ability in said.json["abilities"]} == {"yes"}
    status = fresh.shell.safepoint("status", "--json", ends=3)
    found = {finding["check"]: finding["state"] for finding in status.json["databases"]["shop"]}
    assert found == {"server": "good", "backup": "unknown", "migrations": "good"}


def test_init_dry_run_changes_nothing(fresh: Project) -> None:
    """`init --dry-run` shows the plan, whose JSON is the data, and neither file nor repository is made."""
    before = fingerprint(fresh.shell.folder)
    said = fresh.shell.safepoint("init", "--repository", "repository", "--key", "none", "--dry-run", "--json")
    assert [step["name"] for step in said.json["steps"]] == ["create-repository", "write-strategy"]
    assert fingerprint(fresh.shell.folder) == before
    assert not (fresh.shell.folder / "repository").exists()


def test_status_is_good_only_when_everything_is_proven(project: Project) -> None:
    """`status` of a database that answers, is backed up, verified, being streamed and migrated exits 0."""
    with project.shell.begun("wal", "stream", "--ship-every", "0.2") as receiver:
        wait_for_line(receiver, "timeline 1: durable up to")
        said = project.shell.safepoint("status")
        found = project.shell.safepoint("status", "shop", "--json").json["databases"]["shop"]
        interrupted(receiver)
    lines = [line.split()[0] for line in said.out.splitlines()[1:8]]
    assert lines == ["good"] * 7
    assert said.err == ""
    checks = ["server", "repository", "backup", "proof", "receiver", "wal", "migrations"]
    assert [finding["check"] for finding in found] == checks


def test_backup_and_backups(own: Project) -> None:
    """`backup` says what it made on stdout and its plan on stderr; `backups` lists it, with the server down, too."""
    taken = own.shell.safepoint("backup", "--json")
    assert taken.json["proof"] == "stored"
    assert "✓ commit the backup" in taken.err
    listed = own.shell.safepoint("backups", "--json").json
    assert [backup["backup"] for backup in listed["backups"]] == [taken.json["backup"]]
    [restorable] = listed["restorable"]
    assert restorable == {
        "backup": taken.json["backup"],
        "timeline": 1,
        "start_lsn": taken.json["stop_lsn"],
        "end_lsn": restorable["end_lsn"],
        "earliest": taken.json["stopped_at"],
        "latest": None,
    }
    assert listed["gaps"] == []
    text = own.shell.knowing(DATABASE_URL=None, COLUMNS="40").safepoint("backups")
    assert text.out.splitlines()[1].split()[0] == taken.json["backup"]
    assert text.out.splitlines()[1].split()[-1] == "stored"
    assert text.out.splitlines()[-1].endswith("no instant after the backup is proven")
    assert text.err == ""


def test_backup_dry_run_changes_nothing(project: Project) -> None:
    """`backup --dry-run` shows the four steps; the repository holds what it held."""
    before = fingerprint(project.repository)
    said = project.shell.safepoint("backup", "--dry-run", "--json")
    assert [step["name"] for step in said.json["steps"]] == ["check", "copy", "wal", "commit"]
    assert fingerprint(project.repository) == before


def test_wal_stream_ends_in_order(own: Project) -> None:
    """`wal stream` interrupted ships what came, says how far it is durable, exits 0; its slot stays on the server."""
    back_up(own)
    with own.shell.begun("wal", "stream", "--ship-every", "0.2", "--json") as receiver:
        wait_for_line(receiver, "timeline 1: durable up to")
        ask(own.url, 'INSERT INTO "Order" VALUES (1000)')
        position = ask(own.url, "SELECT pg_current_wal_flush_lsn()")[0][0]
        said = interrupted(receiver)
    assert said.code == 0
    assert said.json["lag_bytes"] == 0
    assert ask(own.url, "SELECT %s::pg_lsn <= %s::pg_lsn", position, said.json["durable"]) == [(True,)]
    assert ask(own.url, "SELECT active FROM pg_replication_slots") == [(False,)]


def test_verify_raises_the_proof(own: Project) -> None:
    """`verify --dry-run` reads nothing; `verify` reads back, records, and `backups` then shows `verified`."""
    back_up(own)
    own.shell.safepoint("verify", "--dry-run")
    assert own.shell.safepoint("backups", "--json").json["backups"][0]["proof"] == "stored"
    said = own.shell.safepoint("verify", "--json")
    assert (said.json["proof"], said.json["evidence"]) == ("verified", "recorded")
    assert own.shell.safepoint("backups", "--json").json["backups"][0]["proof"] == "verified"


def test_restore_without_a_strategy_file(project: Project, server_root: Path) -> None:
    """With the repository's URL alone `restore` brings a queried copy back, running; --dry-run makes nothing."""
    elsewhere = server_root / "elsewhere"
    elsewhere.mkdir()
    shell = type(project.shell)(folder=elsewhere, environment=project.shell.environment)
    with gone_afterwards(server_root / "copy") as copy:
        place = ["--repository", f"file:{project.repository}", "--key", "none", "--into", str(copy)]
        plan = shell.safepoint("restore", *place, "--to", "latest", "--dry-run", "--json").json
        assert plan["verb"] == "restore"
        assert not copy.exists()
        said = shell.safepoint("restore", *place, "--to", "latest", "--query", 'SELECT count(*) FROM "Order"', "--json")
        assert said.json["evidence"] == "recorded"
        assert (Path(said.json["configuration"]) / "postgresql.conf").exists()
        assert orders_in(DatabaseUrl.parse(said.json["url"])) == 100
        assert project.shell.safepoint("backups", "--json").json["backups"][0]["proof"] == "queried"


def test_restore_killed_before_its_report_is_reported_by_the_same_command(
    project: Project, server_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy was handed over and nobody was told: the same command tells, and records the proof."""
    monkeypatch.setenv("SAFEPOINT_STATE", project.shell.environment["SAFEPOINT_STATE"])
    with gone_afterwards(server_root / "copy") as copy:
        url = f"file:{project.repository}"
        prepare(source_at(url, "none", None), Wish(), copy).execute(Silence())
        assert not (copy / MARKER).exists()

        said = project.shell.safepoint(
            "restore", "--repository", url, "--key", "none", "--to", "latest", "--into", str(copy), "--json"
        )

        assert said.json["evidence"] == "recorded"
        assert orders_in(DatabaseUrl.parse(said.json["url"])) == 100


def test_restore_of_a_name_that_the_repository_does_not_hold(project: Project, server_root: Path) -> None:
    """`restore NAME --repository URL` with a misspelt name says which databases there are."""
    place = ["--repository", f"file:{project.repository}", "--key", "none", "--into", str(server_root / "copy")]
    said = project.shell.safepoint("restore", "shpo", *place, "--to", "latest", "--json", ends=11)
    error = json.loads(said.err.splitlines()[-1])
    assert error["error"] == "BK003"
    assert "found no database shpo" in error["message"]
    assert "expected one of: shop" in error["message"]
    assert "`safepoint restore shop --repository" in error["hints"][0]


def test_restore_passes_over_what_was_found_damaged(own: Project) -> None:
    """The plan names it and takes the older backup; `--backup ID` takes it all the same, with a warning."""
    back_up(own)
    stream_once(own)
    back_up(own)
    stream_once(own)
    old, new = (backup["backup"] for backup in own.shell.safepoint("backups", "--json").json["backups"])
    repository = source_at(f"file:{own.repository}", "none", None).repository
    repository.append_record(VERIFICATIONS, {"backup": new, "level": "stored", "is_damaged": True})
    place = ["--to", "latest", "--into", str(own.root / "copy"), "--dry-run", "--json"]

    plan = own.shell.safepoint("restore", *place).json
    assert ["passed over", f"{new}: its last verification, or check, found damage"] in plan["facts"]
    assert dict(plan["facts"])["backup"].startswith(old)
    insisted = own.shell.safepoint("restore", *place, "--backup", new).json
    assert dict(insisted["facts"])["backup"].startswith(new)
    assert new in insisted["warnings"][0]
    repository.append_record(VERIFICATIONS, {"backup": old, "level": "stored", "is_damaged": True})
    refused = own.shell.safepoint("restore", *place, ends=10)
    assert "found damaged" in refused.err


def test_a_manifest_that_does_not_open_hides_no_other(own: Project) -> None:
    """A damaged manifest is named; what can be restored still can, and status is not good."""
    back_up(own)
    back_up(own)
    [cluster] = (own.repository / "backups").iterdir()
    damaged = min(cluster.iterdir(), key=lambda manifest: manifest.stat().st_mtime_ns)
    damaged.chmod(0o600)
    damaged.write_bytes(b"junk")

    said = own.shell.safepoint("backups", "--json", ends=3).json
    plan = own.shell.safepoint("restore", "--to", "latest", "--into", str(own.root / "copy"), "--dry-run", "--json")
    state = own.shell.safepoint("status", "--json", ends=3).json

    name = f"backups/{cluster.name}/{damaged.name}"
    assert (len(said["backups"]), said["unreadable"]) == (1, [name])
    assert f"{name} does not open: what it lists is passed over" in plan.json["warnings"]
    assert f"manifest {name} does not open" in [finding["fact"] for finding in state["databases"]["shop"]]


def test_restore_to_an_instant_in_text(own: Project) -> None:
    """`restore --to INSTANT` says in text what was replayed, how it was proven and how to stop the copy."""
    back_up(own)
    stream_once(own)
    instant = str(ask(own.url, "SELECT clock_timestamp()")[0][0])
    ask(own.url, 'DELETE FROM "Order"')
    stream_once(own)
    with gone_afterwards(own.root / "copy") as copy:
        said = own.shell.safepoint("restore", "--to", instant, "--into", str(copy))
        facts = dict(line.split("  ", 1) for line in said.out.splitlines())
        assert {"restored", "replayed", "pg_verifybackup", "accepts writes", "evidence", "connect"} <= set(facts)
        assert facts["configuration"].strip() == f"production's is in {copy}/production-config"
        assert facts["the copy"].strip() == "listens on a socket only and archives nowhere"
        assert facts["pg_amcheck of shop"].strip() == "pass: no corruption found"
        assert "hint" not in facts
        cluster = adopt_cluster(copy, find_binaries(17))
        assert is_running(cluster)
        assert orders_in(cluster.url("shop")) == 100


def test_migrate_status_and_deploy(own: Project) -> None:
    """Pending is told with exit 0, --dry-run applies nothing, `deploy` applies; a second one finds nothing pending."""
    own.migration(SECOND, 'ALTER TABLE "Order" ADD COLUMN total int;\n')
    states = own.shell.safepoint("migrate", "status", "--json").json
    assert {item["name"]: item["state"] for item in states["migrations"]} == {FIRST: "applied", SECOND: "pending"}
    own.shell.safepoint("migrate", "deploy", "--dry-run", "--without-backup", "a test")
    assert "1 pending" in own.shell.safepoint("migrate", "status").out
    done = own.shell.safepoint("migrate", "deploy", "--without-backup", "a test", "--json")
    assert done.json["applied"] == [SECOND]
    assert ask(own.url, 'SELECT total FROM "Order" LIMIT 1') == [(None,)]
    again = own.shell.safepoint("migrate", "deploy", "--without-backup", "a test")
    assert "nothing was pending" in again.out


def test_error_as_json(own: Project) -> None:
    """With --json an error is one JSON line, the last on stderr, and stdout stays empty."""
    said = own.shell.safepoint("verify", "--json", ends=11)
    error = json.loads(said.err.splitlines()[-1])
    assert said.out == ""
    assert (error["error"], error["family"], error["exit_code"]) == ("BK003", "misconfigured", 11)
    assert error["hints"]

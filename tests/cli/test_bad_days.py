"""Bad days, as typed: one clear error with cause and cure, the right exit code, nothing lost."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

import servers
from migrating import ask
from projects import FIRST, SECOND, Project, back_up, verify
from repository_samples import commit_manifest
from safepoint.errors import ExitCode
from safepoint.model.version import PgVersion
from safepoint.postgres.cluster import stop
from safepoint.repository import open_repository
from safepoint.stores import open_store
from shell import Said, fingerprint, interrupted, wait_for_line

pytestmark = pytest.mark.pg("17")

NOTHING = "nothing was changed"


def message(said: Said) -> tuple[str, str]:
    """The fact, in one lower-case line with both values, and what was changed."""
    lines = said.err.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("error "))
    fact = lines[at].split(": ", 1)[1]
    assert fact[0].islower()
    assert "expected" in fact
    assert any(line.startswith("hint: ") for line in lines[at:])
    assert said.out == ""
    return fact, lines[at + 1]


@contextmanager
def mounted(place: Path, *options: str) -> Generator[None]:
    """Something is mounted at the place inside the context; skips where this user may not."""
    place.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *options, str(place)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"cannot mount ({done.stderr.strip()}); enable by running the tests as root outside a container")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_no_binaries_of_that_major(project: Project, server_root: Path) -> None:
    """A backup of a major whose programs are not here is not restored here: PG001 names the major, nothing is made."""
    repository = open_repository(open_store(f"file:{shutil.copytree(project.repository, server_root / 'copy')}"), None)
    [backup] = repository.backups()
    commit_manifest(repository, replace(backup, id="of-another-major", version=PgVersion(190004)))
    place = f"file:{server_root / 'copy'}"
    said = project.shell.safepoint(
        "restore",
        "--repository",
        place,
        "--key",
        "none",
        "--to",
        "latest",
        "--backup",
        "of-another-major",
        "--into",
        str(server_root / "restored"),
        ends=ExitCode.MISCONFIGURED,
    )
    fact, changed = message(said)
    assert said.error == "PG001"
    assert "19" in fact
    assert changed == NOTHING
    assert not (server_root / "restored").exists()


def test_data_directory_in_use(project: Project) -> None:
    """`restore` into the directory of a running server is refused, and the server goes on."""
    said = project.shell.safepoint(
        "restore", "--to", "latest", "--into", str(project.cluster.data), ends=ExitCode.REFUSED
    )
    assert said.error == "RC002"
    assert message(said) == (
        f"found a running server on {project.cluster.data}, expected an absent or empty directory",
        NOTHING,
    )
    assert ask(project.url, 'SELECT count(*) FROM "Order"') == [(100,)]


def test_directory_not_empty(project: Project, server_root: Path) -> None:
    """`restore` into a folder with somebody's files is refused, and they stay."""
    (server_root / "letters").write_text("dear")
    said = project.shell.safepoint("restore", "--to", "latest", "--into", str(server_root), ends=ExitCode.REFUSED)
    assert said.error == "RC002"
    assert message(said) == (f"found files in {server_root}, expected an absent or empty directory", NOTHING)
    assert (server_root / "letters").read_text() == "dear"


def test_directory_of_another_cluster(project: Project, server_root: Path) -> None:
    """`restore` into what another cluster's restore left half done is refused."""
    (server_root / "safepoint.restoring").write_text('{"plan": "x", "system_identifier": "4711"}')
    said = project.shell.safepoint("restore", "--to", "latest", "--into", str(server_root), ends=ExitCode.REFUSED)
    fact, changed = message(said)
    assert (said.error, changed) == ("RC002", NOTHING)
    assert "half restored from cluster 4711" in fact


def test_another_cluster_under_the_name(project: Project, server_root: Path, major: int) -> None:
    """A URL that leads to another cluster than the backups' is refused by `backup` and by `wal stream`."""
    with servers.serving(server_root, major) as other:
        shell = project.shell.knowing(DATABASE_URL=other.url().reveal())
        before = fingerprint(project.repository)
        for command, code in ((["backup"], "BK002"), (["wal", "stream"], "WL001")):
            said = shell.safepoint(*command, ends=ExitCode.REFUSED)
            assert said.error == code
            assert "of which the repository holds backups under the name shop" in message(said)[0]
        assert fingerprint(project.repository) == before
        assert ask(other.url(), "SELECT slot_name FROM pg_replication_slots") == []


@pytest.mark.parametrize("command", [["backup"], ["wal", "stream"], ["migrate", "status"], ["migrate", "deploy"]])
def test_unreachable_server(project: Project, command: list[str]) -> None:
    """A server that does not answer ends with 12, which says that trying again may help, and names where it looked."""
    shell = project.shell.knowing(DATABASE_URL="postgresql://nobody@127.0.0.1:1/shop")
    said = shell.safepoint(*command, ends=ExitCode.UNREACHABLE)
    fact, changed = message(said)
    assert (said.error, changed) == ("PG004", NOTHING)
    assert "127.0.0.1" in fact


def test_unreachable_server_at_init(fresh: Project) -> None:
    """`init` writes nothing when the server does not answer."""
    said = fresh.shell.safepoint("init", "postgresql://nobody@127.0.0.1:1/shop", ends=ExitCode.UNREACHABLE)
    assert said.error == "PG004"
    assert not (fresh.shell.folder / "safepoint.toml").exists()


def test_unset_variable(project: Project) -> None:
    """A variable that is not set is a misconfiguration, and is named."""
    said = project.shell.knowing(DATABASE_URL=None).safepoint("backup", ends=ExitCode.MISCONFIGURED)
    assert said.error == "CF003"
    assert "DATABASE_URL" in message(said)[0]


def test_repository_that_cannot_be_written(own: Project) -> None:
    """`backup` into a read-only folder ends with 12; what it holds stays readable: `backups` and `verify` work."""
    back_up(own)
    before = fingerprint(own.repository)
    with mounted(own.repository, "--bind", str(own.repository)):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(own.repository)], check=True)
        said = own.shell.safepoint("backup", ends=ExitCode.UNREACHABLE)
        assert said.error == "ST001"
        assert "read-only" in message(said)[0].lower()
        assert "verified" in own.shell.safepoint("verify").out
    assert fingerprint(own.repository) == before


def test_disk_full_while_backing_up(fresh: Project) -> None:
    """A store that fills up ends a backup with 12: it does not exist, its bytes are gone, the one before is whole."""
    with mounted(fresh.repository, "-t", "tmpfs", "-o", "size=12m", "tmpfs"):
        shell = fresh.shell
        shell.safepoint("init", "--repository", f"file:{fresh.repository}", "--key", "none")
        shell.safepoint("backup")
        before = fingerprint(fresh.repository / "packs")
        ask(
            fresh.url,
            "CREATE TABLE noise AS SELECT string_agg(md5(random()::text || n), '') FROM generate_series(1, 1000000) n "
            "GROUP BY n / 100",
        )
        said = shell.safepoint("backup", ends=ExitCode.UNREACHABLE)
        assert said.error == "ST002"
        fact, changed = message(said)
        assert str(fresh.repository) in fact
        assert changed == "nothing was stored"
        assert fingerprint(fresh.repository / "packs") == before
        assert len(shell.safepoint("backups", "--json").json["backups"]) == 1
        shell.safepoint("verify")


def test_edited_migration(own: Project) -> None:
    """A migration edited after it was applied: `migrate status` exits 3, `deploy` refuses, naming the file."""
    own.migration(FIRST, "CREATE TABLE other (id int);\n")
    own.migration(SECOND, "CREATE TABLE second (id int);\n")
    assert "edited" in own.shell.safepoint("migrate", "status", ends=ExitCode.ATTENTION).out
    said = own.shell.safepoint("migrate", "deploy", "--without-backup", "a test", ends=ExitCode.REFUSED)
    fact, changed = message(said)
    assert (said.error, changed) == ("MG002", NOTHING)
    assert FIRST in fact
    assert ask(own.url, "SELECT to_regclass('second')") == [(None,)]


def test_failed_row(own: Project) -> None:
    """A failed row of Prisma's blocks `deploy` until somebody has decided, and `status` says so."""
    ask(
        own.url,
        "INSERT INTO _prisma_migrations (id, checksum, migration_name, logs, started_at) "
        "VALUES (gen_random_uuid(), 'x', 'half_done', 'ERROR', now())",
    )
    own.migration(SECOND, "CREATE TABLE second (id int);\n")
    said = own.shell.safepoint("migrate", "deploy", "--without-backup", "a test", ends=ExitCode.REFUSED)
    fact, changed = message(said)
    assert (said.error, changed) == ("MG001", NOTHING)
    assert "half_done" in fact
    own.shell.safepoint("migrate", "status", ends=ExitCode.ATTENTION)
    assert "half_done failed" in own.shell.safepoint("status", ends=ExitCode.ATTENTION).out


def test_migration_that_fails(own: Project) -> None:
    """A statement the server refuses ends with 10, says what was and was not applied, and leaves the rest pending."""
    own.migration(SECOND, "CREATE TABLE second (id int);\n")
    own.migration("20260103000000_third", "CREATE TABLE third (id nonsense);\n")
    said = own.shell.safepoint("migrate", "deploy", "--without-backup", "a test", ends=ExitCode.REFUSED)
    fact, changed = message(said)
    assert said.error == "MG004"
    assert "nonsense" in fact
    assert changed != NOTHING
    assert ask(own.url, "SELECT to_regclass('second')") == [("second",)]
    assert ask(own.url, "SELECT to_regclass('third')") == [(None,)]


def test_server_that_goes_away_during_a_stream(own: Project) -> None:
    """A receiver whose server stops says so, keeps trying, and ends in order when told to."""
    back_up(own)
    with own.shell.begun("wal", "stream", "--ship-every", "0.2") as receiver:
        wait_for_line(receiver, "timeline")
        stop(own.cluster)
        wait_for_line(receiver, "error ")
        assert interrupted(receiver).code == ExitCode.OK


@pytest.mark.parametrize(
    "command", [["backup"], ["backups"], ["verify"], ["wal", "stream"], ["restore", "--to", "latest", "--into", "x"]]
)
def test_commands_that_need_a_repository_say_so(project: Project, tmp_path: Path, command: list[str]) -> None:
    """Without a repository whatever needs one ends with 11 and says what to add."""
    shell = replace(project.shell, folder=tmp_path)
    shell.write("safepoint.toml", '[database.shop]\nurl = "env:DATABASE_URL"\n')
    said = shell.safepoint(*command, ends=ExitCode.MISCONFIGURED)
    assert said.error == "CF006"
    assert "[repository.main]" in said.err


def test_damaged_repository(own: Project) -> None:
    """A pack with a wrong byte: `verify` exits 13 and records it; `backups` shows damaged, `status` shows bad."""
    back_up(own)
    verify(own)
    pack = max((own.repository / "packs").rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
    content = bytearray(pack.read_bytes())
    content[len(content) // 3] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(content)
    said = own.shell.safepoint("verify", ends=ExitCode.DAMAGED)
    assert "recorded" in message(said)[1]
    assert own.shell.safepoint("backups", "--json").json["backups"][0]["proof"] == "damaged"
    status = own.shell.safepoint("status", ends=ExitCode.ATTENTION)
    assert "  bad     backup      no backup but damaged ones" in status.out
    own.migration(SECOND, "CREATE TABLE second (id int);\n")
    said = own.shell.safepoint("migrate", "deploy", ends=ExitCode.REFUSED)
    assert said.error == "MG007"
    assert message(said)[0] == "found no backup but 1 damaged, expected one of this cluster"


def test_wrong_key(fresh: Project) -> None:
    """A key that does not open the repository ends with 11, and never appears in what is said."""
    right, wrong = fresh.shell.knowing(SAFEPOINT_KEY="the right words"), "quite other words"
    right.safepoint("init", "--repository", "repository")
    said = fresh.shell.knowing(SAFEPOINT_KEY=wrong).safepoint("backups", ends=ExitCode.MISCONFIGURED)
    assert said.error == "RP003"
    assert wrong not in said.err

"""`init`: finds out what can be found out, refuses what would be wrong, finishes what was killed."""

from __future__ import annotations

import signal
import sys
import tomllib
from typing import Any

import pytest

from migrating import ask
from projects import Project
from safepoint.errors import ExitCode
from shell import ended, fingerprint

pytestmark = pytest.mark.pg("17")


def strategy_of(project: Project) -> dict[str, Any]:
    return tomllib.loads((project.shell.folder / "safepoint.toml").read_text())


def test_prisma_project_below(fresh: Project) -> None:
    """Typed above a Prisma project, `init` finds its migrations and the variable that its schema names."""
    folder = fresh.shell.folder
    (folder / "apps").mkdir()
    (folder / "prisma").rename(folder / "apps/prisma")
    fresh.shell.write(
        "apps/prisma/schema.prisma", 'datasource db {\n  provider = "postgresql"\n  url = env("SHOP")\n}\n'
    )
    shell = fresh.shell.knowing(DATABASE_URL=None, SHOP=f"{fresh.url.reveal()}&schema=public&connection_limit=5")
    shell.safepoint("init")
    database = strategy_of(fresh)["database"]["shop"]
    assert database["url"] == "env:SHOP"
    assert database["data"] == str(fresh.cluster.data)
    assert database["migrations"]["prisma"] == {"folder": "apps/prisma/migrations", "schema": "public"}
    assert "1 pending" in shell.safepoint("migrate", "status").out


def test_role_without_replication(fresh: Project) -> None:
    """A role that may not replicate closes backup and stream, with the cure; the file is written, migrations work."""
    ask(fresh.cluster.url(), "CREATE ROLE app LOGIN")
    ask(fresh.cluster.url(), "ALTER DATABASE shop OWNER TO app")
    ask(fresh.url, "ALTER SCHEMA public OWNER TO app")
    shell = fresh.shell.knowing(DATABASE_URL=fresh.url.with_parameters(user="app").reveal())
    abilities = {item["feature"]: item for item in shell.safepoint("init", "--json").json["abilities"]}
    assert abilities["backup"]["answer"] == abilities["wal stream"]["answer"] == "no"
    assert abilities["backup"]["cure"] == 'ALTER ROLE "app" REPLICATION'
    assert abilities["migrate deploy"]["answer"] == "yes"
    shell.safepoint("migrate", "deploy", "--without-backup", "a test")
    assert "nothing is pending" in shell.safepoint("migrate", "status").out


def test_url_with_a_password(fresh: Project) -> None:
    """A literal password is refused, unless a variable holds the same URL: then the file names the variable."""
    url = fresh.url.with_parameters(password="hunter2").reveal()
    said = fresh.shell.safepoint("init", url, ends=ExitCode.MISCONFIGURED)
    assert said.error == "CF003"
    assert "hunter2" not in said.err
    fresh.shell.knowing(DATABASE_URL=url).safepoint("init", url)
    assert strategy_of(fresh)["database"]["shop"]["url"] == "env:DATABASE_URL"
    assert "hunter2" not in (fresh.shell.folder / "safepoint.toml").read_text()


def test_url_without_a_password(fresh: Project) -> None:
    """A URL that is no secret may stand in the file, under the name that was asked for."""
    fresh.shell.knowing(DATABASE_URL=None).safepoint("init", fresh.url.reveal(), "--name", "other")
    assert strategy_of(fresh)["database"]["other"]["url"] == fresh.url.reveal()


def test_existing_file(fresh: Project) -> None:
    """A strategy file that is there stays as it is, whether or not the server answers."""
    fresh.shell.write("safepoint.toml", "# mine\n")
    said = fresh.shell.knowing(DATABASE_URL=None).safepoint("init", ends=ExitCode.REFUSED)
    assert said.error == "CF005"
    assert (fresh.shell.folder / "safepoint.toml").read_text() == "# mine\n"


def test_killed_between_repository_and_file(fresh: Project) -> None:
    """Killed when the repository is made and the file is not, the same command opens the one and writes the other."""
    command = ["init", "--repository", "repository", "--key", "none"]
    code = (
        "import os, signal, sys\nfrom safepoint.workflows import initialise\n"
        "def die(step, context): os.kill(os.getpid(), signal.SIGKILL)\n"
        "initialise._write_strategy = die\nfrom safepoint.cli import main; main()"
    )
    with fresh.shell.begun(*command, program=(sys.executable, "-c", code)) as process:
        assert ended(process).code == -signal.SIGKILL
    before = fingerprint(fresh.shell.folder / "repository")
    assert before
    fresh.shell.safepoint(*command)
    assert fingerprint(fresh.shell.folder / "repository") == before
    assert strategy_of(fresh)["repository"]["main"]["url"] == f"file:{fresh.shell.folder}/repository"


def test_key_that_is_not_set(fresh: Project) -> None:
    """A repository whose key cannot be had is not made."""
    said = fresh.shell.safepoint("init", "--repository", "repository", ends=ExitCode.MISCONFIGURED)
    assert said.error == "CF003"
    assert "SAFEPOINT_KEY" in said.err
    assert not (fresh.shell.folder / "repository").exists()
    assert not (fresh.shell.folder / "safepoint.toml").exists()

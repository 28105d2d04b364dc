"""`status`: what could not be checked is unknown, never good; it never fails because something else did."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from projects import Project, back_up
from shell import Said

pytestmark = pytest.mark.pg("17")


def states(said: Said, database: str = "shop") -> dict[str, str]:
    return {finding["check"]: finding["state"] for finding in said.json["databases"][database]}


def test_without_server(project: Project) -> None:
    """A server that does not answer is bad, its migrations are unknown; backup and proof are known all the same."""
    shell = project.shell.knowing(DATABASE_URL="postgresql://nobody@127.0.0.1:1/shop")
    said = shell.safepoint("status", "--json", ends=3)
    assert states(said) == {
        "server": "bad",
        "backup": "good",
        "proof": "good",
        "wal": "good",
        "migrations": "unknown",
    }


def test_without_repository(project: Project) -> None:
    """A repository that cannot be opened makes backups unknown, with the reason."""
    text = (project.shell.folder / "safepoint.toml").read_text()
    path = project.shell.write("elsewhere.toml", text.replace("/repository", "/nowhere"))
    said = project.shell.safepoint("status", "--config", str(path), "--json", ends=3)
    path.unlink()
    assert states(said) == {"server": "good", "backup": "unknown", "migrations": "good"}


def test_damaged_manifest(own: Project) -> None:
    """A manifest that does not open makes backups unknown and ends `backups` with 13: no list with a hole in it."""
    back_up(own)
    [manifest] = [path for path in (own.repository / "backups").rglob("*") if path.is_file()]
    manifest.chmod(0o600)
    manifest.write_bytes(manifest.read_bytes()[:-1] + b"x")
    said = own.shell.safepoint("status", "--json", ends=3)
    assert states(said) == {"server": "good", "backup": "unknown", "migrations": "good"}
    assert own.shell.safepoint("backups", ends=13).error == "RP005"


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
    assert states(said) == {"server": "good", "backup": "good", "proof": "good", "wal": "good"}
    assert states(said, "staging") == {"server": "unknown", "backup": "bad", "migrations": "unknown"}
    assert states(said, "cloud") == {"server": "unknown", "backup": "unknown"}
    assert "staging" in shell.safepoint("status", ends=3).out
    assert shell.safepoint("status", "shop").code == 0


def test_stored_is_not_proven(own: Project) -> None:
    """A backup that nothing has read back is unknown, and so is WAL behind it that carries no mark."""
    back_up(own)
    said = own.shell.safepoint("status", "--json", ends=3)
    assert states(said) == {
        "server": "good",
        "backup": "good",
        "proof": "unknown",
        "wal": "unknown",
        "migrations": "good",
    }

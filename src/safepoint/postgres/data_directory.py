"""Whether a directory is a data directory, and of which major."""

from __future__ import annotations

from pathlib import Path

from safepoint import errors
from safepoint.postgres.binaries import Binaries


def require_data_directory(data: Path, binaries: Binaries) -> None:
    """Raises PG002 unless `data` is a data directory of the binaries' major, by its own PG_VERSION."""
    try:
        found = (data / "PG_VERSION").read_text().strip()
    except OSError as error:
        raise errors.PG002.error(
            f"found no PG_VERSION in {data} ({error.strerror}), expected a data directory of PostgreSQL",
            hints=[errors.ask("is it the directory above, or that of the configuration?")],
        ) from error
    if found != str(binaries.version.major):
        raise errors.PG002.error(
            f"found a data directory of PostgreSQL {found} in {data}, expected {binaries.version.major}, "
            f"the major of {binaries.directory}",
            hints=[errors.run(f"use the programs of its own major: `apt-get install postgresql-{found}`")],
        )

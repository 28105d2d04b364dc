"""A project as users have it: a strategy file with one database and one repository in a folder, and the command."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.commands import measured
from bench.measure import Outcome
from safepoint.postgres.url import DatabaseUrl
from safepoint.repository.sealing.printed_key import KEY_BYTES, KeyForm, key_to_text

DATABASE = "bench"
TIER = "daily"
KEY = key_to_text(bytes(range(KEY_BYTES)), KeyForm.GENERATED).reveal()
"""A generated key, as most have; it guards nothing."""

_STRATEGY = """\
[database.{database}]
url = "{url}"
data = "{data}"

[repository.main]
url = "file:{store}"
key = "env:BENCH_KEY"

[wal.{database}]
keep = "35d"

[tier.{tier}]
keep = "30d"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A folder that holds the strategy file, the repository and all that safepoint keeps on this machine."""

    folder: Path

    @property
    def store(self) -> Path:
        """Where the repository is."""
        return self.folder / "repository"

    @property
    def environment(self) -> Mapping[str, str]:
        """What the command needs to know."""
        return {
            "BENCH_KEY": KEY,
            "XDG_STATE_HOME": str(self.folder / "state"),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
        }

    def safepoint(self, *arguments: str | Path) -> Outcome:
        """One command, measured."""
        return measured([program("safepoint"), *arguments], environment=self.environment, folder=self.folder)

    def backup(self, *options: str) -> Outcome:
        """A backup of the database, measured; its facts are those of the line that `--json` prints."""
        taken = self.safepoint("backup", DATABASE, "--tier", TIER, "--json", *options)
        found: dict[str, Any] = json.loads(taken.facts["said"])
        return replace(taken, facts=found)


def new_project(folder: Path, url: DatabaseUrl, data: Path) -> Project:
    """A project with an empty repository; what was in the folder is gone."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    made = Project(folder=folder)
    (folder / "safepoint.toml").write_text(
        _STRATEGY.format(database=DATABASE, tier=TIER, url=url.reveal(), data=data, store=made.store)
    )
    made.safepoint("repository", "init", "main")
    return made


def program(name: str) -> Path:
    """The program of that name that was installed with safepoint."""
    return Path(sys.executable).with_name(name)

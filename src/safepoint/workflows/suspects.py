"""Which backups were found damaged when they were last looked at."""

from __future__ import annotations

from dataclasses import dataclass

from safepoint.errors import Damaged
from safepoint.repository import Repository
from safepoint.workflows import held


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspects:
    """The backups that their last verification, or a check, found damaged; `unknown` says why that cannot be known."""

    damaged: frozenset[str]
    unknown: str | None = None

    def warnings_for(self, backup_id: str) -> list[str]:
        """What whoever restores from it should know first."""
        if self.unknown is not None:
            return [f"which backups were found damaged is unknown: {self.unknown}"]
        if backup_id in self.damaged:
            return [
                f"the last verification, or check, of {backup_id} found damage; every file is checked as it is written"
            ]
        return []


def suspects_in(repository: Repository) -> Suspects:
    """Those of the repository, by its records; where they cannot be read, that is what is known."""
    try:
        proven = held.proofs_of(repository)
    except Damaged as error:
        # Evidence that cannot be read keeps nobody from what is left: files and WAL are checked anyway.
        return Suspects(damaged=frozenset(), unknown=error.message)
    return Suspects(damaged=frozenset(name for name, known in proven.items() if known.is_damaged))

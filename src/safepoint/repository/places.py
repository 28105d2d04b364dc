"""Where this machine keeps what it remembers of repositories: caches that can be thrown away, and state that cannot."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Folders of which each repository has one of its own below. None: nothing is kept from one process to the next."""

    cache: Path | None = None
    state: Path | None = None

    def cache_of(self, repository_id: str) -> Path | None:
        """For what can be made anew from the repository."""
        return None if self.cache is None else self.cache / repository_id

    def state_of(self, repository_id: str) -> Path | None:
        """For what only this machine knows: the key of its journal, and what it has seen."""
        return None if self.state is None else self.state / repository_id


NOWHERE = Places()

"""Where this machine keeps what it remembers of repositories: caches that can be thrown away, and state that cannot."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

STORE_PREFIX = "store-"
_STORE_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Folders of which each repository has one of its own below. None: nothing is kept from one process to the next."""

    cache: Path | None = None
    state: Path | None = None

    def cache_of(self, repository_id: str) -> Path | None:
        """For what can be made anew from the repository."""
        return None if self.cache is None else self.cache / repository_id

    def state_of(self, repository_id: str) -> Path | None:
        """For what only this machine knows of the repository, wherever it lies."""
        return None if self.state is None else self.state / repository_id

    def journal_of(self, repository_id: str, store: str) -> Path | None:
        """For the key of this machine's journal in the store at this place, and what was seen of the journal there.

        A copy of the whole store has the same id and goes on by itself: what holds in one does not in the other.
        """
        state = self.state_of(repository_id)
        return (
            None if state is None else state / f"{STORE_PREFIX}{blake3(store.encode()).hexdigest(length=_STORE_BYTES)}"
        )


NOWHERE = Places()

"""One row of `_prisma_migrations`, as a value. Names of fields are the table's columns."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """One attempt at one migration: names repeat, rows are never deleted.

    Finished when `finished_at` is set and `rolled_back_at` is not; failed when neither is set.
    """

    id: str
    checksum: str
    finished_at: datetime | None
    migration_name: str
    logs: str | None
    rolled_back_at: datetime | None
    started_at: datetime
    applied_steps_count: int

    @property
    def is_failed(self) -> bool:
        """Begun, and neither finished nor given up: it blocks every deployment (Prisma's P3009)."""
        return self.finished_at is None and self.rolled_back_at is None

    @property
    def is_applied(self) -> bool:
        """Finished, and still held to be so."""
        return self.finished_at is not None and self.rolled_back_at is None

"""PostgreSQL versions."""

from __future__ import annotations

from dataclasses import dataclass

SUPPORTED_MAJORS = (15, 16, 17, 18)


@dataclass(frozen=True, slots=True, order=True)
class PgVersion:
    """`server_version_num`, as in 170010 for 17.10."""

    number: int

    @property
    def major(self) -> int:
        """17 for 17.10."""
        return self.number // 10000

    def __str__(self) -> str:
        return f"{self.major}.{self.number % 10000}"

"""Every row of the table, by name, in the order of the table, which is also the order of measuring."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from bench import physical_rows, repository, wal_rows
from bench.results import Result
from bench.workbench import Workbench

Row = Callable[[Workbench], Result]

ROWS: Final[Mapping[str, Row]] = {**repository.ROWS, **physical_rows.ROWS, **wal_rows.ROWS}

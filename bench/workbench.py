"""Everything a run measures, each thing at most once and only when a row asks for it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from bench import data, growth
from bench.baselines import missing_tools, read_archive, write_archive
from bench.commands import MissingTool
from bench.data import DataSet, Stamp, below
from bench.map_size import MapDay, simulated_days
from bench.measure import Comparison, Outcome, compared, in_child, warm
from bench.physical import Physical
from bench.wal import WalWork

DAYS = 30
DAILY_CHANGES = 0.01
CHANGED = 0.01
SIMULATED_BYTES = 100 * 1000**3
EACH_FILE_EVERY = 5
COLD_READS = 6_000
CACHED_READS = 200_000


class Workbench:
    """A scratch directory with data, archives and repositories; `say` is told what is being done.

    `used` says which of the clusters were measured.
    """

    def __init__(self, scratch: Path, *, rounds: int, say: Callable[[str], None]) -> None:
        self.scratch = scratch
        self.rounds = rounds
        self._say = say
        self.used: dict[str, Stamp] = {}
        self._work = scratch / "work"

    @cached_property
    def shop(self) -> DataSet:
        """The shop, in the page cache."""
        return self._warm(data.shop(self.scratch, say=self._say))

    @cached_property
    def tables(self) -> DataSet:
        """The small tables, in the page cache."""
        return self._warm(data.small_tables(self.scratch, say=self._say))

    @cached_property
    def physical(self) -> Physical:
        """Backups of servers that run."""
        return Physical(self._warm, self.scratch, self._work, rounds=self.rounds, say=self._say)

    @cached_property
    def wal(self) -> WalWork:
        """WAL on its way in and out."""
        return WalWork(self.scratch, self._work, rounds=self.rounds, say=self._say)

    @cached_property
    def first(self) -> Comparison:
        """First backups of the shop, each into a new repository, and archives of the same files. Both stay."""
        self._require_tools()
        self._say("first backup | tar and zstd")
        return compared(
            self.rounds,
            ours=lambda: self._ingest(self.shop, self._repository, again=False),
            theirs=lambda: write_archive(self.shop.data, self._archive),
        )

    @cached_property
    def second(self) -> tuple[Outcome, ...]:
        """Backups of the same files read again, with nothing changed."""
        _ = self.first
        self._say("second backup, nothing changed")
        return tuple(self._ingest(self.shop, self._repository, again=True) for _ in range(self.rounds))

    @cached_property
    def named(self) -> tuple[Outcome, ...]:
        """Backups of which the changed pages, one in a hundred, are named."""
        return self._named(CHANGED, 1)

    @cached_property
    def named_twice_as_many(self) -> tuple[Outcome, ...]:
        """The same with twice as many pages."""
        return self._named(2 * CHANGED, 101)

    @cached_property
    def simulated(self) -> list[MapDay]:
        """Days of changes in a database of 100 GB."""
        self._say("maps of 100 GB, simulated")
        return simulated_days(database_bytes=SIMULATED_BYTES, fraction=CHANGED, days=DAYS)

    @cached_property
    def restored(self) -> Comparison:
        """The first backup written to files, and the archive unpacked."""
        _ = self.first
        self._say("read back to files | zstd and tar")
        return compared(
            self.rounds,
            ours=lambda: in_child(
                "restore", repository=self._repository, data=self.shop.data, directory=self._work / "restored"
            ),
            theirs=lambda: read_archive(self._archive, self._work / "unpacked"),
        )

    @cached_property
    def small(self) -> Outcome:
        """The first backup of the small tables, the median of the rounds."""
        self._say("10,000 small tables")
        return _middle([self._ingest(self.tables, self._tables_repository, again=False) for _ in range(self.rounds)])

    @cached_property
    def small_each_durable(self) -> Outcome:
        """Some of the small tables' files, each an object of its own, durable when put."""
        return self._each_file(durable=True)

    @cached_property
    def small_one_barrier(self) -> Outcome:
        """The same, made durable by one barrier at the end."""
        return self._each_file(durable=False)

    def reads(self, *, threads: int, cold: bool) -> tuple[Outcome, ...]:
        """Pages read at random from the first backup."""
        _ = self.first
        self._say(f"{'cold' if cold else 'cached'} pages at random, {threads} thread{'s' * (threads > 1)}")
        count = COLD_READS if cold else CACHED_READS
        return tuple(
            in_child("random-reads", repository=self._repository, threads=threads, cold=cold, count=count)
            for _ in range(self.rounds)
        )

    @cached_property
    def requests(self) -> tuple[Outcome, Outcome]:
        """What a restore asks of the store: after one backup, and after thirty days of backups."""
        folder = self._work / "days"
        self._say(f"{DAYS} daily backups")
        self._ingest(self.shop, folder, again=False)
        after_one = in_child("restore-requests", repository=folder, newest=True)
        in_child(
            "days",
            data=self.shop.data,
            repository=folder,
            cluster=self.shop.stamp.system_identifier,
            fraction=DAILY_CHANGES,
            first=1001,
            days=DAYS - 1,
        )
        after_all = in_child("restore-requests", repository=folder, newest=True)
        shutil.rmtree(folder)
        return after_one, after_all

    @cached_property
    def growth(self) -> dict[str, Any]:
        """What `bench.growth` found out about ten tebibytes."""
        self._say("growth: 40 million blobs")
        return growth.run(growth.TEN_TEBIBYTES, self._work)

    def clean(self) -> None:
        """What was written beside the data is gone."""
        shutil.rmtree(self._work, ignore_errors=True)

    @property
    def _repository(self) -> Path:
        return self._work / "repository"

    @property
    def _tables_repository(self) -> Path:
        return self._work / "tables"

    @property
    def _archive(self) -> Path:
        return self._work / "archive.tar.zst"

    def _ingest(self, dataset: DataSet, folder: Path, *, again: bool) -> Outcome:
        return in_child(
            "ingest",
            data=dataset.data,
            repository=folder,
            cluster=dataset.stamp.system_identifier,
            again=again,
        )

    def _named(self, fraction: float, first_seed: int) -> tuple[Outcome, ...]:
        _ = self.first
        self._say(f"{fraction:.0%} of pages changed, named")
        return tuple(
            in_child(
                "ingest-changed",
                data=self.shop.data,
                repository=self._repository,
                cluster=self.shop.stamp.system_identifier,
                fraction=fraction,
                seed=first_seed + number,
            )
            for number in range(self.rounds)
        )

    def _each_file(self, *, durable: bool) -> Outcome:
        folder = self._work / "each-file"
        shutil.rmtree(folder, ignore_errors=True)
        self._say(f"one object per file, {'each durable' if durable else 'one barrier'}")
        outcome = in_child("each-file", data=self.tables.data, store=folder, every=EACH_FILE_EVERY, durable=durable)
        shutil.rmtree(folder)
        return outcome

    def _require_tools(self) -> None:
        missing = missing_tools()
        if missing:
            raise MissingTool(f"found no {' and no '.join(missing)}; install: apt-get install {' '.join(missing)}")
        self._work.mkdir(parents=True, exist_ok=True)

    def _warm(self, dataset: DataSet) -> DataSet:
        self._work.mkdir(parents=True, exist_ok=True)
        self.used[dataset.stamp.name] = dataset.stamp
        warm(dataset.data / path for path in below(dataset.data)[1])
        return dataset


def _middle(outcomes: list[Outcome]) -> Outcome:
    """The outcome with the median of the seconds."""
    return sorted(outcomes, key=lambda outcome: outcome.seconds)[len(outcomes) // 2]

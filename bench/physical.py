"""Measurements of backups of servers that run, and of restores, each made at most once and only when a row asks."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from statistics import median

from bench import clusters
from bench.data import DataSet, binaries_like
from bench.measure import Outcome, in_child, warm
from bench.peers import basebackup, pgbackrest
from bench.project import Project, new_project
from bench.results import median_of
from bench.servers import serving
from safepoint.postgres.cluster import Cluster

MOST_ROUNDS = 3
"""Of work that takes ten seconds a round; `--rounds 1` is obeyed."""

Rounds = Mapping[str, tuple[Outcome, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Incremental:
    """Backups after a share of pages was changed: the rounds, what they added, and the pages alone through zstd-1.

    `seconds` are the median of whole commands, from their start to their end.
    """

    per_cent: int
    seconds: float
    outcomes: tuple[Outcome, ...]
    pages: int
    added_bytes: float
    alone_bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """Full backups that incremental ones are compared with; `seconds`: the median of whole commands."""

    seconds: float
    outcomes: tuple[Outcome, ...]


class Physical:
    """What is measured on the clusters of `bench.clusters`; `work` is emptied by whoever owns it.

    `warmed` brings a cluster into the page cache.
    """

    def __init__(
        self,
        warmed: Callable[[DataSet], DataSet],
        scratch: Path,
        work: Path,
        *,
        rounds: int,
        say: Callable[[str], None],
    ) -> None:
        self._warmed = warmed
        self._scratch = scratch
        self._work = work
        self._rounds = min(rounds, MOST_ROUNDS)
        self._say = say

    @cached_property
    def production(self) -> DataSet:
        """The cluster that is backed up, in the page cache."""
        return self._warmed(clusters.production(self._scratch, self._say))

    @cached_property
    def full(self) -> Rounds:
        """Full backups of the running cluster by everybody in turn. The last ones of ours and pgBackRest's stay."""
        data = self.production.data
        self._say("full backup | pg_basebackup | pgBackRest")
        with serving(data, binaries_like()) as cluster:
            peers = self._peers(cluster)
            return _in_turn(self._rounds, {**peers, "safepoint": partial(self._full, cluster)})

    @cached_property
    def restored(self) -> Rounds:
        """The last full backups written to empty directories, then once more with nothing to do."""
        _ = self.full
        self._say("restore of files, then with nothing changed | pgBackRest")
        theirs, ours = self._work / "theirs", self._work / "ours"
        work: dict[str, Callable[[], Outcome]] = {
            "safepoint": lambda: self._restore(_emptied(ours), is_delta=False),
            "safepoint again": lambda: self._restore(_warmed(ours), is_delta=True),
        }
        if pgbackrest.version() is not None:
            peer = pgbackrest.PgBackRest(folder=self._work / "pgbackrest")
            work = {
                "pgBackRest": lambda: peer.restore(_emptied(theirs)),
                "pgBackRest again": lambda: peer.restore(_warmed(theirs), "--delta"),
                **work,
            }
        rounds = _in_turn(self._rounds, work)
        for directory in (theirs, ours):
            shutil.rmtree(directory, ignore_errors=True)
        return rounds

    @cached_property
    def relations(self) -> Mapping[str, Outcome]:
        """Full backups of as many rows in many relations and in few: the medians, with bytes and files as facts."""
        sets = {"many": clusters.many_relations, "few": clusters.few_relations}
        found = {name: self._warmed(make(self._scratch, self._say)) for name, make in sets.items()}
        self._say("20,000 relations | 100 relations")
        taken: dict[str, Outcome] = {}
        for name, dataset in found.items():
            with serving(dataset.data, binaries_like()) as cluster:
                middle = _middle([self._full(cluster, "relations") for _ in range(self._rounds)])
            taken[name] = replace(middle, facts={**middle.facts, "files": dataset.stamp.files})
        return taken

    @cached_property
    def whole(self) -> Whole:
        """Full backups of the cluster whose pages are changed afterwards; the last is what the first change is to."""
        return self._scattered[0]

    @cached_property
    def incrementals(self) -> tuple[Incremental, ...]:
        """Backups after changes of one share of the pages after another."""
        return self._scattered[1]

    @cached_property
    def _scattered(self) -> tuple[Whole, tuple[Incremental, ...]]:
        dataset = self._warmed(clusters.scattered(self._scratch, self._say))
        self._say("incremental backups of changed pages by WAL summaries")
        with serving(dataset.data, binaries_like(clusters.SUMMARIES_MAJOR), clusters.SUMMARIES) as cluster:
            taken = tuple(self._full(cluster, "scattered") for _ in range(self._rounds))
            project = Project(folder=self._work / "scattered")
            whole = Whole(seconds=median_of(taken), outcomes=taken)
            return whole, tuple(self._changed(cluster, project, share) for share in clusters.SHARES)

    def _changed(self, cluster: Cluster, project: Project, per_cent: int) -> Incremental:
        outcomes: list[Outcome] = []
        alone: list[int] = []
        pages = 0
        for number in range(self._rounds):
            blocks = clusters.change_pages(cluster.url(), per_cent, seed=100 * per_cent + number)
            pages = len(blocks)
            alone.append(clusters.compressed_alone(cluster, blocks))
            outcomes.append(project.backup("--source", "files"))
        return Incremental(
            per_cent=per_cent,
            seconds=median_of(outcomes),
            outcomes=tuple(outcomes),
            pages=pages,
            added_bytes=median(int(outcome.facts["added_bytes"]) for outcome in outcomes),
            alone_bytes=median(alone),
        )

    def _peers(self, cluster: Cluster) -> dict[str, Callable[[], Outcome]]:
        """The peers' full backups, those that are installed."""
        peers: dict[str, Callable[[], Outcome]] = {
            "pg_basebackup": lambda: basebackup.full(cluster, self._work / "basebackup")
        }
        if pgbackrest.version() is not None:
            plain = pgbackrest.for_cluster(self._work / "pgbackrest", cluster)
            sealed = pgbackrest.for_cluster(self._work / "pgbackrest-sealed", cluster, is_encrypted=True)
            peers |= {"pgBackRest": plain.full, "pgBackRest, encrypted": sealed.full}
        return peers

    def _full(self, cluster: Cluster, name: str = "safepoint") -> Outcome:
        """A backup into a new repository."""
        return new_project(self._work / name, cluster.url(), cluster.data).backup("--source", "files")

    def _restore(self, directory: Path, *, is_delta: bool) -> Outcome:
        """In a process of its own from its start to its end, as the peer's is."""
        store = Project(folder=self._work / "safepoint").store
        return in_child("restore-files", is_whole=True, repository=store, directory=directory, is_delta=is_delta)


def _in_turn(rounds: int, work: Mapping[str, Callable[[], Outcome]]) -> Rounds:
    """Everybody's work so many times, one after the other in each round."""
    found = [{name: do() for name, do in work.items()} for _ in range(rounds)]
    return {name: tuple(outcomes[name] for outcomes in found) for name in work}


def _emptied(directory: Path) -> Path:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory


def _warmed(directory: Path) -> Path:
    """In the page cache, as everything measured here is: we write past it, pgBackRest into it."""
    warm(path for path in directory.rglob("*") if path.is_file())
    return directory


def _middle(outcomes: list[Outcome]) -> Outcome:
    return sorted(outcomes, key=lambda outcome: outcome.seconds)[len(outcomes) // 2]

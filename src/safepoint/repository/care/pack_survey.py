"""The packs that are there and the indexes that list them, from metadata alone.

Costs a listing of packs/, a short read and a whole one of each current index, and one range read of each pack's end
(about 41 bytes a blob), several at a time. Memory grows with the number of packs; one index is held at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from safepoint import errors
from safepoint.repository.care.pack_probe import Probe, probe_pack
from safepoint.repository.care.progress import Progress, Report
from safepoint.repository.commit.leases import list_packs
from safepoint.repository.names import pack_of
from safepoint.repository.packs.index import Index, Survey, read_index, survey_indexes
from safepoint.repository.packs.pack import PackContents
from safepoint.repository.parallel import THREADS
from safepoint.repository.repository import Repository


@dataclass(slots=True, kw_only=True)
class PackSurvey:
    """What is there. `ends` has, by sound pack, up to which byte blobs may reach; `faults` the packs that are not.

    `indexed` are the packs that readable indexes list; `stale` counts, by index, those of them that are gone.
    `damaged_indexes` says why the others cannot be read.
    """

    listed: AbstractSet[bytes]
    ends: dict[bytes, int] = field(default_factory=dict[bytes, int])
    faults: dict[bytes, Probe] = field(default_factory=dict[bytes, Probe])
    indexed: set[bytes] = field(default_factory=set[bytes])
    stale: dict[str, int] = field(default_factory=dict[str, int])
    damaged_indexes: dict[str, errors.SafepointError] = field(default_factory=dict[str, errors.SafepointError])
    indexes: int = 0

    def take(self, probe: Probe) -> None:
        """Takes in what a probe told. A pack that vanished since it was listed is not there."""
        if probe.fault is None:
            self.ends[probe.pack] = probe.end
        elif not probe.is_gone:
            self.faults[probe.pack] = probe

    def distrust(self, damaged: Mapping[str, str]) -> None:
        """Packs of these names, and why, count as damaged: each blob that is needed of them is tried."""
        for pack, why in ((pack_of(name), why) for name, why in damaged.items()):
            if pack is not None and self.ends.pop(pack, None) is not None:
                self.faults[pack] = Probe(pack=pack, end=0, fault=why)


def survey_packs(repository: Repository, report: Report) -> PackSurvey:
    """All packs, probed. Indexes are looked at before packs are listed: what one of them lists is then there."""
    store, keyring = repository.store, repository.keyring
    indexes = survey_indexes(store, keyring)
    survey = PackSurvey(listed=list_packs(store))
    with ThreadPoolExecutor(THREADS, thread_name_prefix="safepoint-probe") as pool:
        for index in _read_indexes(repository, indexes, survey):
            fresh = [pack for pack in index.packs if pack.pack in survey.listed and pack.pack not in survey.indexed]
            survey.indexed.update(pack.pack for pack in index.packs)
            survey.stale[index.name] = sum(pack.pack not in survey.listed for pack in index.packs)
            _probe(repository, pool, [(pack.pack, pack) for pack in fresh], survey, report)
        rest = sorted(survey.listed - survey.indexed)
        _probe(repository, pool, [(pack, None) for pack in rest], survey, report)
    return survey


def _probe(
    repository: Repository,
    pool: ThreadPoolExecutor,
    packs: Sequence[tuple[bytes, PackContents | None]],
    survey: PackSurvey,
    report: Report,
) -> None:
    probe = partial(probe_pack, repository.store, repository.keyring)
    for found in pool.map(probe, [pack for pack, _ in packs], [listed for _, listed in packs]):
        survey.take(found)
        report(Progress(done=len(survey.ends) + len(survey.faults), total=len(survey.listed), unit="packs"))


def _read_indexes(repository: Repository, found: Survey, survey: PackSurvey) -> Iterator[Index]:
    """All current indexes that can be read. Where one cannot, those that it supersedes count, if they are there."""
    read: set[str] = set()
    gone: set[str] = set()
    damaged = survey.damaged_indexes
    while missing := set(found.without(damaged).current()) & found.facts.keys() - damaged.keys() - read - gone:
        for name in sorted(missing):
            try:
                index = read_index(repository.store, repository.keyring, name)
            except errors.Damaged as error:
                if error.spec is errors.RP004:
                    gone.add(name)
                else:
                    damaged[name] = error
                continue
            read.add(name)
            yield index
        if gone & missing:
            found = survey_indexes(repository.store, repository.keyring, found.facts)
    damaged.update(found.damaged)
    survey.indexes = len(read)

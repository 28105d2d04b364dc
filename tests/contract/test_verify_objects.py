"""Verification reads whole objects, finds every flipped bit, names what it affects, and remembers what it read."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from repository_samples import (
    CLUSTER,
    NOON,
    PASSPHRASE,
    make_repository,
    read_files,
)
from safepoint.model.lsn import TimelineId
from safepoint.repository import Repository, open_repository
from safepoint.repository.care.check import check
from safepoint.repository.care.finding import FindingKind, Loss
from safepoint.repository.care.progress import Progress
from safepoint.repository.care.selection import Selection
from safepoint.repository.care.verify import verify
from safepoint.repository.names import kind_of
from safepoint.stores import FolderStore, MemoryStore, Store
from safepoint.stores.metering import Meter, MeteredStore
from verified_samples import DAY, HandClock, data_pack, flip, make_healthy, only


@pytest.fixture
def clock() -> HandClock:
    """Noon, until a test moves it."""
    return HandClock()


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """To be copied."""
    return make_healthy(tmp_path_factory.mktemp("healthy") / "store")


@pytest.fixture
def root(healthy: Path, tmp_path: Path) -> Path:
    """A copy of it, for a test to damage."""
    shutil.copytree(healthy, tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture
def repository(root: Path, clock: HandClock) -> Repository:
    """It, opened."""
    return open_repository(FolderStore(root), PASSPHRASE, clock=clock)


def test_everything_of_a_healthy_repository_holds(repository: Repository) -> None:
    """Each object is read once; afterwards none remains, and the bytes are those of the store."""
    names = [name for name in repository.store.list("") if kind_of(name) is not None]
    progress: list[Progress] = []

    verified = verify(repository, Selection.all(), report=progress.append)

    assert verified.findings == ()
    assert verified.is_whole
    assert verified.verified == len(names)
    assert verified.bytes >= sum(repository.store.size(name) for name in names)
    assert (progress[-1].done, progress[-1].total, progress[-1].unit) == (len(names), len(names), "objects")


def test_an_object_of_every_kind_is_verified(repository: Repository) -> None:
    """Only the description, the keys and what readers cannot know are left out."""
    strange = {name.partition("/")[0] for name in repository.store.list("") if kind_of(name) is None}

    assert strange <= {"safepoint.json", "keys", "tmp"}


@pytest.mark.parametrize(
    ("prefix", "kind"),
    [
        ("packs/", FindingKind.DAMAGED_PACK),
        ("indexes/", FindingKind.DAMAGED_INDEX),
        ("backups/", FindingKind.DAMAGED_MANIFEST),
        ("wal/", FindingKind.DAMAGED_WAL),
        ("tmp/wal/", FindingKind.DAMAGED_WAL),
        ("records/drill/", FindingKind.DAMAGED_OBJECT),
        ("leases/", FindingKind.DAMAGED_OBJECT),
        ("journal/", FindingKind.DAMAGED_OBJECT),
    ],
)
def test_a_flipped_bit_in_any_kind_of_object_is_found(
    root: Path, repository: Repository, prefix: str, kind: FindingKind
) -> None:
    """Wherever it lies: at the beginning, in the middle, at the end."""
    name = next(iter(repository.store.list(prefix)))
    path = root / name
    whole = path.read_bytes()
    for at in (10, len(whole) // 2, len(whole) - 1):
        flip(path, at)

        found = verify(repository, Selection.all())

        assert [(finding.kind, finding.objects) for finding in found.findings] == [(kind, (name,))]
        assert not found.is_whole
        path.write_bytes(whole)
    assert verify(repository, Selection.all()).is_whole


def test_a_flipped_bit_in_data_names_backup_and_file_and_the_check_cannot_see_it(
    root: Path, repository: Repository
) -> None:
    """Metadata does not show it; verification does, a check remembers that, and the other database restores."""
    name = data_pack(repository, "billing")
    flip(root / name, 100_000)
    assert check(repository).is_whole

    found = verify(repository, Selection.all())

    finding = only(found.findings)
    assert [(affected.backup_id, affected.loses, affected.paths) for affected in finding.affected] == [
        ("billing", Loss.FILES, ("base/7/20000",))
    ]
    assert not check(repository).is_whole  # it remembers what the verification found
    assert sum(map(len, read_files(repository, repository.backup("20260301T120000Z-1")).values())) > 0


@pytest.mark.parametrize(("prefix", "kind"), [("packs/", "damaged pack"), ("backups/", "damaged manifest")])
def test_exchanged_objects_are_found_both(root: Path, repository: Repository, prefix: str, kind: str) -> None:
    """Each is whole and stands under the other's name."""
    one, other, *_ = repository.store.list(prefix)
    ours, theirs = (root / one).read_bytes(), (root / other).read_bytes()
    (root / one).write_bytes(theirs)
    (root / other).write_bytes(ours)

    found = verify(repository, Selection.all()).findings

    assert {(finding.kind.value, finding.objects) for finding in found} == {(kind, (one,)), (kind, (other,))}


@pytest.mark.parametrize("kept", [0, 30, 5000, -1])
def test_a_truncated_pack_is_found(root: Path, repository: Repository, kept: int) -> None:
    """Wherever it was cut."""
    name = data_pack(repository, "billing")
    (root / name).write_bytes((root / name).read_bytes()[:kept])

    assert only(verify(repository, Selection.all()).findings).objects == (name,)


def test_a_damaged_blob_that_nobody_needs_affects_nobody(root: Path, repository: Repository) -> None:
    """The object is damaged, and no backup is named."""
    name = data_pack(repository, "billing")
    repository.expire_backup("billing", reason="retention")
    flip(root / name, 100_000)

    finding = only(verify(repository, Selection.all()).findings)

    assert (finding.objects, finding.affected) == ((name,), ())


def test_damaged_wal_names_the_backup_that_needs_it_to_become_consistent(root: Path) -> None:
    """Its own WAL is lost to it: the segment between its start and its stop."""
    repository = open_repository(FolderStore(root), PASSPHRASE)
    manifest = repository.backup("20260301T120000Z-1")
    start = manifest.start_lsn
    data = random.Random(1).randbytes(4096)
    repository.put_wal_range(CLUSTER, TimelineId(1), start, data, history=b"", mark=None)
    piece = next(piece for piece in repository.wal_pieces(CLUSTER) if piece.start == start)
    flip(root / piece.name, 300)

    finding = only(verify(repository, Selection.all()).findings)

    assert [(affected.backup_id, affected.loses) for affected in finding.affected] == [(manifest.id, Loss.WAL)]


def test_a_sample_is_drawn_by_the_given_source(repository: Repository) -> None:
    """Five per cent are five per cent, at least one."""
    count = sum(kind_of(name) is not None for name in repository.store.list(""))

    assert verify(repository, Selection.sample(0.01, random.Random(1))).verified == 1
    assert verify(repository, Selection.sample(0.5, random.Random(1))).verified >= count // 2


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5])
@pytest.mark.parametrize("make", [Selection.due, lambda share: Selection.sample(share, random.Random(1))])
def test_a_share_that_is_none_is_refused(make: Callable[[float], Selection], share: float) -> None:
    """More than nothing, at most everything."""
    with pytest.raises(ValueError, match=r"found the share .*, expected"):
        make(share)


def test_a_time_from_the_future_does_not_count() -> None:
    """A clock that ran ahead once must not keep an object unread for ever."""
    ahead = {"a": NOON + 30 * DAY, "b": NOON - DAY / 24}

    assert Selection.due().choose(ahead, NOON)[0] == "a"


def test_what_was_never_verified_comes_first_then_the_oldest() -> None:
    """So an interrupted run has done what was most urgent."""
    verified = {"old": NOON - 20 * DAY, "new": None, "older": NOON - 30 * DAY, "fresh": NOON}

    assert Selection.due().choose(verified, NOON) == ["new", "older", "old"]


def test_an_object_that_vanishes_while_it_is_verified_is_no_damage(root: Path, repository: Repository) -> None:
    """A collection or a receiver deleted it; whether anybody misses it is the check's to say."""
    vanished = next(iter(repository.store.list("tmp/wal/")))
    repository.store.delete(vanished)
    listed: Store = _Listing(FolderStore(root), vanished)
    reader = open_repository(listed, PASSPHRASE)

    assert verify(reader, Selection.all()).findings == ()


class _Listing(MeteredStore):
    """Lists one name too many."""

    def __init__(self, inner: Store, name: str) -> None:
        super().__init__(inner, Meter())
        self._name = name

    def list(self, prefix: str) -> Iterator[str]:
        """As the port says, and one more."""
        names = [*super().list(prefix), *([self._name] if self._name.startswith(prefix) else [])]
        yield from sorted(names)


def test_an_empty_repository_has_nothing_to_verify() -> None:
    """And nothing that is wrong."""
    verified = verify(make_repository(MemoryStore(), None), Selection.due())

    assert (verified.findings, verified.verified, verified.remaining) == ((), 0, 0)

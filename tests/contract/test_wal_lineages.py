"""Two servers that claim one timeline: the first is followed, another one when it was adopted, and none is mixed in."""

from __future__ import annotations

import pytest

from repository_samples import make_repository
from safepoint import errors
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.repository import Repository, create_repository, open_repository
from safepoint.repository.care.check import check
from safepoint.repository.care.copy import copy
from safepoint.repository.names import WAL_PREFIX
from safepoint.repository.opening import open_keys
from safepoint.repository.wal_lineages import ancestral_histories
from safepoint.stores import MemoryStore
from wal_files import history_bytes, segment, segment_bytes

CLUSTER = "7300000000000000001"
TWO, THREE = TimelineId(2), TimelineId(3)
PRODUCTION = history_bytes((1, Lsn(0x500100)))
CLONE = history_bytes((1, Lsn(0x500200)))
CLONE_AGAIN = history_bytes((1, Lsn(0x500200)), (2, Lsn(0x700000)))
PRODUCTION_AGAIN = history_bytes((1, Lsn(0x500100)), (2, Lsn(0x700000)))


@pytest.fixture
def repository() -> Repository:
    """Production was promoted to timeline 2 and archives."""
    made = make_repository(MemoryStore(), None)
    made.put_history(CLUSTER, TWO, PRODUCTION)
    put(made, PRODUCTION, seed=1)
    return made


def put(repository: Repository, history: bytes, *, seed: int, number: int = 5, timeline: int = 2) -> None:
    wanted = segment(number, timeline)
    repository.put_wal_segment(CLUSTER, wanted, segment_bytes(wanted, seed=seed), history=history, mark=None)


def adopt_clone(repository: Repository) -> None:
    """The clone is production from now on, and archives."""
    repository.adopt_lineage(CLUSTER, TWO, CLONE, by="a test")
    repository.put_history(CLUSTER, TWO, CLONE)
    put(repository, CLONE, seed=2)


def followed(repository: Repository) -> list[bytes]:
    return [repository.read_wal(piece) for piece in repository.wal_pieces(CLUSTER)]


def test_a_history_says_which_lineages_it_descends_from() -> None:
    """Each ancestor's history is what stands before the line break in front of its line."""
    assert ancestral_histories(CLONE_AGAIN) == {TWO: CLONE}
    assert ancestral_histories(CLONE) == {}
    assert ancestral_histories(b"") == {}


def test_the_first_lineage_is_followed_and_another_one_is_refused(repository: Repository) -> None:
    """Also its ranges, its history, and whatever descends from it."""
    for work in (
        lambda: put(repository, CLONE, seed=2),
        lambda: repository.put_history(CLUSTER, TWO, CLONE),
        lambda: repository.put_wal_range(CLUSTER, TWO, Lsn(0), b"x", history=CLONE, mark=None),
        lambda: repository.put_history(CLUSTER, THREE, CLONE_AGAIN),
        lambda: put(repository, CLONE_AGAIN, seed=2, number=7, timeline=3),
    ):
        with pytest.raises(errors.Damaged, match="RP007"):
            work()

    repository.put_history(CLUSTER, THREE, PRODUCTION_AGAIN)
    assert followed(repository) == [segment_bytes(segment(5, 2), seed=1)]


def test_an_adopted_lineage_is_followed_and_the_other_one_is_a_branch(repository: Repository) -> None:
    """Pieces and histories are the adopted one's; the other's can be asked for by name or by its digest."""
    adopt_clone(repository)
    branches = repository.wal_lineages(CLUSTER)
    kept = next(branch for branch in branches if not branch.is_followed)

    assert followed(repository) == [segment_bytes(segment(5, 2), seed=2)]
    assert repository.read_history(CLUSTER, TWO) == CLONE
    assert (len(branches), kept.timeline, kept.has_history) == (2, TWO, True)
    assert (kept.start, kept.end) == (segment(5, 2).start, segment(5, 2).end)
    for asked in (kept.name, kept.name.partition("-")[2], kept.name.partition("-")[2][:6]):
        (piece,) = repository.wal_pieces(CLUSTER, [asked])
        assert repository.read_wal(piece) == segment_bytes(segment(5, 2), seed=1)
        assert repository.read_history(CLUSTER, TWO, [asked]) == PRODUCTION


def test_who_is_no_longer_followed_stores_nothing_more(repository: Repository) -> None:
    """A process that opens the repository after the adoption is refused at once, at a new segment as at an old one."""
    adopt_clone(repository)
    production = open_repository(repository.store, None)

    for number in (5, 6):
        with pytest.raises(errors.Damaged, match="RP007"):
            put(production, PRODUCTION, seed=1, number=number)
    with pytest.raises(errors.Damaged, match="RP007"):
        production.put_history(CLUSTER, THREE, PRODUCTION_AGAIN)


def test_the_newest_adoption_decides(repository: Repository) -> None:
    """A mistaken adoption is mended by another one."""
    adopt_clone(repository)
    repository.adopt_lineage(CLUSTER, TWO, PRODUCTION, by="a test")

    assert followed(repository) == [segment_bytes(segment(5, 2), seed=1)]
    put(repository, PRODUCTION, seed=1, number=6)
    assert len(followed(repository)) == 2


def test_an_adoption_adopts_the_ancestors_too(repository: Repository) -> None:
    """The clone was promoted twice before anybody adopted it."""
    repository.adopt_lineage(CLUSTER, THREE, CLONE_AGAIN, by="a test")
    put(repository, CLONE, seed=2)
    put(repository, CLONE_AGAIN, seed=3, number=7, timeline=3)

    assert followed(repository) == [segment_bytes(segment(5, 2), seed=2), segment_bytes(segment(7, 3), seed=3)]


def test_a_descendant_that_is_asked_for_brings_its_ancestors(repository: Repository) -> None:
    """Whoever names a branch of timeline 3 gets the timeline 2 that it came from."""
    adopt_clone(repository)
    repository.adopt_lineage(CLUSTER, THREE, PRODUCTION_AGAIN, by="a test")
    repository.put_history(CLUSTER, THREE, PRODUCTION_AGAIN)
    repository.adopt_lineage(CLUSTER, TWO, CLONE, by="a test")
    three = next(branch.name for branch in repository.wal_lineages(CLUSTER) if branch.timeline == THREE)

    (piece,) = repository.wal_pieces(CLUSTER, [three])
    assert repository.read_wal(piece) == segment_bytes(segment(5, 2), seed=1)
    assert repository.read_history(CLUSTER, TWO, [three]) == PRODUCTION


def test_a_branch_that_is_not_there_is_no_branch(repository: Repository) -> None:
    """Rather than the one that is followed, nothing."""
    adopt_clone(repository)

    for asked in ("f" * 33, "", "00000002-"):
        with pytest.raises(errors.Misconfigured, match="RP016"):
            repository.wal_pieces(CLUSTER, [asked])


def test_an_adoption_that_does_not_open_leaves_it_unknown(repository: Repository) -> None:
    """Which lineage is meant cannot be said, so none is taken."""
    adopt_clone(repository)
    (record,) = repository.store.list("records/adoptions/")
    content = bytearray(repository.store.get(record))
    content[-1] ^= 1
    repository.store.delete(record)
    repository.store.put_if_absent(record, bytes(content))

    with pytest.raises(errors.Damaged, match="RP005"):
        repository.wal_pieces(CLUSTER)


def test_the_fork_is_that_of_the_followed_lineage(repository: Repository) -> None:
    """Where timeline 1 was left is what the adopted one says."""
    assert repository.wal_switch_from(CLUSTER, TimelineId(1)) == (TWO, Lsn(0x500100))
    adopt_clone(repository)

    assert repository.wal_switch_from(CLUSTER, TimelineId(1)) == (TWO, Lsn(0x500200))
    assert repository.wal_switch_from(CLUSTER, TWO) is None


def test_a_check_speaks_of_both_and_calls_neither_damage(repository: Repository) -> None:
    """A branch is no stray."""
    adopt_clone(repository)
    report = check(repository)

    assert report.wal_objects == sum(1 for _ in repository.store.list(WAL_PREFIX)) == 4
    assert [finding for finding in report.findings if "wal/" in finding.text or "WAL" in finding.text] == []


@pytest.mark.parametrize("as_stranger", [False, True], ids=["sibling", "stranger"])
def test_a_copy_from_before_an_adoption_follows_it_afterwards(repository: Repository, *, as_stranger: bool) -> None:
    """What was copied before stays, as a branch."""
    target = create_repository(
        MemoryStore(), None, sibling_of=None if as_stranger else open_keys(repository.store, None)
    )
    copy(repository, target, as_stranger=as_stranger)
    assert followed(target) == [segment_bytes(segment(5, 2), seed=1)]
    adopt_clone(repository)
    again = open_repository(target.store, None)
    report = copy(repository, again, as_stranger=as_stranger)

    assert report.findings == ()
    assert followed(again) == [segment_bytes(segment(5, 2), seed=2)]
    assert again.read_history(CLUSTER, TWO) == CLONE
    assert len(again.wal_lineages(CLUSTER)) == 2

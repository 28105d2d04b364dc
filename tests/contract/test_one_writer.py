"""A store without conditional put: one writer at a time, whoever comes second is refused, and all verbs work alone."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import pytest

import object_servers
from caring import (
    KINDS,
    Life,
    collected,
    furnished,
    must_be_sound,
    must_be_unharmed,
    must_be_verified,
    must_end_tidy,
    must_hold_wal,
    relative,
    rotated,
    spoil,
)
from object_servers import ObjectServer
from one_writer_stores import OneWriterStore, nothing
from repository_samples import CLUSTER, DATABASE, back_up, sample_manifest, take_files, with_files
from rewriting import changed_files, copy_of, killed_everywhere, large_files, make_repository, must_hold, opened_again
from safepoint import errors
from safepoint.repository import Repository
from safepoint.repository.care.copy import copy
from safepoint.repository.care.repair import repair
from safepoint.repository.care.rewrite import reseal
from safepoint.repository.care.selection import Selection
from safepoint.repository.care.verify import verify
from safepoint.repository.commit.leases import list_packs, open_leases, revoke
from safepoint.repository.names import pack_name
from safepoint.stores import FolderStore, MemoryStore, Store, open_store
from safepoint.stores.faults import Fault, FaultyStore, Killed

_AT_HAND = [*(["s3"] if object_servers.find_server("weed") else [])]
NewStore = Callable[[], Store]


@pytest.fixture(params=["memory", "folder", *_AT_HAND])
def new_store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NewStore:
    """Makes empty stores that say of themselves that they know no conditional put."""
    if request.param == "memory":
        return lambda: OneWriterStore(MemoryStore())
    if request.param == "folder":
        return lambda: OneWriterStore(FolderStore(tmp_path / secrets.token_hex(4)))
    server: ObjectServer = request.getfixturevalue("s3_server")
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return lambda: open_store(f"{server.url(secrets.token_hex(8))}&conditional_put=no")


@pytest.fixture
def life(new_store: NewStore) -> Life:
    """A repository with two backups, WAL, a history and a record."""
    found = furnished(new_store(), backups=2)
    assert not found.store.capabilities.conditional_put
    return found


def half_a_backup(repository: Repository) -> None:
    """A writer at work that has put packs and dies, without a word."""
    dying = FaultyStore(repository.store)
    with suppress(Killed), repository.through(dying).write_backup(database=DATABASE, cluster=CLUSTER) as writer:
        take_files(writer.ingest, large_files(99, 5))
        writer.ingest.finish()
        dying.cut_power()
    assert len(open_leases(repository.store, repository.keyring)) == 1


def only_lease(repository: Repository) -> str:
    """The id of the lease that is open."""
    (lease,) = open_leases(repository.store, repository.keyring)
    return lease.id


def test_one_after_another_all_verbs_work(life: Life) -> None:
    """Backups upon each other, expiry, collection, rotation and reseal: what is left reads back and is sealed right."""
    files = changed_files(life.history["b1"], 9, pages=1)
    back_up(life.repository, files, "b2", parent=life.repository.backup("b1"))
    life.repository.expire_backup("b0", reason="a test")

    freed = collected(life.repository)
    repository = rotated(life.repository)
    resealed = reseal(repository)
    again = collected(repository)

    assert freed.deleted_packs > 0
    assert again.deleted_packs == resealed.packs > 0
    must_be_sound(repository, {"b1": life.history["b1"], "b2": files})
    must_be_verified(repository)
    must_hold_wal(repository)


@pytest.mark.parametrize("kind", KINDS)
def test_copies_are_made_and_mend(life: Life, new_store: NewStore, kind: str) -> None:
    """Into another such store and back."""
    other = relative(life.repository, kind, new_store())
    assert copy(life.repository, other).is_whole
    must_be_sound(other, life.history)
    names = spoil(life.store, [max(map(pack_name, list_packs(life.store)), key=life.store.size)])

    assert repair(life.again(), copies=[other], damaged=names).unrepaired == ()

    must_hold(life.repository, life.history)


def test_a_second_writer_is_refused_and_the_first_goes_on(life: Life) -> None:
    """RP010 names who is at work; the refused one leaves no open lease, and the first one's backup exists."""
    with life.repository.write_backup(database=DATABASE, cluster=CLUSTER) as writer:
        take_files(writer.ingest, large_files(5, 5))
        first = only_lease(life.repository)
        with pytest.raises(errors.Refused, match="RP010") as caught:
            back_up(life.again(), large_files(6, 5), "second")
        assert only_lease(life.repository) == first
        writer.commit(with_files(sample_manifest("b2"), writer.ingest.finish()))

    assert first in caught.value.message
    must_be_sound(life.repository, life.history | {"b2": large_files(5, 5)})
    back_up(life.again(), large_files(6, 5), "second")


def _moves(repository: Repository) -> object:
    return reseal(repository)


def _mends(repository: Repository) -> object:
    largest = max(map(pack_name, repository.needed_packs()), key=repository.store.size)
    return repair(repository, damaged=spoil(repository.store, [largest]))


def _takes_a_copy(repository: Repository) -> object:
    source = make_repository(MemoryStore())
    back_up(source, large_files(7, 5), "elsewhere")
    return copy(source, repository)


def _collects(repository: Repository) -> object:
    return collected(repository)


@pytest.mark.parametrize("verb", [_moves, _mends, _takes_a_copy, _collects])
def test_beside_a_writer_nothing_else_writes_packs_or_deletes(life: Life, verb: Callable[[Repository], object]) -> None:
    """Reseal, repair, a copy into it and gc: RP010, and every pack stays."""
    repository = rotated(life.repository)
    half_a_backup(repository)
    packs, lease = list_packs(repository.store), only_lease(repository)

    with pytest.raises(errors.Refused, match="RP010"):
        verb(opened_again(repository))

    assert list_packs(repository.store) == packs
    assert only_lease(repository) == lease


def test_beside_a_writer_whatever_reads_works(life: Life, new_store: NewStore) -> None:
    """Restore, verify, a copy from it."""
    half_a_backup(life.repository)

    must_hold(life.repository, life.history)
    assert verify(life.again(), Selection.all()).is_whole
    assert copy(life.again(), relative(life.repository, "sibling", new_store())).is_whole


def test_beside_a_writer_a_backup_may_expire_and_wal_may_come(life: Life) -> None:
    """Neither needs a lease; the writer that built on what expired commits all the same."""
    parent = life.repository.backup("b1")
    files = changed_files(life.history["b1"], 9, pages=1)
    with life.repository.write_backup(database=DATABASE, cluster=CLUSTER, parent=parent) as writer:
        take_files(writer.ingest, files)
        life.again().expire_backup("b1", reason="a test")
        life.again().append_record("drill", {"database": "shop", "seconds": 2.5})
        writer.commit(with_files(sample_manifest("b2"), writer.ingest.finish()))

    collected(life.repository)
    must_be_sound(life.repository, {"b0": life.history["b0"], "b2": files})


def test_a_killed_writer_stops_all_others_until_its_lease_is_revoked(life: Life) -> None:
    """However long ago: only an operator can say that it is dead. Then its packs go, and backups are taken again."""
    before = list_packs(life.store)
    half_a_backup(life.repository)
    later = _at(life.repository, life.repository.clock() + timedelta(days=9))
    for refused in (lambda: collected(later), lambda: back_up(later, large_files(6, 5), "second")):
        with pytest.raises(errors.Refused, match="RP010"):
            refused()

    left = list_packs(life.store) - before

    revoke(life.store, life.repository.keyring, only_lease(later), by="a test", clock=life.repository.clock)

    assert collected(life.repository).deleted_packs == len(left) > 0
    assert list_packs(life.store) == before
    back_up(life.again(), large_files(6, 5), "second")
    must_be_sound(life.repository, life.history | {"second": large_files(6, 5)})


def test_a_forced_collection_is_the_operators_word(life: Life) -> None:
    """It ends the dead writer's lease and deletes its packs in one run."""
    before = list_packs(life.store)
    half_a_backup(life.repository)

    done = collected(life.repository, force=True)

    assert len(done.revoked) == 1
    assert list_packs(life.store) == before
    must_be_sound(life.repository, life.history)


def test_a_writer_that_lives_after_all_loses_its_backup(life: Life) -> None:
    """BK001 when it commits after its lease was revoked; what exists is as it was."""
    with life.repository.write_backup(database=DATABASE, cluster=CLUSTER) as writer:
        take_files(writer.ingest, large_files(5, 5))
        taken = writer.ingest.finish()
        revoke(life.store, life.repository.keyring, only_lease(life.repository), by="x", clock=life.repository.clock)
        with pytest.raises(errors.SafepointError, match="BK001"):
            writer.commit(with_files(sample_manifest("b2"), taken))

    must_be_sound(life.repository, life.history)
    must_end_tidy(life.repository)


def test_of_two_who_begin_at_once_one_writes_at_most() -> None:
    """The other's lease came between our look and our put of our own: we see it afterwards, and are refused."""
    store = OneWriterStore(MemoryStore())
    life = furnished(store, backups=1)

    def other_writer(name: str) -> None:
        if name.endswith("/begin"):
            store.between = nothing
            half_a_backup(life.again())

    store.between = other_writer
    with pytest.raises(errors.Refused, match="RP010"):
        back_up(life.again(), large_files(5, 5), "ours")

    assert only_lease(life.repository)
    must_be_sound(life.repository, life.history)


@pytest.mark.parametrize("fault", [Fault.KILL, Fault.KILL_AFTER, Fault.POWER_CUT])
def test_a_backup_killed_at_any_call_leaves_what_was_there(fault: Fault) -> None:
    """The next writer is refused exactly while the dead one's lease is open; once that is revoked, all goes on."""
    life = furnished(MemoryStore(), backups=1)
    files = changed_files(life.history["b0"], 9, pages=1)
    refused: list[int] = []

    def work(store: Store) -> None:
        repository = life.again(OneWriterStore(store))
        back_up(repository, files, "b1", parent=repository.backup("b0"))

    def check(left: Store, at: int) -> None:
        again = life.again(OneWriterStore(left))
        held = {manifest.id: {**life.history, "b1": files}[manifest.id] for manifest in again.backups()}
        must_be_unharmed(again, held)
        for lease in open_leases(left, again.keyring):
            with pytest.raises(errors.Refused, match="RP010"):
                back_up(opened_again(again), files, "b2")
            revoke(left, again.keyring, lease.id, by="a test", clock=again.clock)
            refused.append(at)
        back_up(opened_again(again), files, "b2")
        collected(again)
        must_be_sound(again, held | {"b2": files})

    calls = killed_everywhere(life.store, work, check, fault)

    assert 5 < len(refused) < calls


def test_a_put_without_an_answer_is_repeated_without_harm() -> None:
    """At every call of a backup: it raises or the backup exists, and nothing before it is touched."""
    life = furnished(MemoryStore(), backups=1)
    at = 0
    while True:
        at += 1
        left = copy_of(life.store)
        faulty = FaultyStore(OneWriterStore(left), Fault.LOST_ANSWER, at=at)
        with suppress(errors.Unreachable):
            back_up(life.again(faulty), large_files(5, 5), "b1")
        if len(faulty.calls) < at:
            break
        again = life.again(OneWriterStore(left))
        held = {manifest.id: {**life.history, "b1": large_files(5, 5)}[manifest.id] for manifest in again.backups()}
        must_be_unharmed(again, held)
    assert at > 15


def _at(repository: Repository, now: datetime) -> Repository:
    """As another process whose clock shows this."""
    return Repository(repository.store, repository.description, repository.keyring, lambda: now)

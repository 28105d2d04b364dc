"""Repositories over every store: what goes in comes out, exactly one is created, and keys are asked for."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from itertools import chain
from pathlib import Path

import pytest

from repository_samples import (
    CLUSTER,
    MARK,
    MEBIBYTE,
    NOON,
    PASSPHRASE,
    SEGMENT,
    TIMELINE,
    fill,
    make_repository,
    manifest_of,
    read_everything,
    sample_blobs,
    snapshot,
    store_blobs,
    wal_bytes,
)
from safepoint import errors
from safepoint.model.coverage import Mark, WalPiece
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.model.secret import Secret
from safepoint.repository import Repository, create_repository, open_repository
from safepoint.stores import FolderStore, MemoryStore, Store
from safepoint.stores.faults import FaultyStore

HISTORY = b"1\t0/300000\tno recovery target specified\n"
OTHER_HISTORY = b"1\t0/280000\tno recovery target specified\n"


@pytest.fixture(params=[PASSPHRASE, None], ids=["encrypted", "open"])
def passphrase(request: pytest.FixtureRequest) -> Secret | None:
    """With and without encryption."""
    return request.param


@pytest.fixture
def repository(store: Store, passphrase: Secret | None) -> Repository:
    """A new repository in each store."""
    return make_repository(store, passphrase)


# Creating and opening.


def test_a_repository_opens_with_its_passphrase_and_reads_what_was_stored(
    store: Store, passphrase: Secret | None
) -> None:
    """Another process that knows the place and the passphrase reads everything."""
    manifest = fill(make_repository(store, passphrase))

    repository = open_repository(store, passphrase)

    assert repository.is_encrypted is (passphrase is not None)
    assert repository.backups() == (manifest,)
    read_everything(repository)


def test_a_place_holds_one_repository(store: Store, repository: Repository, passphrase: Secret | None) -> None:
    """A second creation is RP002 and leaves the first as it was."""
    names = list(store.list(""))

    with pytest.raises(errors.Refused) as caught:
        make_repository(store, passphrase)

    assert caught.value.spec is errors.RP002
    assert list(store.list("")) == names
    assert open_repository(store, passphrase).id == repository.id


def test_of_two_creations_at_once_one_wins(store: Store, passphrase: Secret | None) -> None:
    """Exactly one of four gets a repository, the others RP002, and no key of theirs is left."""
    gate = threading.Barrier(4)

    def create(_: int) -> Repository | errors.SafepointError:
        gate.wait()
        try:
            return make_repository(store, passphrase)
        except errors.Refused as error:
            return error

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(create, range(4)))

    winners = [answer for answer in answers if isinstance(answer, Repository)]
    assert [winner.id for winner in winners] == [open_repository(store, passphrase).id]
    assert {answer.spec for answer in answers if isinstance(answer, errors.SafepointError)} == {errors.RP002}
    assert len(list(store.list("keys/"))) == (0 if passphrase is None else 1)


def test_the_remains_of_a_repository_are_not_built_over(store: Store, repository: Repository) -> None:
    """Where only safepoint.json was lost, a new repository would hide that it can be put back."""
    fill(repository)
    store.delete("safepoint.json")

    with pytest.raises(errors.Refused, match="RP002: found backups/"):
        make_repository(store)


def test_no_repository_is_said_plainly(store: Store) -> None:
    """RP001 at an empty place, and nothing is made there."""
    with pytest.raises(errors.Misconfigured, match=r"RP001: found no safepoint\.json"):
        open_repository(store, None)
    assert list(store.list("")) == []


@pytest.mark.parametrize("given", [Secret("wrong"), Secret(PASSPHRASE.reveal() + "\n"), None])
def test_an_encrypted_repository_opens_with_its_passphrase_only(store: Store, given: Secret | None) -> None:
    """A wrong or missing passphrase is RP003, and no message repeats it."""
    make_repository(store)

    with pytest.raises(errors.Misconfigured) as caught:
        open_repository(store, given)

    assert caught.value.spec is errors.RP003
    assert given is None or given.reveal() not in repr((caught.value, caught.value.message, caught.value.hints))


def test_an_open_repository_refuses_a_passphrase(store: Store) -> None:
    """Somebody who expects encryption must not get an open repository, put there by whomever."""
    make_repository(store, None)

    with pytest.raises(errors.Misconfigured, match=r"RP003: found repository [0-9a-f]{32} unencrypted"):
        open_repository(store, PASSPHRASE)


def test_an_empty_passphrase_is_none(store: Store) -> None:
    """An unset variable must not become a key."""
    with pytest.raises(errors.Misconfigured, match="RP003"):
        create_repository(store, Secret(""))
    assert list(store.list("")) == []


def test_no_secret_is_printed(repository: Repository) -> None:
    """Neither the repository nor its parts show keys."""
    keyring = repository._keyring

    for shown in (repr(repository), repr(keyring), repr(repository._reader), repr(repository.writer())):
        assert keyring.masters[1].hex() not in shown
        assert repr(keyring.masters[1]) not in shown


def test_opening_and_reading_write_nothing(passphrase: Secret | None, tmp_path: Path) -> None:
    """A user with read-only rights can restore: no put, no delete, no barrier, no change of any file or folder."""
    folder = FolderStore(tmp_path / "store")
    fill(make_repository(folder, passphrase))
    before = snapshot(tmp_path)
    reader = FaultyStore(FolderStore(tmp_path / "store"))

    repository = open_repository(reader, passphrase)
    read_everything(repository)
    repository.backup("20260301T120000Z-1")

    assert {call.split()[0] for call in reader.calls} == {"get", "get_range", "list"}
    assert snapshot(tmp_path) == before


# Blobs.


def test_blobs_come_back_in_any_order(repository: Repository) -> None:
    """One by one, in order, in reverse, repeated: each ref gives its blob; none gives nothing."""
    blobs = [b"", b"x", *sample_blobs(5), bytes(MEBIBYTE)]
    refs = store_blobs(repository, blobs)

    assert [repository.read_blob(ref) for ref in refs] == blobs
    assert list(repository.read_blobs(refs)) == blobs
    assert list(repository.read_blobs(reversed(refs))) == blobs[::-1]
    assert list(repository.read_blobs(refs[2:3] * 3)) == [blobs[2]] * 3
    assert list(repository.read_blobs(())) == []


def test_equal_blobs_of_one_writer_are_stored_once(store: Store, repository: Repository) -> None:
    """A thousand empty pages cost one."""
    refs = store_blobs(repository, [bytes(8192)] * 1000)

    assert len(refs) == 1000
    assert len(set(refs)) == 1
    assert sum(store.size(name) for name in store.list("packs/")) < 1000


def test_many_packs_are_one_sequence(store: Store, repository: Repository) -> None:
    """Packs close at their size, tickets and order stay; every pack's table lists what the refs say."""
    blobs = sample_blobs(40, size=40_000)
    with repository.writer() as writer:
        writer._pack_bytes = 100_000
        tickets = [writer.add(blob) for blob in blobs]
        refs = writer.finish()

    assert tickets == list(range(40))
    assert len({ref.pack for ref in refs}) == len(list(store.list("packs/"))) > 5
    assert list(repository.read_blobs(refs)) == blobs
    packs = dict.fromkeys(ref.pack for ref in refs)
    assert tuple(chain.from_iterable(map(repository.check_pack, packs))) == refs


def test_two_writers_at_once_keep_apart(repository: Repository) -> None:
    """Two backups into one repository at the same time are both whole."""

    def write(seed: int) -> bool:
        blobs = sample_blobs(30, size=50_000, seed=seed)
        return list(repository.read_blobs(store_blobs(repository, blobs))) == blobs

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(write, (1, 2))) == [True, True]


@pytest.mark.parametrize("cause", [ValueError, KeyboardInterrupt])
def test_a_writer_left_without_finish_takes_its_packs_along(
    store: Store, repository: Repository, cause: type[BaseException]
) -> None:
    """An error or Ctrl-C in the middle of a backup leaves no pack behind."""

    def fail_midway() -> None:
        with repository.writer() as writer:
            writer._pack_bytes = 10_000
            for blob in sample_blobs(20):
                writer.add(blob)
            raise cause

    with pytest.raises(cause):
        fail_midway()

    assert list(store.list("packs/")) == []


def test_a_blob_too_large_is_refused(repository: Repository) -> None:
    """Memory stays bounded: more than 32 MiB is not a blob."""
    with repository.writer() as writer, pytest.raises(ValueError, match="expected at most 33554432"):
        writer.add(bytes(32 * MEBIBYTE + 1))


def test_a_finished_writer_takes_no_more(repository: Repository) -> None:
    """What is added after `finish` could not be durable."""
    with repository.writer() as writer:
        writer.finish()
        with pytest.raises(RuntimeError):
            writer.add(b"late")


# Backups.


def test_backups_are_listed_by_their_end(repository: Repository) -> None:
    """Oldest first, whatever their ids."""
    refs = store_blobs(repository, sample_blobs(2))
    for backup_id, age in (("b", 1), ("a", 0), ("c", 2)):
        repository.put_backup(manifest_of(refs, backup_id, age))

    assert [backup.id for backup in repository.backups()] == ["c", "b", "a"]
    assert repository.backup_names() == tuple(f"backups/{CLUSTER}/{name}" for name in "abc")
    assert repository.backup("b").stopped_at == NOON - timedelta(hours=1)


def test_the_same_backup_again_is_success(repository: Repository) -> None:
    """A put whose answer was lost can be repeated; another backup of that id is RP007."""
    manifest = manifest_of(store_blobs(repository, sample_blobs(2)))
    repository.put_backup(manifest)
    repository.put_backup(manifest)

    with pytest.raises(errors.Damaged, match="RP007"):
        repository.put_backup(replace(manifest, tier="monthly"))
    assert repository.backups() == (manifest,)


def test_a_backup_whose_blobs_are_not_there_does_not_exist(store: Store, repository: Repository) -> None:
    """A missing or short pack is RP004 or RP005 before the manifest is put."""
    refs = store_blobs(repository, sample_blobs(2))
    (name,) = store.list("packs/")
    data = store.get(name)
    store.delete(name)
    with pytest.raises(errors.Damaged, match="RP004"):
        repository.put_backup(manifest_of(refs))
    store.put_if_absent(name, data[:1000])
    with pytest.raises(errors.Damaged, match="RP005"):
        repository.put_backup(manifest_of(refs))

    assert repository.backups() == ()


def test_an_unknown_backup_is_misconfigured(repository: Repository) -> None:
    """BK003 names the id and how to see the others."""
    with pytest.raises(errors.Misconfigured, match="BK003: found no backup 'nine'"):
        repository.backup("nine")


# WAL.


def test_wal_comes_back_with_its_marks(repository: Repository) -> None:
    """Segments and ranges, listed by position; the newest mark is a short read."""
    data, ranged = wal_bytes(1), wal_bytes(2, size=8192)
    repository.put_wal_segment(CLUSTER, SEGMENT, data, history=b"", mark=MARK)
    repository.put_wal_range(CLUSTER, TIMELINE, SEGMENT.end, ranged, history=b"", mark=None)

    segment, piece = repository.wal_pieces(CLUSTER)

    assert (segment.start, segment.end, segment.is_partial) == (SEGMENT.start, SEGMENT.end, False)
    assert (piece.start, piece.end, piece.is_partial) == (SEGMENT.end, SEGMENT.end + 8192, True)
    assert repository.read_wal(CLUSTER, segment) == data
    assert repository.read_wal(CLUSTER, piece) == ranged
    assert repository.read_mark(CLUSTER, segment) == MARK
    assert repository.read_mark(CLUSTER, piece) is None


def test_pieces_are_listed_by_one_listing_each(store: Store, passphrase: Secret | None) -> None:
    """Coverage of a month costs two listings; ranges first, because their segment is put before they are deleted."""
    repository = make_repository(counted := FaultyStore(store), passphrase)
    fill(repository)
    counted.calls.clear()

    repository.wal_pieces(CLUSTER)

    assert counted.calls == [f"list tmp/wal/{CLUSTER}/", f"list wal/{CLUSTER}/"]


def test_a_listed_range_that_its_segment_replaced_meanwhile_still_reads(repository: Repository) -> None:
    """A reader that listed before the receiver went on gets the bytes and the mark; without a substitute, RP004."""
    data, position = wal_bytes(1), SEGMENT.start + 8192
    repository.put_wal_range(CLUSTER, TIMELINE, position, data[8192:16384], history=b"", mark=None)
    (listed,) = repository.wal_pieces(CLUSTER)
    repository.delete_wal_range(CLUSTER, listed)
    with pytest.raises(errors.Damaged, match="RP004"):
        repository.read_wal(CLUSTER, listed)
    repository.put_wal_segment(CLUSTER, SEGMENT, data, history=b"", mark=MARK)

    assert repository.read_wal(CLUSTER, listed) == data[8192:16384]
    assert repository.read_mark(CLUSTER, listed) == MARK


def test_the_same_segment_again_is_success_and_other_bytes_are_not(repository: Repository) -> None:
    """Success is answered for equal bytes only; the first bytes stay."""
    repository.put_wal_segment(CLUSTER, SEGMENT, wal_bytes(1), history=b"", mark=MARK)
    repository.put_wal_segment(CLUSTER, SEGMENT, wal_bytes(1), history=b"", mark=None)

    with pytest.raises(errors.Damaged, match="RP007"):
        repository.put_wal_segment(CLUSTER, SEGMENT, wal_bytes(2), history=b"", mark=None)
    (piece,) = repository.wal_pieces(CLUSTER)
    assert repository.read_wal(CLUSTER, piece) == wal_bytes(1)


def test_the_same_range_again_is_success_and_other_bytes_are_not(repository: Repository) -> None:
    """Ranges keep the same promise."""
    repository.put_wal_range(CLUSTER, TIMELINE, Lsn(4096), b"one", history=b"", mark=None)
    repository.put_wal_range(CLUSTER, TIMELINE, Lsn(4096), b"one", history=b"", mark=MARK)

    with pytest.raises(errors.Damaged, match="RP007"):
        repository.put_wal_range(CLUSTER, TIMELINE, Lsn(4096), b"two", history=b"", mark=None)


def test_a_stored_segment_that_is_damaged_acknowledges_nothing(store: Store, repository: Repository) -> None:
    """The same segment again is success only if the stored one can be read back."""
    repository.put_wal_segment(CLUSTER, SEGMENT, wal_bytes(), history=b"", mark=None)
    (piece,) = repository.wal_pieces(CLUSTER)
    data = bytearray(store.get(piece.name))
    data[-40] ^= 1
    store.delete(piece.name)
    store.put_if_absent(piece.name, bytes(data))

    with pytest.raises(errors.Damaged, match="RP005"):
        repository.put_wal_segment(CLUSTER, SEGMENT, wal_bytes(), history=b"", mark=None)


def test_ranges_are_deleted_and_segments_are_not(repository: Repository) -> None:
    """A range that a segment replaced goes, twice is no error; a segment is refused."""
    fill(repository)
    segment, piece = repository.wal_pieces(CLUSTER)

    repository.delete_wal_range(CLUSTER, piece)
    repository.delete_wal_range(CLUSTER, piece)
    with pytest.raises(ValueError, match="expected a range"):
        repository.delete_wal_range(CLUSTER, segment)

    assert repository.wal_pieces(CLUSTER) == (segment,)


@pytest.mark.parametrize("size", [MEBIBYTE, 16 * MEBIBYTE, 1024 * MEBIBYTE])
def test_names_carry_positions_for_every_segment_size(size: int) -> None:
    """A listing alone tells where a segment lies, whatever wal_segment_size is."""
    store = MemoryStore()
    repository = make_repository(store, None)
    segment = replace(SEGMENT, number=5, size=size)
    megabytes = size // MEBIBYTE
    repository.put_wal_range(CLUSTER, TIMELINE, Lsn(0), b"x", history=b"", mark=None)
    folder = next(iter(store.list("tmp/wal/"))).removeprefix("tmp/").rpartition("/")[0]
    store.put_if_absent(f"{folder}/{segment.name}.{megabytes}MB", b"")

    assert repository.wal_pieces(CLUSTER)[1] == WalPiece(
        timeline=TIMELINE,
        start=segment.start,
        end=segment.end,
        name=f"{folder}/{segment.name}.{megabytes}MB",
        is_partial=False,
    )


def test_foreign_names_are_no_wal(store: Store, repository: Repository) -> None:
    """Whatever else lies there is not taken for WAL."""
    for leaf in ("README", "00000001-x/000000010000000000000001.16MB", f"{'0' * 8}-{'a' * 32}/x"):
        store.put_if_absent(f"wal/{CLUSTER}/{leaf}", b"")

    assert repository.wal_pieces(CLUSTER) == ()


def test_bad_wal_is_refused(repository: Repository) -> None:
    """Short segments, empty ranges and clusters that are no number are mistakes of the caller."""
    with pytest.raises(ValueError, match="expected 1048576"):
        repository.put_wal_segment(CLUSTER, SEGMENT, b"short", history=b"", mark=None)
    with pytest.raises(ValueError, match="empty range"):
        repository.put_wal_range(CLUSTER, TIMELINE, Lsn(0), b"", history=b"", mark=None)
    with pytest.raises(ValueError, match="system identifier"):
        repository.wal_pieces("../../etc")


def test_a_history_is_kept_and_its_timeline_has_no_other(repository: Repository) -> None:
    """Absent is None, the same again is success, another one is RP007, also before any WAL of it is put."""
    second = TimelineId(2)
    assert repository.read_history(CLUSTER, second) is None
    repository.put_history(CLUSTER, second, HISTORY)
    repository.put_history(CLUSTER, second, HISTORY)

    with pytest.raises(errors.Damaged, match="RP007"):
        repository.put_history(CLUSTER, second, OTHER_HISTORY)
    with pytest.raises(errors.Damaged, match="RP007"):
        repository.put_wal_range(CLUSTER, second, Lsn(0), b"x", history=OTHER_HISTORY, mark=None)
    repository.put_wal_range(CLUSTER, second, Lsn(0), b"x", history=HISTORY, mark=None)

    assert repository.read_history(CLUSTER, second) == HISTORY


def test_two_servers_that_share_a_timeline_number_are_not_mixed(store: Store, passphrase: Secret | None) -> None:
    """When both arrive at once both are kept under names of their own, and readers refuse instead of mixing."""
    first, second = make_repository(store, passphrase), open_repository(store, passphrase)
    second._wal._require_only_lineage = lambda *_: None  # type: ignore[method-assign] - it looked before the other put
    first.put_wal_range(CLUSTER, TimelineId(2), Lsn(0), b"one", history=HISTORY, mark=None)
    second.put_wal_range(CLUSTER, TimelineId(2), Lsn(0), b"two", history=OTHER_HISTORY, mark=None)

    with pytest.raises(errors.Damaged, match="RP007"):
        first.wal_pieces(CLUSTER)


# Records.


def test_records_stay_in_order(store: Store, passphrase: Secret | None) -> None:
    """Also when the clock stands still or is set back while the process runs; kinds keep apart."""
    instants = iter([NOON, NOON, NOON - timedelta(hours=1), NOON])
    make_repository(store, passphrase)
    repository = open_repository(store, passphrase, clock=lambda: next(instants))
    for number in range(3):
        repository.append_record("drill", {"number": number, "text": "é"})
    repository.append_record("proof", {})

    assert repository.records("drill") == tuple({"number": number, "text": "é"} for number in range(3))
    assert repository.records("proof") == ({},)
    assert repository.records("other") == ()


def test_marks_keep_their_instant(repository: Repository) -> None:
    """To the microsecond, with zone."""
    mark = Mark(lsn=Lsn(77), clock=NOON + timedelta(microseconds=1))
    repository.put_wal_range(CLUSTER, TIMELINE, Lsn(0), b"x", history=b"", mark=mark)

    assert repository.read_mark(CLUSTER, repository.wal_pieces(CLUSTER)[0]) == mark

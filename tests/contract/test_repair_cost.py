"""What a repair reads: as many bytes as its plan says, in few requests, told as it goes; and nothing without bound."""

from __future__ import annotations

import random

import pytest

from repository_samples import CHEAP, MEBIBYTE, PASSPHRASE, back_up, make_repository, read_files
from rewriting import opened_again
from safepoint.model.backup import BackupManifest
from safepoint.model.secret import Secret
from safepoint.repository import Repository, create_repository
from safepoint.repository.care import repair as repairing
from safepoint.repository.care.copy import copy
from safepoint.repository.care.progress import Progress
from safepoint.repository.care.repair import RepairKind, plan_repair, repair
from safepoint.repository.care.repair_exchange import exchange_actions
from safepoint.repository.care.repair_values import RepairAction, RepairScope
from safepoint.repository.commit.leases import list_packs
from safepoint.repository.names import pack_name
from safepoint.repository.opening import open_keys
from safepoint.repository.packs.pack import BlobKind, read_table
from safepoint.repository.sealing.objects import LARGEST_BODY
from safepoint.repository.sealing.seal import Kind
from safepoint.stores.memory import MemoryStore
from safepoint.stores.metering import Meter, MeteredStore

SIZE = 3 * MEBIBYTE
SMALL_FILES = 200


@pytest.fixture
def repository() -> Repository:
    """One backup of a relation and of many small files."""
    return make_repository(MemoryStore())


@pytest.fixture
def manifest(repository: Repository) -> BackupManifest:
    """The backup."""
    source = random.Random(5)
    small = {f"base/5/{number}": source.randbytes(900) for number in range(SMALL_FILES)}
    return back_up(repository, {**small, "base/5/relation": source.randbytes(SIZE)})


def metered_copy(repository: Repository, *, is_sibling: bool) -> tuple[Repository, Meter]:
    """Another repository with the same backups, and what is asked of it from now on."""
    opened = open_keys(repository.store, PASSPHRASE) if is_sibling else None
    made = create_repository(MemoryStore(), Secret("another's own"), cost=CHEAP, sibling_of=opened)
    copy(repository, made)
    meter = Meter()
    return opened_again(made, MeteredStore(made.store, meter)), meter


def lose_data(repository: Repository) -> int:
    """All packs with file content are gone; how many bytes their blobs took."""
    lost = 0
    for pack in list_packs(repository.store):
        contents = read_table(repository.store, repository.keyring, pack)
        if contents.entries["kind"][0] == BlobKind.DATA:
            repository.store.delete(pack_name(pack))
            lost += contents.stored_bytes
    return lost


@pytest.mark.parametrize("is_sibling", [True, False])
def test_what_a_copy_gives_costs_about_its_bytes_in_few_requests(
    repository: Repository, manifest: BackupManifest, *, is_sibling: bool
) -> None:
    """Three MiB and 200 small files come by some dozen range reads, not by one for each page or file."""
    files = read_files(repository, manifest)
    other, meter = metered_copy(repository, is_sibling=is_sibling)
    lost = lose_data(repository)

    done = repair(opened_again(repository), copies=[other])

    usage = meter.usage()
    assert done.unrepaired == ()
    assert sum(usage.calls.values()) < 60
    assert usage.bytes_got < 2 * lost  # 1.2 to 1.7, by the order in which the copy's random names lay packs
    assert read_files(opened_again(repository), manifest) == files


def test_the_plan_tells_the_bytes_and_the_work_its_progress_in_them(
    repository: Repository, manifest: BackupManifest
) -> None:
    """What is to be read is the stored size of the blobs that backups need; the last word says that all was read."""
    assert manifest.raw_bytes > SIZE
    other, _ = metered_copy(repository, is_sibling=False)
    lost = lose_data(repository)
    told: list[Progress] = []

    plan = plan_repair(repository, copies=[other])
    repair(repository, plan, report=told.append)

    assert 0.99 * lost < plan.read_bytes < lost
    told_bytes = [progress.done for progress in told if progress.unit == "bytes"]
    assert told_bytes[-1] == plan.read_bytes
    assert len(told_bytes) > SMALL_FILES


def test_a_plan_is_carried_out_as_it_is(
    repository: Repository, manifest: BackupManifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever was shown a plan does not wait for another: the backups are walked once, and the result is whole."""
    files = read_files(repository, manifest)
    other, _ = metered_copy(repository, is_sibling=True)
    lose_data(repository)
    plan = plan_repair(repository, copies=[other])
    monkeypatch.delattr(repairing, "find_losses")
    monkeypatch.delattr(repairing, "survey_manifests")

    done = repair(repository, plan)

    assert done.actions == plan.actions
    assert read_files(opened_again(repository), manifest) == files


class EndlessStore(MemoryStore):
    """Says of one object that it never ends; a byte more than any of its kind has may be read of it, and no more."""

    def __init__(self, inner: MemoryStore, name: str, most: int) -> None:
        super().__init__()
        for each in inner.list(""):
            self.put_if_absent(each, inner.get(each))
        self.name = name
        self.most = most

    def get(self, name: str) -> bytes:
        """No whole object of this name fits into memory."""
        assert name != self.name
        return super().get(name)

    def get_range(self, name: str, offset: int, length: int) -> bytes:
        """As much as is asked for, if that is not too much."""
        if name != self.name:
            return super().get_range(name, offset, length)
        assert length <= self.most
        return bytes(length)

    def size(self, name: str) -> int:
        """Ten gigabytes."""
        return 10**10 if name == self.name else super().size(name)


def test_an_endless_object_is_read_to_the_bound_of_its_kind(repository: Repository, manifest: BackupManifest) -> None:
    """In place of a manifest lies what does not fit into memory: it counts as damaged, and a sibling's takes its place.

    The same for a record, which is exchanged, and for one in the sibling, which is not taken.
    """
    repository.append_record("drill", {"database": "shop"})
    other, _ = metered_copy(repository, is_sibling=True)
    (name,) = repository.store.list("backups/")
    (record,) = (name for name in repository.store.list("records/") if "/drill/" in name)
    assert isinstance(repository.store, MemoryStore)
    broken = EndlessStore(repository.store, name, LARGEST_BODY[Kind.MANIFEST] + 2 * MEBIBYTE)
    small = EndlessStore(repository.store, record, LARGEST_BODY[Kind.RECORD] + 2 * MEBIBYTE)

    plan = plan_repair(opened_again(repository, broken), copies=[other])
    actions = list(exchange_actions(RepairScope.of(opened_again(repository, small), [other], {record})))
    nothing = list(exchange_actions(RepairScope.of(other, [opened_again(repository, small)], {record})))

    assert [action.kind for action in plan.actions] == [RepairKind.EXCHANGE]
    assert [action.sources for action in actions if isinstance(action, RepairAction)] == [(other.id,)]
    assert nothing == []
    assert manifest.id in {held.id for held in other.backups()}

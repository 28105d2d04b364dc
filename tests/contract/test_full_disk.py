"""A disk without any room: backups are given up and collected all the same, out of what was kept for that."""

from __future__ import annotations

import pytest

from repository_samples import back_up, make_repository, read_files, sample_files
from rewriting import opened_again
from safepoint import errors
from safepoint.repository import Repository
from safepoint.repository.care.collect import collect
from safepoint.repository.commit.leases import list_packs
from safepoint.repository.names import RESERVE_PREFIX
from safepoint.repository.reserve import keep_reserve, with_room
from safepoint.stores import MemoryStore
from safepoint.stores.port import Data

_BLOCK = 4096


class _Disk(MemoryStore):
    """Objects take whole blocks, of which there are so many more."""

    free: int | None = None

    def put_if_absent(self, name: str, data: Data, *, durable: bool = True) -> bool:
        blocks = _blocks(len(data))
        if self.free is not None and name not in self.list(name) and blocks > self.free:
            raise errors.ST002.error("found too few blocks free, expected more", changed="nothing was stored")
        is_new = super().put_if_absent(name, data, durable=durable)
        if self.free is not None and is_new:
            self.free -= blocks
        return is_new

    def delete(self, name: str) -> None:
        freed = _blocks(self.size(name))
        super().delete(name)
        if self.free is not None:
            self.free += freed


def _blocks(size: int) -> int:
    return -(-size // _BLOCK)


@pytest.fixture
def disk() -> _Disk:
    return _Disk()


@pytest.fixture
def repository(disk: _Disk) -> Repository:
    """Two backups that share nothing; then the disk is full."""
    found = make_repository(disk)
    for number in (1, 2):
        back_up(found, sample_files(number), f"b{number}", age=3 - number)
    disk.free = 0
    return opened_again(found)


def test_a_full_disk_is_freed(disk: _Disk, repository: Repository) -> None:
    """Expiry, then collection, each out of the reserve alone; which is there again afterwards, for the next time."""
    before = len(list_packs(disk))

    with_room(disk, lambda: repository.expire_backup("b1", reason="full"))
    done = collect(repository)

    assert done.deleted_packs == before - len(list_packs(disk)) > 0
    assert len(list(disk.list(RESERVE_PREFIX))) == 16
    again = opened_again(repository)
    assert [manifest.id for manifest in again.backups()] == ["b2"]
    assert read_files(again, again.backup("b2")) == sample_files(2)


def test_without_a_reserve_it_is_said_how_little_suffices(disk: _Disk, repository: Repository) -> None:
    """ST002; nothing has changed."""
    for name in list(disk.list(RESERVE_PREFIX)):
        MemoryStore.delete(disk, name)

    with pytest.raises(errors.SafepointError) as caught:
        with_room(disk, lambda: repository.expire_backup("b1", reason="full"))

    assert caught.value.spec is errors.ST002
    assert "64 KiB suffice" in caught.value.hints[0].text
    assert [manifest.id for manifest in opened_again(repository).backups()] == ["b1", "b2"]


def test_many_packs_go_in_two_steps(disk: _Disk, repository: Repository) -> None:
    """The names of all would need more room than is kept: some go first, and make it."""
    for number in range(4000):
        pack = number.to_bytes(22, "big") + bytes(8) + b"\0\1"
        MemoryStore.put_if_absent(disk, f"packs/{pack.hex()[:2]}/{pack.hex()}", bytes(_BLOCK))
    disk.free = 0

    assert collect(repository).deleted_packs == 4000
    assert len(opened_again(repository).backups()) == 2


def test_a_reserve_is_kept_once(disk: _Disk) -> None:
    """What is there is left alone, and where there is too little room, less is kept."""
    disk.free = 20
    keep_reserve(disk)
    first = {name: disk.get(name) for name in disk.list(RESERVE_PREFIX)}
    keep_reserve(disk)
    other = _Disk()
    other.free = 3
    keep_reserve(other)

    assert {name: disk.get(name) for name in disk.list(RESERVE_PREFIX)} == first
    assert len(list(other.list(RESERVE_PREFIX))) == 3


def test_other_errors_touch_no_reserve(disk: _Disk) -> None:
    """Only a lack of room is made up for."""
    keep_reserve(disk)

    def refuse() -> None:
        raise errors.ST001.error("found no store, expected one")

    with pytest.raises(errors.SafepointError, match="ST001"):
        with_room(disk, refuse)
    assert len(list(disk.list(RESERVE_PREFIX))) == 16

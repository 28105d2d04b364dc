"""Indexes made anew from packs: for packs that no index lists, and in the place of indexes that do not open.

What a lost index said of replaced packs is lost with it. References to packs that are gone are then led anew (see
`care/refill.py`); a replaced pack that is still there is simply needed again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Generator

from safepoint import errors
from safepoint.repository.care.repair_values import RepairAction, RepairKind
from safepoint.repository.care.sound_objects import fetch_pack
from safepoint.repository.commit.lease_objects import open_tags, tag_in
from safepoint.repository.commit.leases import HeldLease, begin_lease, list_packs
from safepoint.repository.names import pack_name
from safepoint.repository.packs.index import EVERY_CLUSTER, put_indexes, read_index, survey_indexes
from safepoint.repository.packs.pack import PackContents, read_table
from safepoint.repository.repository import Repository
from safepoint.stores.port import NotFound


def index_actions(repository: Repository, gone: Collection[str] = ()) -> list[RepairAction]:
    """What `rebuild_indexes` would do now."""
    return _actions(*_unlisted(repository), gone)


def rebuild_indexes(repository: Repository, gone: Collection[str] = ()) -> list[RepairAction]:
    """Every sound pack is listed, durably, and no index that does not open, or is `gone`, counts any more.

    Packs that a collection is about to delete are not listed: what it spares is left to the next run. The others are
    put once more, as they are: an index must not name what a power cut may yet take.

    Killed before the last put: some packs are listed twice. After it: what does not open is superseded.
    """
    contents, broken = _unlisted(repository)
    with _lease(repository) if contents else contextlib.nullcontext() as lease:
        if lease is not None:
            contents = [pack for pack in contents if lease.is_usable(pack.pack) and _is_put(repository, lease, pack)]
            repository.store.barrier()
        if contents or broken:
            put_indexes(repository.store, repository.keyring, EVERY_CLUSTER, contents, broken)
    for name in (*broken, *gone):
        with contextlib.suppress(NotFound):
            repository.store.delete(name)
    if contents or broken or gone:
        repository.store.barrier()
    return _actions(contents, broken, gone)


@contextlib.contextmanager
def _lease(repository: Repository) -> Generator[HeldLease]:
    """What is usable under it cannot be deleted while its bytes are put again."""
    lease = begin_lease(repository.store, repository.keyring, purpose="repair", database="", clock=repository.clock)
    try:
        yield lease
    finally:
        with contextlib.suppress(NotFound, errors.SafepointError):
            lease.abandon()


def _is_put(repository: Repository, lease: HeldLease, pack: PackContents) -> bool:
    """Whether the pack is there, durably after the next barrier: who put it may have been killed before a sync."""
    lease.renew()
    try:
        data = fetch_pack(repository, pack.pack)
    except errors.Damaged:  # gone, or larger than any pack by now
        return False
    repository.store.put_if_absent(pack_name(pack.pack), data, durable=False)
    return True


def _actions(contents: list[PackContents], broken: list[str], gone: Collection[str]) -> list[RepairAction]:
    if not contents and not broken and not gone:
        return []
    text = f"list {len(contents)} packs that no index lists; {len(broken)} indexes do not open, {len(gone)} are gone"
    names = tuple(pack_name(pack.pack) for pack in contents)
    size = sum(pack.stored_bytes for pack in contents)
    return [RepairAction(kind=RepairKind.INDEX, objects=(*broken, *gone, *names), text=text, read_bytes=size)]


def _unlisted(repository: Repository) -> tuple[list[PackContents], list[str]]:
    """What is in packs that no index lists, but for those of writers at work; and the indexes that do not open."""
    store, keyring = repository.store, repository.keyring
    busy = open_tags(store)
    survey = survey_indexes(store, keyring)
    stored, listed, broken = list_packs(store), set[bytes](), list[str]()
    for name in survey.current():
        try:
            listed |= {contents.pack for contents in read_index(store, keyring, name).packs}
        except errors.Damaged:
            broken.append(name)
    found: list[PackContents] = []
    for pack in sorted(pack for pack in stored - listed if tag_in(pack) not in busy):
        with contextlib.suppress(errors.Damaged):
            found.append(read_table(store, keyring, pack))
    return found, broken

"""What indexes say of replaced packs: when it counts, where it leads, and that a collection's upkeep keeps it."""

from __future__ import annotations

import pytest

from repository_samples import CLUSTER, make_repository
from rewriting import History, collect_garbage, copy_of, must_hold, opened_again, write_history
from safepoint import errors
from safepoint.model.backup import BlobRef
from safepoint.repository import Repository
from safepoint.repository.care.rewrite import plan_repack, repack
from safepoint.repository.commit.lease_objects import End, Outcome, seal_end
from safepoint.repository.commit.leases import list_packs
from safepoint.repository.commit.tombstones import decide, new_set_id
from safepoint.repository.names import begin_name, end_name
from safepoint.repository.packs import index as indexes
from safepoint.repository.packs.index import put_index, read_index, read_index_facts
from safepoint.repository.packs.index_upkeep import drop_packs
from safepoint.repository.packs.pack import ENTRY, PackContents
from safepoint.repository.packs.replacements import Replacements, read_replacements
from safepoint.repository.sealing import objects
from safepoint.repository.sealing.seal import HEADER_BYTES, Keyring, Kind
from safepoint.stores.memory import MemoryStore

KEYRING = Keyring(family=bytes(16), masters={1: bytes(range(32))}, is_encrypted=False)
LEASE = "20260301T120000Z-0123456789abcdef"
OLD, NEW, NEWER, OTHER = (bytes([number]) * 32 for number in range(1, 5))
X, Y = b"x" * 32, b"y" * 32


@pytest.fixture
def store() -> MemoryStore:
    """An empty one."""
    return MemoryStore()


def pack_of(pack: bytes, *blobs: bytes) -> PackContents:
    """A pack that holds these blobs, 20 bytes each."""
    rows = b"".join(
        identity + (HEADER_BYTES + 20 * number).to_bytes(4) + (20).to_bytes(4) + (3).to_bytes(4) + b"\0"
        for number, identity in enumerate(blobs)
    )
    assert len(rows) == len(blobs) * ENTRY.itemsize
    return PackContents(pack=pack, table=rows)


def ref(identity: bytes, pack: bytes) -> BlobRef:
    """A reference as a backup has it."""
    return BlobRef(id=identity, pack=pack, offset=HEADER_BYTES, length=20, raw_length=3)


def places(found: Replacements, of: BlobRef, *stored: bytes) -> set[bytes]:
    """What must be kept when these packs are stored."""
    return set(found.places(of, set(stored).__contains__))


def end(store: MemoryStore, outcome: Outcome, manifest: str | None = None) -> None:
    """The lease ends so."""
    digest = None if manifest is None else "00" * 32
    sealed = seal_end(KEYRING, LEASE, End(outcome=outcome, manifest=manifest, digest=digest))
    store.put_if_absent(end_name(LEASE), sealed)


def test_a_blob_is_needed_where_it_was_moved_and_the_others_where_they_were(store: MemoryStore) -> None:
    """Blob by blob, and only as long as the new pack is there."""
    put_index(store, KEYRING, CLUSTER, [pack_of(NEW, X)], replaces=[OLD])

    found = read_replacements(store, KEYRING)

    assert found.packs == {OLD}
    assert places(found, ref(X, OLD), OLD, NEW) == {NEW}
    assert places(found, ref(Y, OLD), OLD, NEW) == {OLD}
    assert places(found, ref(X, OLD), OLD) == {OLD}
    assert places(found, ref(X, OLD)) == set()
    assert places(found, ref(X, OTHER), OTHER, NEW) == {OTHER}


def test_chains_are_followed_to_their_ends(store: MemoryStore) -> None:
    """Through a pack that is gone by now; of two that replaced one pack at the same time, both are kept."""
    put_index(store, KEYRING, CLUSTER, [pack_of(NEW, X)], replaces=[OLD])
    put_index(store, KEYRING, CLUSTER, [pack_of(NEWER, X)], replaces=[NEW])
    put_index(store, KEYRING, CLUSTER, [pack_of(OTHER, X)], replaces=[OLD])

    found = read_replacements(store, KEYRING)

    assert places(found, ref(X, OLD), OLD, NEW, NEWER) == {NEWER}
    assert places(found, ref(X, OLD), NEWER, OTHER) == {NEWER, OTHER}
    assert found.replaced_into() == {NEW: {OLD}, NEWER: {NEW}, OTHER: {OLD}}


def test_a_circle_ends(store: MemoryStore) -> None:
    """No writer makes one; whoever forges one gets an answer."""
    put_index(store, KEYRING, CLUSTER, [pack_of(NEW, X)], replaces=[OLD])
    put_index(store, KEYRING, CLUSTER, [pack_of(OLD, X)], replaces=[NEW])

    assert places(read_replacements(store, KEYRING), ref(X, OLD), OLD, NEW) == {NEW}


@pytest.mark.parametrize(
    ("outcome", "names_it", "counts"),
    [
        (None, False, False),
        (Outcome.COMMITTED, False, True),
        (Outcome.ABANDONED, True, True),
        (Outcome.ABANDONED, False, False),
        (Outcome.REVOKED, False, False),
    ],
)
def test_it_counts_when_the_lease_ended_well(
    store: MemoryStore, outcome: Outcome | None, names_it: bool, counts: bool
) -> None:
    """With a backup, or with this index; not while the lease is open, and not when it was revoked or given up."""
    name = put_index(store, KEYRING, CLUSTER, [pack_of(NEW, X)], replaces=[OLD], lease=LEASE)
    if outcome is not None:
        end(store, outcome, name if names_it else "backups/1/m" if outcome is Outcome.COMMITTED else None)

    assert (OLD in read_replacements(store, KEYRING).packs) is counts


def test_a_replacement_whose_lease_is_hidden_is_unknown(store: MemoryStore) -> None:
    """Leases are never deleted: without a begin it may have ended well; with one it is open, and does not count."""
    name = put_index(store, KEYRING, CLUSTER, [pack_of(NEW, X)], replaces=[OLD], lease=LEASE)

    assert read_replacements(store, KEYRING).unreadable == (name,)

    store.put_if_absent(begin_name(LEASE), b"")
    found = read_replacements(store, KEYRING)
    assert (found.unreadable, found.packs) == ((), frozenset())


def test_what_cannot_be_read_is_named(store: MemoryStore) -> None:
    """A damaged end, or a damaged index: unknown is not none."""
    name = put_index(store, KEYRING, CLUSTER, [pack_of(NEW, X)], replaces=[OLD], lease=LEASE)
    store.put_if_absent(end_name(LEASE), b"damaged")
    store.put_if_absent("indexes/" + "0" * 32, b"damaged")

    assert read_replacements(store, KEYRING).unreadable == tuple(sorted([name, "indexes/" + "0" * 32]))


def test_upkeep_keeps_what_replaces(store: MemoryStore) -> None:
    """Of an index that loses one of its packs, the rest goes on to its successor, and counts without a lease."""
    name = put_index(store, KEYRING, CLUSTER, [pack_of(NEW, X), pack_of(NEWER, Y)], replaces=[OLD], lease=LEASE)
    end(store, Outcome.ABANDONED, name)

    drop_packs(store, KEYRING, {NEW})

    (left,) = store.list("indexes/")
    index = read_index(store, KEYRING, left)
    assert [pack.pack for pack in index.packs] == [NEWER]
    assert (index.replaces, index.lease, index.supersedes) == ((OLD.hex(),), None, (name,))
    assert read_replacements(store, KEYRING).packs == {OLD}


def test_upkeep_drops_what_lists_only_what_is_gone(store: MemoryStore) -> None:
    """And leaves the others untouched."""
    put_index(store, KEYRING, CLUSTER, [pack_of(NEW, X)])
    other = put_index(store, KEYRING, CLUSTER, [pack_of(OTHER, Y)])

    drop_packs(store, KEYRING, {NEW, NEWER})

    assert list(store.list("indexes/")) == [other]


def test_upkeep_keeps_the_link_of_a_chain_until_a_later_index_says_it_all(store: MemoryStore) -> None:
    """A pack that is gone stays listed as long as nothing else leads from what it replaced to where that lies now."""
    put_index(store, KEYRING, CLUSTER, [pack_of(NEW, X)], replaces=[OLD])
    put_index(store, KEYRING, CLUSTER, [pack_of(NEWER, X)], replaces=[NEW])
    decide(store, KEYRING, new_set_id(KEYRING), {NEW})

    drop_packs(store, KEYRING, {NEW})

    assert places(read_replacements(store, KEYRING), ref(X, OLD), NEWER) == {NEWER}
    earlier = read_replacements(store, KEYRING).earlier([NEWER])
    assert earlier == {NEW, OLD}
    put_index(store, KEYRING, CLUSTER, [pack_of(OTHER, X)], replaces={NEWER, *earlier})
    drop_packs(store, KEYRING, {NEWER})
    drop_packs(store, KEYRING, frozenset())
    listed = {pack.pack for name in store.list("indexes/") for pack in read_index(store, KEYRING, name).packs}
    assert NEW not in listed
    assert places(read_replacements(store, KEYRING), ref(X, OLD), OTHER) == {OTHER}


def test_upkeep_leaves_an_open_lease_alone(store: MemoryStore) -> None:
    """It is not decided yet what its index says."""
    name = put_index(store, KEYRING, CLUSTER, [pack_of(NEW, X), pack_of(OTHER, Y)], replaces=[OLD], lease=LEASE)

    drop_packs(store, KEYRING, {NEW})

    assert list(store.list("indexes/")) == [name]


def test_too_many_replaced_packs_are_refused(store: MemoryStore) -> None:
    """So that facts stay as short as their readers allow."""
    with pytest.raises(ValueError, match="replaced packs"):
        put_index(store, KEYRING, CLUSTER, [], replaces=[bytes(32)] * (indexes.MOST_REPLACED + 1))


@pytest.mark.parametrize(
    "wrong", [{"replaces": ["00"]}, {"replaces": [1]}, {"replaces": "00"}, {"lease": 1}, {"strange": 1}]
)
def test_facts_of_another_shape_are_refused(store: MemoryStore, wrong: dict[str, object]) -> None:
    """RP005: the seal holds, what it encloses is no index of this format."""
    name = "indexes/" + "1" * 32
    facts = {"cluster": "1", "packs": 0, "blobs": 0, "supersedes": [], **wrong}
    store.put_if_absent(name, objects.seal_object(KEYRING, Kind.INDEX, name, b"", facts))  # type: ignore[arg-type]

    with pytest.raises(errors.Damaged, match="RP005"):
        read_index_facts(store, KEYRING, name)


def repacked() -> tuple[Repository, MemoryStore, History]:
    """A repository whose packs were all rewritten, and the old ones collected; a copy of its store before that."""
    repository = make_repository(MemoryStore())
    history = write_history(repository, 2)
    before = copy_of(repository.store)
    repack(repository, plan_repack(repository, least_share=1.1))
    assert collect_garbage(repository).deleted_packs
    must_hold(repository, history)
    return repository, before, history


@pytest.mark.parametrize("hidden", ["indexes", "rolled back indexes", "ends", "leases"])
def test_hidden_replacements_cost_no_pack(hidden: str) -> None:
    """Indexes deleted or rolled back, the rewriter's end or lease hidden: RP011, also for the aged and by force.

    Nothing is written, so that what was hidden can be put back, and all is whole.
    """
    repository, before, history = repacked()
    store, packs = repository.store, list_packs(repository.store)
    old = {*before.list("")}
    lost = {
        "indexes": [*store.list("indexes/")],
        "rolled back indexes": [name for name in store.list("indexes/") if name not in old],
        "ends": [name for name in store.list("leases/") if name.endswith("/end") and name not in old],
        "leases": [name for name in store.list("leases/") if name not in old],
    }[hidden]
    kept = {name: store.get(name) for name in lost}
    for name in lost:
        store.delete(name)
    if hidden.startswith("rolled"):
        for name in before.list("indexes/"):
            store.put_if_absent(name, before.get(name))
    left = set(store.list(""))

    for force in (False, True):
        with pytest.raises((errors.Refused, errors.Damaged), match=r"RP011|RP004"):
            collect_garbage(opened_again(repository), force=force)

    assert (list_packs(store), set(store.list(""))) == (packs, left)
    for name, data in kept.items():
        store.put_if_absent(name, data)
    must_hold(repository, history)


def test_a_backup_that_only_the_journal_tells_of_can_be_given_up() -> None:
    """Its lease and manifest are gone: RP011 until it is expired by name, then collections go on."""
    repository = make_repository(MemoryStore())
    history = write_history(repository, 2)
    name = next(found.manifest for found in repository.backup_state().existing)
    gone = {repository.read_manifest(name).id}
    for each in [*repository.store.list(f"leases/{name.rpartition('/')[2]}/"), name]:
        repository.store.delete(each)

    with pytest.raises(errors.Refused, match=f"RP011: found {name} to be no backup and the journal"):
        collect_garbage(repository)
    repository.expire_backup(name, reason="lost")
    collect_garbage(repository)

    must_hold(repository, {backup: files for backup, files in history.items() if backup not in gone})

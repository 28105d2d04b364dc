"""Index objects: what is put is read, what supersedes counts, and what is damaged is named."""

from __future__ import annotations

import random
import secrets

import numpy as np
import pytest

from safepoint import errors
from safepoint.repository.packs import index
from safepoint.repository.packs.index import (
    EVERY_CLUSTER,
    current_indexes,
    put_index,
    put_indexes,
    read_index,
    read_index_facts,
    survey_indexes,
)
from safepoint.repository.packs.pack import ENTRY, PackContents
from safepoint.repository.sealing import objects
from safepoint.repository.sealing.seal import Keyring, Kind
from safepoint.stores import MemoryStore, Store
from safepoint.stores.port import NotFound

KEYRING = Keyring(family=b"index tests.....", masters={1: secrets.token_bytes(32)}, is_encrypted=True)
CLUSTER = "7345678901234567890"


def pack_of(blobs: int, seed: int) -> PackContents:
    """Random ids one behind the other."""
    source = random.Random(seed)
    entries = np.zeros(blobs, ENTRY)
    entries["id"] = np.frombuffer(source.randbytes(32 * blobs), "V32")
    entries["offset"] = 48 + 1000 * np.arange(blobs)
    entries["length"] = 1000
    entries["raw_length"] = 8192
    return PackContents(pack=source.randbytes(32), table=entries.tobytes())


def put_raw(store: Store, body: bytes, facts: dict[str, object]) -> str:
    """An index object that says whatever one likes, sealed as it should be."""
    name = index.INDEXES_PREFIX + secrets.token_hex(16)
    assert store.put_if_absent(name, objects.seal_object(KEYRING, Kind.INDEX, name, body, facts))  # type: ignore[arg-type]
    return name


def replace(store: Store, name: str, data: bytes) -> None:
    """As a failing disk would."""
    store.delete(name)
    assert store.put_if_absent(name, data)


def flip(store: Store, name: str, at: int) -> None:
    """One bit of the object is another."""
    data = bytearray(store.get(name))
    data[at] ^= 1
    replace(store, name, bytes(data))


def facts_for(*contents: PackContents, **changed: object) -> dict[str, object]:
    """What an index of these packs says of itself, but for what is changed."""
    blobs = sum(map(len, contents))
    return {"cluster": CLUSTER, "packs": len(contents), "blobs": blobs, "supersedes": [], **changed}


def test_an_index_is_read_as_it_was_put(store: Store) -> None:
    """Packs, blobs, cluster and what it supersedes come back from every kind of store."""
    contents = [pack_of(3, 1), pack_of(0, 2), pack_of(500, 3)]
    first = put_index(store, KEYRING, CLUSTER, contents[:1])
    name = put_index(store, KEYRING, CLUSTER, contents, [first])
    found = read_index(store, KEYRING, name)
    assert (found.name, found.cluster, found.supersedes, found.packs) == (name, CLUSTER, (first,), tuple(contents))
    assert read_index_facts(store, KEYRING, name).blobs == 503
    assert current_indexes(store, KEYRING) == (name,)


def test_many_packs_become_several_objects() -> None:
    """No object lists more packs or blobs than the limit, and together they list each pack once, in order."""
    store = MemoryStore()
    contents = [pack_of(1, seed) for seed in range(index.MOST_PACKS + 1)]
    names = put_indexes(store, KEYRING, CLUSTER, contents)
    listed = [pack for name in names for pack in read_index(store, KEYRING, name).packs]
    assert len(names) == 2
    assert listed == contents
    with pytest.raises(ValueError, match="expected 256"):
        put_index(store, KEYRING, CLUSTER, contents)


def test_of_several_objects_only_the_last_supersedes() -> None:
    """Killed between the puts, what was listed before is still listed by a current index."""
    store = MemoryStore()
    old = put_index(store, KEYRING, CLUSTER, [pack_of(1, 0)])
    names = put_indexes(store, KEYRING, CLUSTER, [pack_of(1, seed) for seed in range(index.MOST_PACKS + 1)], [old])
    assert [read_index_facts(store, KEYRING, name).supersedes for name in names] == [(), (old,)]
    store.delete(names[-1])
    assert current_indexes(store, KEYRING) == tuple(sorted([old, names[0]]))


def test_two_may_supersede_one_and_both_count() -> None:
    """Two collectors rewrote the same index: both results are current, the old one is not."""
    store = MemoryStore()
    old = put_index(store, KEYRING, CLUSTER, [pack_of(2, 1)])
    both = [put_index(store, KEYRING, CLUSTER, [pack_of(2, 1)], [old]) for _ in range(2)]
    assert current_indexes(store, KEYRING) == tuple(sorted(both))


def test_superseding_reaches_through_what_is_superseded() -> None:
    """The oldest stays superseded though the one that superseded it is superseded too."""
    store = MemoryStore()
    names = [put_index(store, KEYRING, CLUSTER, [])]
    for _ in range(3):
        names.append(put_index(store, KEYRING, CLUSTER, [], names[-1:]))
    assert current_indexes(store, KEYRING) == (names[-1],)


def test_a_cycle_hides_nothing() -> None:
    """Indexes that supersede each other, or themselves, and what only they supersede stay current."""
    store = MemoryStore()
    victim = put_index(store, KEYRING, CLUSTER, [])
    names = [index.INDEXES_PREFIX + secrets.token_hex(16) for _ in range(3)]
    for name, target in zip(names, [names[1], names[0], names[2]], strict=True):
        facts = facts_for(supersedes=[target, *([victim] if name == names[0] else [])])
        assert store.put_if_absent(name, objects.seal_object(KEYRING, Kind.INDEX, name, b"", facts))  # type: ignore[arg-type]
    assert current_indexes(store, KEYRING) == tuple(sorted([victim, *names]))


def test_a_damaged_index_is_current_and_supersedes_nothing() -> None:
    """Nobody knows what it said: it is listed, reading it is RP005, and what it superseded counts again."""
    store = MemoryStore()
    old = put_index(store, KEYRING, CLUSTER, [pack_of(2, 1)])
    name = put_index(store, KEYRING, CLUSTER, [pack_of(2, 1)], [old])
    flip(store, name, 70)
    assert current_indexes(store, KEYRING) == tuple(sorted([old, name]))
    assert set(survey_indexes(store, KEYRING).damaged) == {name}
    with pytest.raises(errors.Damaged, match=name) as caught:
        read_index(store, KEYRING, name)
    assert caught.value.spec is errors.RP005
    repaired = put_index(store, KEYRING, CLUSTER, [pack_of(2, 1)], [name])
    assert current_indexes(store, KEYRING) == tuple(sorted([old, repaired]))


@pytest.mark.parametrize("at", [0, 20, 60, 100, -1], ids=["magic", "salt", "lengths", "facts", "body"])
def test_one_flipped_bit_is_found(at: int) -> None:
    """Wherever it is."""
    store = MemoryStore()
    name = put_index(store, KEYRING, CLUSTER, [pack_of(9, 1)])
    flip(store, name, at)
    with pytest.raises(errors.Damaged, match="expected this repository's index"):
        read_index(store, KEYRING, name)


def test_a_missing_index_is_rp004() -> None:
    """Also for the facts alone."""
    name = index.INDEXES_PREFIX + "0" * 32
    for read in (read_index, read_index_facts):
        with pytest.raises(errors.Damaged) as caught:
            read(MemoryStore(), KEYRING, name)
        assert caught.value.spec is errors.RP004


def overlapping() -> bytes:
    """Two blobs, the second beginning within the first."""
    pack = pack_of(2, 1)
    entries = pack.entries.copy()
    entries["offset"][1] -= 1
    return index.encode([PackContents(pack=pack.pack, table=entries.tobytes())])


def odd(column: str, value: int) -> bytes:
    """One blob with such a value."""
    pack = pack_of(1, 1)
    entries = pack.entries.copy()
    entries[column] = value
    return index.encode([PackContents(pack=pack.pack, table=entries.tobytes())])


GOOD = index.encode([pack_of(2, 1)])
BODIES = {
    "cut short": GOOD[:-1],
    "one byte more": GOOD + b"\0",
    "a pack's head in part": GOOD + bytes(35),
    "a pack twice": GOOD + GOOD,
    "more blobs than bytes": GOOD[:32] + (3).to_bytes(4, "big") + GOOD[36:],
    "overlap": overlapping(),
    "blob in the header": odd("offset", 47),
    "blob shorter than its seal": odd("length", 16),
    "unknown kind": odd("kind", 2),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_a_body_of_another_shape_is_rp005(body: bytes) -> None:
    """Sealed by somebody who has the key, and still no index; the object is named."""
    store = MemoryStore()
    name = put_raw(store, body, facts_for(pack_of(2, 1)))
    with pytest.raises(errors.Damaged, match=name) as caught:
        read_index(store, KEYRING, name)
    assert caught.value.spec is errors.RP005


@pytest.mark.parametrize(
    "changed",
    [
        {"packs": 2},
        {"blobs": 1},
        {"packs": "1"},
        {"cluster": None},
        {"supersedes": "indexes/" + "0" * 32},
        {"supersedes": ["packs/00/00"]},
        {"supersedes": [7]},
    ],
    ids=str,
)
def test_facts_that_do_not_fit_are_rp005(changed: dict[str, object]) -> None:
    """Counts that are not the body's, values of another type, names that no index has."""
    store = MemoryStore()
    name = put_raw(store, GOOD, facts_for(pack_of(2, 1), **changed))
    with pytest.raises(errors.Damaged, match=name) as caught:
        read_index(store, KEYRING, name)
    assert caught.value.spec is errors.RP005


def test_contents_of_another_shape_are_not_put() -> None:
    """A short pack id, or a table that is cut, is a mistake of the caller."""
    pack = pack_of(1, 1)
    for wrong in (PackContents(pack=b"short", table=pack.table), PackContents(pack=pack.pack, table=pack.table[:-1])):
        with pytest.raises(ValueError, match="found a pack id"):
            put_index(MemoryStore(), KEYRING, EVERY_CLUSTER, [wrong])


class Vanishing(MemoryStore):
    """Between a listing and the first read, a collector supersedes an index and deletes it."""

    def __init__(self) -> None:
        super().__init__()
        self.old = ""
        self.new = ""

    def get_range(self, name: str, offset: int, length: int) -> bytes:
        if self.old and not self.new:
            self.new = put_index(self, KEYRING, CLUSTER, [pack_of(1, 2)], [self.old])
            self.delete(self.old)
        return super().get_range(name, offset, length)


def test_an_index_that_vanishes_leaves_its_successor() -> None:
    """The listing showed the old one only; the survey shows the new one only."""
    store = Vanishing()
    store.old = put_index(store, KEYRING, CLUSTER, [pack_of(1, 1)])
    survey = survey_indexes(store, KEYRING)
    assert survey.current() == (store.new,)
    assert not survey.damaged


class Ghostly(MemoryStore):
    """Lists for ever what was deleted."""

    def get_range(self, name: str, offset: int, length: int) -> bytes:
        del offset, length
        raise NotFound(name)


def test_a_listing_that_never_forgets_does_not_hold_the_survey_up() -> None:
    """What cannot be read twice is taken for gone."""
    store = Ghostly()
    put_index(store, KEYRING, CLUSTER, [])
    assert survey_indexes(store, KEYRING).current() == ()

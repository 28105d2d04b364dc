"""Every flipped, cut, missing, renamed or foreign byte in a repository is found when it is read."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from repository_samples import CLUSTER, PASSPHRASE, assert_proven, back_up, fill, make_repository, sample_files
from safepoint import errors
from safepoint.model.secret import Secret
from safepoint.repository import open_repository
from safepoint.repository.names import pack_name
from safepoint.repository.sealing.checked_json import from_checked_json, to_checked_json
from safepoint.stores import MemoryStore

_KINDS = {
    "data": "packs/",
    "nodes": "packs/",
    "index": "indexes/",
    "manifest": "backups/",
    "end": "leases/",
    "segment": f"wal/{CLUSTER}/00000001-",
    "history": f"wal/{CLUSTER}/00000002-",
    "range": "tmp/wal/",
    "record": "records/",
    "description": "safepoint.json",
    "key": "keys/",
}
_OPEN_KINDS = {kind: prefix for kind, prefix in _KINDS.items() if kind != "key"}
_CASES = [(kind, PASSPHRASE) for kind in _KINDS] + [(kind, None) for kind in _OPEN_KINDS]


class _Objects(dict[str, bytes]):
    """The objects of a store, and which of the packs holds nodes."""

    node_pack = ""


@cache
def _sample(passphrase: Secret | None, number: int = 0) -> _Objects:
    """The objects of a filled repository; another number, another repository."""
    del number
    store = MemoryStore()
    repository = make_repository(store, passphrase)
    found = _Objects()
    found.node_pack = pack_name(fill(repository).root.pack)
    found.update((name, store.get(name)) for name in store.list(""))
    return found


def _copy(objects: _Objects) -> _Objects:
    copied = _Objects(objects)
    copied.node_pack = objects.node_pack
    return copied


def _name_of(objects: _Objects, kind: str) -> str:
    """The one object of its kind; of packs with data the largest, as each thread may have filled one."""
    names = [name for name in objects if name.startswith(_KINDS[kind])]
    if kind == "nodes":
        return objects.node_pack
    if kind == "data":
        return max(set(names) - {objects.node_pack}, key=lambda name: len(objects[name]))
    (name,) = (name for name in names if kind != "end" or name.endswith("/end"))
    return name


def _read(objects: dict[str, bytes], passphrase: Secret | None) -> None:
    store = MemoryStore()
    for name, data in objects.items():
        store.put_if_absent(name, data)
    assert_proven(open_repository(store, passphrase))


@pytest.mark.parametrize("passphrase", [PASSPHRASE, None], ids=["encrypted", "open"])
def test_an_undamaged_repository_reads(passphrase: Secret | None) -> None:
    """The oracle of this file accepts what nobody touched."""
    _read(_sample(passphrase), passphrase)


@pytest.mark.parametrize(("kind", "passphrase"), _CASES)
@settings(max_examples=25, deadline=None)  # each reads a whole repository
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@example(where=0.0, bit=0)
@example(where=0.9999999, bit=0)
def test_a_flipped_bit_is_found(kind: str, passphrase: Secret | None, where: float, bit: int) -> None:
    """In every kind of object, at any place: damage, never other data."""
    objects = _copy(_sample(passphrase))
    name = _name_of(objects, kind)
    data = bytearray(objects[name])
    data[int(where * len(data))] ^= 1 << bit
    objects[name] = bytes(data)

    with pytest.raises((errors.Damaged, errors.Refused)) as caught:
        _read(objects, passphrase)

    assert caught.value.spec in {errors.RP005, errors.RP006}


@pytest.mark.parametrize(("kind", "passphrase"), _CASES)
@settings(max_examples=25, deadline=None)  # each reads a whole repository
@given(keep=st.floats(0, 1, exclude_max=True))
@example(keep=0.0)
def test_a_truncated_object_is_found(kind: str, passphrase: Secret | None, keep: float) -> None:
    """Cut at any length, also to nothing."""
    objects = _copy(_sample(passphrase))
    name = _name_of(objects, kind)
    objects[name] = objects[name][: int(keep * len(objects[name]))]

    with pytest.raises(errors.Damaged, match="RP005"):
        _read(objects, passphrase)


@pytest.mark.parametrize("passphrase", [PASSPHRASE, None], ids=["encrypted", "open"])
@pytest.mark.parametrize("extra", [b"\0", b"x" * 100])
@pytest.mark.parametrize("kind", list(_OPEN_KINDS))
def test_appended_bytes_are_found(kind: str, passphrase: Secret | None, extra: bytes) -> None:
    """No byte of an object is outside its seals."""
    objects = _copy(_sample(passphrase))
    objects[_name_of(objects, kind)] += extra

    with pytest.raises(errors.Damaged, match="RP005"):
        _read(objects, passphrase)


@pytest.mark.parametrize("passphrase", [PASSPHRASE, None], ids=["encrypted", "open"])
@pytest.mark.parametrize("kind", ["data", "nodes"])
def test_a_missing_pack_is_named(kind: str, passphrase: Secret | None) -> None:
    """RP004 with the pack's name."""
    objects = _copy(_sample(passphrase))
    name = _name_of(objects, kind)
    del objects[name]

    with pytest.raises(errors.Damaged, match=f"RP004: .*found no object {name}"):
        _read(objects, passphrase)


def test_a_missing_key_does_not_open() -> None:
    """Without its wrapped key an encrypted repository is lost; that is said, not guessed around."""
    objects = _copy(_sample(PASSPHRASE))
    del objects[_name_of(objects, "key")]

    with pytest.raises(errors.Misconfigured, match="RP003: found 0 keys"):
        _read(objects, PASSPHRASE)


@pytest.mark.parametrize("passphrase", [PASSPHRASE, None], ids=["encrypted", "open"])
@pytest.mark.parametrize("kind", ["data", "nodes", "index", "manifest", "end", "segment", "history", "range", "record"])
def test_an_object_of_another_repository_is_refused(kind: str, passphrase: Secret | None) -> None:
    """Under the right name, with the same passphrase: it is still not of this repository."""
    objects, others = _copy(_sample(passphrase)), _sample(passphrase, number=1)
    objects[_name_of(objects, kind)] = others[_name_of(others, kind)]

    with pytest.raises(errors.Damaged, match="RP005"):
        _read(objects, passphrase)


@pytest.mark.parametrize("passphrase", [PASSPHRASE, None], ids=["encrypted", "open"])
@pytest.mark.parametrize("kind", ["data", "nodes", "index", "manifest", "segment", "record"])
def test_a_renamed_object_is_refused(kind: str, passphrase: Secret | None) -> None:
    """An older object of the same repository under a newer name is found: the seal covers the name."""
    objects = _copy(_sample(passphrase))
    name = _name_of(objects, kind)
    new_name = _next_segment(name) if kind == "segment" else name[:-4] + "0000"
    objects[new_name] = objects.pop(name)

    with pytest.raises(errors.Damaged, match=r"RP00[45]"):
        _read(objects, passphrase)


def _next_segment(name: str) -> str:
    return name.replace("0000000000000003.", "0000000000000004.")


@pytest.mark.parametrize("passphrase", [PASSPHRASE, None], ids=["encrypted", "open"])
def test_two_packs_that_changed_places_are_refused(passphrase: Secret | None) -> None:
    """Each is sound and of this repository, and neither opens under the other's name."""
    store = MemoryStore()
    repository = make_repository(store, passphrase)
    fill(repository)
    back_up(repository, sample_files(seed=9), "second")
    one, two, *_ = store.list("packs/")
    swapped = {name: store.get(name) for name in store.list("")}
    swapped[one], swapped[two] = swapped[two], swapped[one]

    with pytest.raises(errors.Damaged, match="RP005"):
        _read(swapped, passphrase)


def test_a_later_format_is_refused_by_name() -> None:
    """A repository that a later version made is RP006, not damage."""
    objects = _copy(_sample(None))
    objects["safepoint.json"] = objects["safepoint.json"].replace(b'"version": 1', b'"version": 2')

    with pytest.raises(errors.Refused, match="RP006: found format version 2"):
        _read(objects, None)


def test_a_key_that_would_exhaust_memory_is_refused() -> None:
    """Whoever can write to the store must not be able to make a reader allocate a terabyte."""
    objects = _copy(_sample(PASSPHRASE))
    name = _name_of(objects, "key")
    slot = dict(from_checked_json(name, objects[name]).all)
    objects[name] = to_checked_json({**slot, "kdf": {**slot["kdf"], "n": 1 << 24}})

    with pytest.raises(errors.Damaged, match="expected a power of two and parameters that need at most 1 GiB"):
        _read(objects, PASSPHRASE)

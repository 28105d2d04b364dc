"""What whoever can write to the store, or has the key, puts in an object's place ends in an error that names it."""

from __future__ import annotations

import json
import os
import resource
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from blake3 import blake3

from repository_samples import CLUSTER, PASSPHRASE, fill, make_repository
from safepoint import errors
from safepoint.repository import Repository, open_repository
from safepoint.repository.care.check import check
from safepoint.repository.commit.lease_objects import list_leases, read_end
from safepoint.repository.packs.index import read_index_facts, survey_indexes
from safepoint.repository.packs.pack import check_pack, read_table
from safepoint.repository.packs.replacements import read_replacements
from safepoint.repository.sealing.objects import LARGEST_BODY, fetch, read_facts, read_object
from safepoint.repository.sealing.seal import OVERHEAD, Codec, Keyring, Kind, header
from safepoint.stores import FolderStore, MemoryStore, Store

_GIB = 1 << 30
_DEEP = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
_LEASE = "20260301T120000Z-" + "0" * 16
_END = f"leases/{_LEASE}/end"
_INDEX = "indexes/" + "a" * 32
_NO_JSON_OBJECT = {
    "deep": _DEEP,
    "not-utf8": b"\xff",
    "large-number": b'{"at":' + b"9" * 5000 + b"}",
    "list": b"[]",
    "null": b"null",
    "pairs": b'[["end","committed"]]',
}
_CLAIMS_16_TIB = bytes.fromhex("28b52ffde0") + struct.pack("<Q", 1 << 44) + b"\x01\x00\x00"


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Whoever believes the sizes that objects claim runs out of address space."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + 6 * _GIB, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)


@pytest.fixture
def filled() -> Repository:
    """A repository in memory and in the clear, with one object of each kind."""
    repository = make_repository(MemoryStore(), None)
    fill(repository)
    return repository


def _sealed(keyring: Keyring, kind: Kind, name: str, facts: bytes = b"{}", body: bytes = b"") -> bytes:
    return _sealed_as(keyring, kind, name, facts, Codec.RAW, body, len(body))


def _sealed_as(
    keyring: Keyring, kind: Kind, name: str, facts: bytes, codec: Codec, payload: bytes, raw_length: int
) -> bytes:
    """An object as only a key holder can make it."""
    salt = keyring.new_salt()
    seal, identity, facts_length = keyring.seal_for(kind, salt), blake3(name.encode()).digest(), len(facts) + OVERHEAD
    lengths = struct.pack(">IIQ", len(facts), facts_length, raw_length)
    sealed_facts = seal.close(64, identity, len(facts), Codec.RAW, facts)
    sealed_body = seal.close(64 + facts_length, identity, raw_length, codec, payload)
    return b"".join((header(kind, salt), lengths, *sealed_facts, *sealed_body))


def _replace(store: Store, name: str, data: bytes) -> None:
    if name in store.list(name):
        store.delete(name)
    store.put_if_absent(name, data)


def _name(store: Store, prefix: str, end: str = "") -> str:
    return next(name for name in store.list(prefix) if name.endswith(end))


def _assert_damaged(name: str, read: Callable[[], object]) -> None:
    with pytest.raises(errors.Damaged) as caught:
        read()
    assert caught.value.spec is errors.RP005
    assert name in caught.value.message


@pytest.mark.parametrize("facts", _NO_JSON_OBJECT.values(), ids=_NO_JSON_OBJECT.keys())
@pytest.mark.parametrize("passphrase", [PASSPHRASE, None], ids=["encrypted", "open"])
def test_facts_that_are_no_json_object_are_damage(facts: bytes, passphrase: object) -> None:
    """Both ways of reading facts say RP005 and the name, for whatever was sealed."""
    repository = make_repository(MemoryStore(), PASSPHRASE if passphrase else None)
    store, keyring = repository.store, repository.keyring
    store.put_if_absent(_END, _sealed(keyring, Kind.END, _END, facts))

    _assert_damaged(_END, lambda: read_object(store, keyring, Kind.END, _END))
    _assert_damaged(_END, lambda: read_facts(store, keyring, Kind.END, _END))
    _assert_damaged(_END, lambda: read_end(store, keyring, _LEASE))


@pytest.mark.parametrize("body", _NO_JSON_OBJECT.values(), ids=_NO_JSON_OBJECT.keys())
def test_bodies_that_are_no_json_object_are_damage(filled: Repository, body: bytes) -> None:
    """Manifests and records are named; a journal entry is one that cannot be read; check goes on."""
    store, keyring = filled.store, filled.keyring
    manifest, record, entry = _name(store, "backups/"), _name(store, "records/"), _name(store, "journal/")
    for name, kind in ((manifest, Kind.MANIFEST), (record, Kind.RECORD), (entry, Kind.JOURNAL)):
        _replace(store, name, _sealed(keyring, kind, name, body=body))

    _assert_damaged(manifest, lambda: filled.read_manifest(manifest))
    _assert_damaged(record, lambda: filled.records("drill"))
    found = {name for finding in check(filled).findings for name in finding.objects}

    assert {manifest, entry} <= found


@pytest.mark.parametrize(
    "facts",
    [
        {"end": "committed", "manifest": "../../etc/passwd", "digest": "0" * 64},
        {"end": "committed", "manifest": "/etc/passwd", "digest": "0" * 64},
        {"end": "committed", "manifest": "backups/x", "digest": "00"},
        {"end": "abandoned", "manifest": "indexes/../x"},
        {"end": 5, "manifest": []},
    ],
)
def test_an_end_that_names_no_object_is_damage(filled: Repository, facts: dict[str, object]) -> None:
    """What an end says is used as a name only if it is one: check names the end, and a collection has an unknown."""
    sealed = _sealed(filled.keyring, Kind.END, _END, json.dumps(facts).encode())
    filled.store.put_if_absent(_END, sealed)

    _assert_damaged(_END, lambda: read_end(filled.store, filled.keyring, _LEASE))
    assert _END in {name for finding in check(filled).findings for name in finding.objects}
    assert filled.backup_state().unknown == (_END,)


def test_an_index_whose_lease_is_no_lease_is_damage(filled: Repository) -> None:
    """It is named, and nothing is looked up under its lease."""
    facts = {"cluster": "", "packs": 0, "blobs": 0, "supersedes": [], "replaces": ["a" * 64], "lease": "../x"}
    filled.store.put_if_absent(_INDEX, _sealed(filled.keyring, Kind.INDEX, _INDEX, json.dumps(facts).encode()))

    _assert_damaged(_INDEX, lambda: read_index_facts(filled.store, filled.keyring, _INDEX))
    assert _INDEX in survey_indexes(filled.store, filled.keyring).damaged
    assert _INDEX in read_replacements(filled.store, filled.keyring).unreadable


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"mark": 5},
        {"mark": {}},
        {"mark": {"lsn": 7, "clock": 9}},
        {"mark": {"lsn": "0/0", "clock": "2026-01-01T00:00:00"}},
        {"mark": {"lsn": "x", "clock": "2026-01-01T00:00:00+00:00"}},
    ],
)
def test_wal_without_a_usable_mark_or_length_is_damage(filled: Repository, facts: dict[str, object]) -> None:
    """A mark of another shape, and a body of another length than the name says, are RP005."""
    piece = next(piece for piece in filled.wal_pieces(CLUSTER) if not piece.is_partial)
    _replace(filled.store, piece.name, _sealed(filled.keyring, Kind.WAL, piece.name, json.dumps(facts).encode(), b"x"))

    _assert_damaged(piece.name, lambda: filled.read_mark(piece))
    _assert_damaged(piece.name, lambda: filled.read_wal(piece))


@pytest.mark.parametrize("size", ["0", "3", "9999"])
def test_a_segment_of_no_possible_size_is_no_wal(filled: Repository, size: str) -> None:
    """A name with a size that PostgreSQL does not know is passed over."""
    before = filled.wal_pieces(CLUSTER)
    segment = next(piece for piece in before if not piece.is_partial).name
    filled.store.put_if_absent(f"{segment.partition('.')[0]}.{size}MB", b"")

    assert filled.wal_pieces(CLUSTER) == before


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("kind", [kind for kind in Kind if kind not in {Kind.PACK, Kind.TABLE}])
def test_a_body_that_claims_to_be_huge_is_damage(kind: Kind) -> None:
    """A frame of 20 bytes that claims 16 TiB is refused with both sizes before anything is allocated."""
    repository = make_repository(MemoryStore(), None)
    name = "records/drill/1"
    data = _sealed_as(repository.keyring, kind, name, b"{}", Codec.ZSTD, _CLAIMS_16_TIB, 1 << 44)
    repository.store.put_if_absent(name, data)

    with pytest.raises(errors.Damaged, match=rf"{1 << 44} bytes.*at most {LARGEST_BODY[kind]}") as caught:
        read_object(repository.store, repository.keyring, kind, name)
    assert caught.value.spec is errors.RP005


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("kind", [Kind.MANIFEST, Kind.END, Kind.JOURNAL, Kind.INDEX, Kind.PACK])
def test_a_file_of_a_tebibyte_is_damage(tmp_path: Path, kind: Kind) -> None:
    """A sparse file in place of an object is not read whole: RP005 with both sizes."""
    store = FolderStore(tmp_path / "root")
    store.put_if_absent("a/b", b"x")
    os.truncate(tmp_path / "root/a/b", 1 << 40)

    with pytest.raises(errors.Damaged, match=rf"{1 << 40} bytes in a/b, expected at most {LARGEST_BODY[kind]}"):
        fetch(store, "a/b", kind)


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("prefix", ["packs/", "backups/", "indexes/", "leases/", "journal/"])
def test_check_names_a_file_of_a_tebibyte_and_goes_on(tmp_path: Path, prefix: str) -> None:
    """Whatever grew beyond all measure is one finding among others."""
    repository = _in_folder(tmp_path)
    name = _name(repository.store, prefix, "end" if prefix == "leases/" else "")
    os.truncate(tmp_path / "root" / name, 1 << 40)

    assert name in _named_by_check(repository)


def test_a_pack_of_a_tebibyte_is_not_read(tmp_path: Path) -> None:
    """Neither its table, whose size stands at its end, nor the whole."""
    repository = _in_folder(tmp_path)
    name = _name(repository.store, "packs/")
    pack = bytes.fromhex(name.rpartition("/")[2])
    os.truncate(tmp_path / "root" / name, 1 << 40)

    _assert_damaged(name, lambda: read_table(repository.store, repository.keyring, pack))
    _assert_damaged(name, lambda: check_pack(repository.store, repository.keyring, pack))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[" * 200_000,
        b'{"version": ' + b"9" * 5000 + b"}\n",
        b'{"version": 1e999}\n',
        b'\xff\xfe{"',
        bytes(2 << 20),
    ],
    ids=["empty", "deep", "large-number", "infinite", "not-utf8", "large"],
)
@pytest.mark.parametrize("name", ["safepoint.json", "keys/" + "0" * 32])
def test_nonsense_in_place_of_the_description_or_a_key_is_damage(name: str, content: bytes) -> None:
    """The description is named as damaged; a key beside a sound one does not keep that from opening."""
    store = MemoryStore()
    make_repository(store)
    _replace(store, name, content)

    if name == "safepoint.json":
        _assert_damaged(name, lambda: open_repository(store, PASSPHRASE))
    else:
        assert list_leases(open_repository(store, PASSPHRASE).store) == {}


@pytest.mark.parametrize("make", ["pipe", "link", "endless"])
@pytest.mark.parametrize("prefix", ["packs/", "backups/", "indexes/", "leases/", "journal/"])
def test_check_names_what_is_no_file_and_goes_on(tmp_path: Path, prefix: str, make: str) -> None:
    """A pipe or a link in place of an object keeps nobody waiting and is a finding."""
    repository = _in_folder(tmp_path)
    name = _name(repository.store, prefix, "end" if prefix == "leases/" else "")
    path = tmp_path / "root" / name
    path.unlink()
    if make == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(path.name if make == "link" else "/dev/zero")

    assert name in _named_by_check(repository)


def test_a_pipe_in_place_of_the_description_is_damage(tmp_path: Path) -> None:
    """Opening does not wait for a writer."""
    repository = _in_folder(tmp_path)
    (tmp_path / "root/safepoint.json").unlink()
    os.mkfifo(tmp_path / "root/safepoint.json")

    _assert_damaged("safepoint.json", lambda: open_repository(repository.store, PASSPHRASE))


def test_links_among_the_packs_end_no_command(tmp_path: Path) -> None:
    """Two links that lead back to their own folder do not multiply what is listed, and check finds all packs."""
    repository = _in_folder(tmp_path)
    for name in ("x", "y"):
        (tmp_path / "root/packs" / name).symlink_to(".")

    assert not [name for name in _named_by_check(repository) if name not in {"packs/x", "packs/y"}]


def _in_folder(tmp_path: Path) -> Repository:
    repository = make_repository(FolderStore(tmp_path / "root"))
    fill(repository)
    return repository


def _named_by_check(repository: Repository) -> set[str]:
    fresh = open_repository(FolderStore(Path(str(repository.store).removeprefix("file:"))), PASSPHRASE)
    return {name for finding in check(fresh).findings for name in finding.objects}

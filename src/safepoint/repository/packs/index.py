"""Index objects: which blobs lie in which packs. They find blobs again; what exists is said by packs and manifests.

    indexes/<32 hex>, kind INDEX
    facts  {"cluster": text, "packs": n, "blobs": n, "supersedes": [names]}, and of an index whose packs replace others
           {…, "replaces": [pack ids in hex], "lease": id}: see replacements.py
    body   per pack: pack id (32 bytes), u32 count, and that often
           blob id (32 bytes), u32 offset, u32 length, u32 raw length, u8 kind

An index is never changed. A later one that lists what an earlier one listed, less or more, supersedes it by name, and
the earlier one may then be deleted. Who reads while that happens sees one of them or both, never neither, because
the later one is durable first; what several objects supersede together, the last of them to be put says.

The cluster is whose backups wrote the packs: the text that scopes caches. `EVERY_CLUSTER` is for indexes that were
rebuilt from packs of which nobody knows any more whose they are.
"""

from __future__ import annotations

import re
import secrets
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeGuard

import numpy as np

from safepoint import errors
from safepoint.model.json_value import Json
from safepoint.repository.names import INDEX_NAME, INDEXES_PREFIX, PACK_ID, is_lease_id
from safepoint.repository.packs.pack import ENTRY, BlobKind, PackContents
from safepoint.repository.parallel import in_threads
from safepoint.repository.sealing import objects
from safepoint.repository.sealing.seal import HEADER_BYTES, ID_BYTES, OVERHEAD, Keyring, Kind
from safepoint.stores.port import Store

EVERY_CLUSTER = ""
MOST_PACKS = 256
MOST_BLOBS = 500_000
MOST_REPLACED = 10_000
_PACK_HEAD = struct.Struct(">32sI")
_FACTS = {"cluster", "packs", "blobs", "supersedes", "replaces", "lease"}


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexFacts:
    """What the short read of an index tells.

    `replaces` are packs, in hex, whose blobs are looked for in the packs of this index: once the `lease` under which it
    was put has ended well, or at once when there is none.
    """

    cluster: str
    packs: int
    blobs: int
    supersedes: tuple[str, ...]
    replaces: tuple[str, ...] = ()
    lease: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Index:
    """An index object, wholly checked."""

    name: str
    cluster: str
    supersedes: tuple[str, ...]
    packs: tuple[PackContents, ...]
    replaces: tuple[str, ...] = ()
    lease: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """The indexes that a repository has: the facts of those that can be read, and why the others cannot."""

    facts: Mapping[str, IndexFacts]
    damaged: Mapping[str, errors.SafepointError]

    def current(self) -> tuple[str, ...]:
        """Names that no other index supersedes, sorted; damaged ones, of which it is unknown what they say, are in.

        Whatever only indexes of a cycle supersede is current, too, and so is the cycle: no writer makes one, and to
        know too much costs a look into the store where to know too little would cost a blob.
        """
        superseded = _superseded(self.facts)
        return tuple(sorted({*self.facts, *self.damaged} - superseded))

    def without(self, broken: Mapping[str, errors.SafepointError]) -> Survey:
        """As if nothing but the names of these could be read."""
        facts = {name: value for name, value in self.facts.items() if name not in broken}
        damaged = {name: error for name, error in broken.items() if name in self.facts}
        return Survey(facts=facts, damaged={**self.damaged, **damaged})


def put_index(
    store: Store,
    keyring: Keyring,
    cluster: str,
    contents: Sequence[PackContents],
    supersedes: Sequence[str] = (),
    *,
    replaces: Collection[bytes] = (),
    lease: str | None = None,
    durable: bool = True,
) -> str:
    """Afterwards a new index lists these packs; its name.

    ValueError beyond MOST_PACKS, MOST_BLOBS (and over one pack), MOST_REPLACED.

    Without `durable` it survives a power cut only after the store's barrier: not for an index that supersedes others.
    """
    blobs = sum(len(pack) for pack in contents)
    if len(contents) > MOST_PACKS or (blobs > MOST_BLOBS and len(contents) > 1):
        raise ValueError(f"found {len(contents)} packs of {blobs} blobs, expected {MOST_PACKS}, {MOST_BLOBS} at most")
    if len(replaces) > MOST_REPLACED:
        raise ValueError(f"found {len(replaces)} replaced packs, expected {MOST_REPLACED} at most")
    name = INDEXES_PREFIX + secrets.token_hex(16)
    facts: dict[str, Json] = {"cluster": cluster, "packs": len(contents), "blobs": blobs, "supersedes": [*supersedes]}
    if replaces:
        facts["replaces"] = [pack.hex() for pack in sorted(replaces)]
    if lease is not None:
        facts["lease"] = lease
    sealed = objects.seal_object(keyring, Kind.INDEX, name, encode(contents), facts)
    if not store.put_if_absent(name, sealed, durable=durable):
        raise errors.RP007.error(f"found {name} in the store, expected a random name to be free")
    return name


def put_indexes(
    store: Store,
    keyring: Keyring,
    cluster: str,
    contents: Iterable[PackContents],
    supersedes: Sequence[str] = (),
    *,
    replaces: Collection[bytes] = (),
    lease: str | None = None,
) -> tuple[str, ...]:
    """Afterwards as many new indexes as it takes list these packs, durably; their names. Each replaces what all do.

    Killed here? The last one alone supersedes, once those before it are durable: until then the old ones count.
    """
    groups = list(shares(contents)) or [()]
    put = partial(put_index, store, keyring, cluster, replaces=replaces, lease=lease)
    names = [put(group, durable=False) for group in groups[:-1]]
    if names:
        store.barrier()
    return (*names, put(groups[-1], supersedes))


def shares(contents: Iterable[PackContents]) -> Iterator[tuple[PackContents, ...]]:
    """The packs in their order, cut into what one index object lists at most."""
    group: list[PackContents] = []
    blobs = 0
    for pack in contents:
        if group and (len(group) == MOST_PACKS or blobs + len(pack) > MOST_BLOBS):
            yield tuple(group)
            group, blobs = [], 0
        group.append(pack)
        blobs += len(pack)
    if group:
        yield tuple(group)


def read_index(store: Store, keyring: Keyring, name: str) -> Index:
    """The index, wholly checked; RP004 when it is missing, RP005 when its seal or its content does not hold."""
    opened = objects.read_object(store, keyring, Kind.INDEX, name)
    try:
        facts = _facts_of(opened.facts)
        packs = decode(opened.body)
        _expect(facts.packs, len(packs), "packs")
        _expect(facts.blobs, sum(len(pack) for pack in packs), "blobs")
    except ValueError as error:
        raise _meaningless(name, str(error)) from None
    return Index(
        name=name,
        cluster=facts.cluster,
        supersedes=facts.supersedes,
        packs=packs,
        replaces=facts.replaces,
        lease=facts.lease,
    )


def read_index_facts(store: Store, keyring: Keyring, name: str) -> IndexFacts:
    """What one short range read tells of the index; RP004, RP005."""
    try:
        return _facts_of(objects.read_facts(store, keyring, Kind.INDEX, name))
    except ValueError as error:
        raise _meaningless(name, str(error)) from None


def survey_indexes(store: Store, keyring: Keyring, known: Mapping[str, IndexFacts] | None = None) -> Survey:
    """All indexes there are now; only those not in `known` are read. An index that vanishes meanwhile is not there.

    Indexes are deleted after what supersedes them is durable, so one that vanishes may have left a successor that
    the listing did not show yet: then the listing is made again. What it shows still, a slow listing shows wrongly.
    """
    facts = dict(known or {})
    gone: set[str] = set()
    while True:
        names = [name for name in _listed(store) if name not in gone]
        found = _read_facts(store, keyring, [name for name in names if name not in facts])
        facts |= {name: value for name, value in found.items() if isinstance(value, IndexFacts)}
        failed = {name: value for name, value in found.items() if isinstance(value, errors.SafepointError)}
        vanished = {name for name, error in failed.items() if error.spec is errors.RP004}
        if not vanished:
            return Survey(facts={name: facts[name] for name in names if name in facts}, damaged=failed)
        gone |= vanished


def current_indexes(store: Store, keyring: Keyring) -> tuple[str, ...]:
    """The names that no other index supersedes (see `Survey.current`); reading a damaged one says so."""
    return survey_indexes(store, keyring).current()


def encode(contents: Sequence[PackContents]) -> bytes:
    """The body of an index that lists these packs; ValueError for entries of another shape."""
    parts: list[bytes] = []
    for pack in contents:
        if len(pack.pack) != ID_BYTES or len(pack.table) % ENTRY.itemsize:
            raise ValueError(f"found a pack id of {len(pack.pack)} bytes, a table of {len(pack.table)}")
        parts += [_PACK_HEAD.pack(pack.pack, len(pack)), pack.table]
    return b"".join(parts)


def decode(body: bytes) -> tuple[PackContents, ...]:
    """The packs that the body lists; ValueError unless it is exactly such a list."""
    packs: list[PackContents] = []
    at = 0
    while at < len(body):
        if len(body) - at < _PACK_HEAD.size:
            raise ValueError(f"found {len(body) - at} bytes behind the last pack, expected none")
        pack, count = _PACK_HEAD.unpack_from(body, at)
        at += _PACK_HEAD.size
        if count * ENTRY.itemsize > len(body) - at:
            raise ValueError(f"found {len(body) - at} bytes for {count} blobs, expected {count * ENTRY.itemsize}")
        end = at + count * ENTRY.itemsize
        packs.append(_checked(PackContents(pack=pack, table=body[at:end])))
        at = end
    if len({pack.pack for pack in packs}) != len(packs):
        raise ValueError("found a pack twice, expected once")
    return tuple(packs)


def _checked(contents: PackContents) -> PackContents:
    """Its blobs lie behind the pack's header one after another, each at least as long as an empty one is sealed."""
    entries = contents.entries
    starts = entries["offset"].astype(np.int64)
    lengths = entries["length"].astype(np.int64)
    if (starts < np.append(HEADER_BYTES, starts + lengths)[:-1]).any():
        raise ValueError("found blobs that overlap or are out of order")
    if (lengths < OVERHEAD).any() or (entries["kind"] > max(BlobKind)).any():
        raise ValueError("found a blob shorter than its seal or of an unknown kind")
    return contents


def _superseded(facts: Mapping[str, IndexFacts]) -> set[str]:
    """What can be reached, by superseding, from an index that none supersedes."""
    named = {target for name, index in facts.items() for target in index.supersedes if target != name}
    roots = [name for name in facts if name not in named]
    superseded: set[str] = set()
    ahead = [target for name in roots for target in facts[name].supersedes if target != name]
    while ahead:
        name = ahead.pop()
        if name not in superseded:
            superseded.add(name)
            ahead += facts[name].supersedes if name in facts else ()
    return superseded


def _listed(store: Store) -> list[str]:
    return [name for name in store.list(INDEXES_PREFIX) if INDEX_NAME.fullmatch(name)]


def _read_facts(store: Store, keyring: Keyring, names: Sequence[str]) -> dict[str, IndexFacts | errors.SafepointError]:
    """The facts of each, or the RP004 or RP005 that reading it ended with."""

    def read(name: str) -> IndexFacts | errors.SafepointError:
        try:
            return read_index_facts(store, keyring, name)
        except errors.Damaged as error:
            return error

    return dict(zip(names, in_threads(read, names), strict=True))


def _facts_of(found: Any) -> IndexFacts:
    """The facts; ValueError unless they are exactly an index's."""
    match found:
        case {"cluster": str(cluster), "packs": int(packs), "blobs": int(blobs), "supersedes": [*supersedes]}:
            names = _texts(supersedes, INDEX_NAME, "names of indexes")
            replaces = _texts(found.get("replaces", []), PACK_ID, "pack ids")
            lease = found.get("lease")
            if not found.keys() <= _FACTS or not _is_lease(lease) or min(packs, blobs) < 0:
                raise ValueError(f"found the facts {sorted(found)} and the lease {str(lease)[:40]!r}")
            return IndexFacts(
                cluster=cluster, packs=packs, blobs=blobs, supersedes=names, replaces=replaces, lease=lease
            )
        case _:
            raise ValueError("found other facts than an index has")


def _is_lease(found: object) -> TypeGuard[str | None]:
    return found is None or (isinstance(found, str) and is_lease_id(found))


def _texts(found: list[Any], shape: re.Pattern[str], what: str) -> tuple[str, ...]:
    texts = tuple(text for text in found if isinstance(text, str) and shape.fullmatch(text))
    _expect(len(found), len(texts), what)
    return texts


def _expect(expected: int, found: int, what: str) -> None:
    if found != expected:
        raise ValueError(f"found {found} {what}, expected {expected}")


def _meaningless(name: str, found: str) -> errors.SafepointError:
    """RP005: the seal holds, what it encloses is no index."""
    return errors.RP005.error(
        f"{found} in {name}, expected an index of this format",
        hints=[
            errors.ask("was it written by another version, or by a program that has the key?"),
            errors.run("rebuild the indexes from the packs: `safepoint repository repair`"),
        ],
    )

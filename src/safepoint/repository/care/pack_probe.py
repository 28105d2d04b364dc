"""Is a pack there, whole by its length, and itself? Told by its end alone: one range read of its table of contents.

What an index lists says where the table must begin, how long it is and what it says; its seal says of which pack it
is. So a pack that was cut short, grew, or was exchanged for another is found without its blobs; a flipped bit in a
blob is not.
"""

from __future__ import annotations

from dataclasses import dataclass

from safepoint import errors
from safepoint.repository.names import pack_name
from safepoint.repository.packs.pack import TRAILER_BYTES, PackContents, is_stray, read_table, stray
from safepoint.repository.sealing.seal import (
    HEADER_BYTES,
    OVERHEAD,
    BrokenSeal,
    Keyring,
    Kind,
    generation_of,
    read_header,
)
from safepoint.stores.port import NotFound, Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Up to which byte blobs may reach in the pack; `fault` says what is wrong with it.

    `is_locked_out`: its generation's key is not here, so that nothing can be said but its length.
    """

    pack: bytes
    end: int
    fault: str | None = None
    is_locked_out: bool = False
    is_gone: bool = False


def probe_pack(store: Store, keyring: Keyring, pack: bytes, listed: PackContents | None) -> Probe:
    """What the pack's end tells; `listed` is what an index says of it, None when none does. Never RP004, RP005."""
    if generation_of(pack) not in keyring.masters:
        return _without_key(keyring, pack)
    try:
        if listed is not None and _ends_as_listed(store, keyring, listed):
            return Probe(pack=pack, end=listed.end)
        return Probe(pack=pack, end=read_table(store, keyring, pack).end)
    except NotFound:
        return Probe(pack=pack, end=0, fault="found it gone, expected it as listed", is_gone=True)
    except errors.Damaged as error:
        if error.spec is errors.RP004:
            return Probe(pack=pack, end=0, fault=error.message, is_gone=True)
        return Probe(pack=pack, end=0, fault=_fault(store, pack, listed, error))


def _without_key(keyring: Keyring, pack: bytes) -> Probe:
    if is_stray(keyring, pack):
        return Probe(pack=pack, end=0, fault=stray(pack).message)
    return Probe(pack=pack, end=0, fault="found no key of its generation, expected one", is_locked_out=True)


def _ends_as_listed(store: Store, keyring: Keyring, listed: PackContents) -> bool:
    """Whether its table begins and ends where the index lets expect it, opens, and says what the index says."""
    table = listed.stored_table
    table_at, sealed_length = listed.end, len(table) + OVERHEAD
    expected = sealed_length + TRAILER_BYTES
    found = store.get_range(pack_name(listed.pack), table_at, expected + 1)
    if len(found) != expected:
        return False
    seal = keyring.seal_for(Kind.PACK, listed.pack)
    try:
        return seal.open(table_at, listed.pack, len(table), found[:sealed_length], kind=Kind.TABLE) == table
    except BrokenSeal:
        return False


def _fault(store: Store, pack: bytes, listed: PackContents | None, error: errors.SafepointError) -> str:
    name = pack_name(pack)
    try:
        head, size = store.get_range(name, 0, HEADER_BYTES), store.size(name)
    except (NotFound, errors.Damaged):
        return error.message
    if (other := _pack_in(head)) not in {None, pack}:
        return f"found pack {other.hex()[:16] if other else ''} in {name}, expected pack {pack.hex()[:16]}"
    if listed is not None and size < listed.end:
        return f"found {size} bytes in {name}, expected more than the {listed.end} of its blobs: it was cut short"
    return f"found {size} bytes in {name} whose table of contents does not open, expected a whole pack"


def _pack_in(head: bytes) -> bytes | None:
    try:
        return read_header(head, Kind.PACK)
    except BrokenSeal:
        return None

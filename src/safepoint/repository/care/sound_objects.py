"""Whether the bytes of an object are what this family's keys sealed under its name: asked before it is stored again."""

from __future__ import annotations

from safepoint.repository.packs.pack import PackContents, check_pack_bytes, pack_name
from safepoint.repository.sealing import objects
from safepoint.repository.sealing.objects import Opened
from safepoint.repository.sealing.seal import Keyring, Kind

_KINDS = {
    "backups": Kind.MANIFEST,
    "wal": Kind.WAL,
    "tmp": Kind.WAL,
    "records": Kind.RECORD,
    "indexes": Kind.INDEX,
    "leases": Kind.LEASE,
    "tombstones": Kind.TOMBSTONE,
    "journal": Kind.JOURNAL,
}
_HEX_ID = 64


def kind_of(name: str) -> Kind | None:
    """What an object of this name is; None for names that no sealed object of one piece has."""
    room, leaf = name.partition("/")[0], name.rpartition("/")[2]
    if room == "wal" and leaf.endswith(".history"):
        return Kind.HISTORY
    if room == "leases" and leaf in {"end", "expired"}:
        return Kind.END
    return _KINDS.get(room)


def pack_of(name: str) -> bytes | None:
    """The id of the pack that has this name; None when none has."""
    leaf = name.rpartition("/")[2]
    if len(leaf) != _HEX_ID or not name.startswith("packs/"):
        return None
    try:
        pack = bytes.fromhex(leaf)
    except ValueError:
        return None
    return pack if pack_name(pack) == name else None


def open_sound(keyring: Keyring, name: str, data: bytes) -> Opened:
    """The content of a sealed object with these bytes; RP005, ValueError for a name that none has."""
    kind = kind_of(name)
    if kind is None:
        raise ValueError(f"found the name {name}, expected that of a sealed object")
    return objects.open_object(keyring, kind, name, data)


def require_sound_pack(keyring: Keyring, pack: bytes, data: bytes) -> PackContents:
    """What a pack of these bytes holds, every blob of it opened; RP005, RP008."""
    return check_pack_bytes(keyring, pack, data)

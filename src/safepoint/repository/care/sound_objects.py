"""What an object of a name must be: its kind, how large it may be at most, and whether its bytes are what was sealed.

Asked before an object is read whole, and before what was read is stored again.
"""

from __future__ import annotations

from safepoint import errors
from safepoint.repository.commit.manifest import open_manifest
from safepoint.repository.names import kind_of, pack_name, pack_of
from safepoint.repository.packs.index import read_index
from safepoint.repository.packs.pack import PackContents, check_pack, check_pack_bytes
from safepoint.repository.repository import Repository
from safepoint.repository.sealing import objects
from safepoint.repository.sealing.objects import Opened
from safepoint.repository.sealing.seal import Keyring, Kind


def fetch_named(repository: Repository, name: str) -> bytes:
    """The object's bytes; RP004, RP005 when it is larger than any of its kind, ValueError for a name that none has."""
    return objects.fetch(repository.store, name, _require_kind(name))


def fetch_if_there(repository: Repository, name: str) -> bytes | None:
    """As `fetch_named`; None when it is missing, and no byte of one that is too large to be what it must be."""
    try:
        return fetch_named(repository, name)
    except errors.Damaged as error:
        return None if error.spec is errors.RP004 else b""


def fetch_pack(repository: Repository, pack: bytes) -> bytes:
    """The pack's bytes; RP004, RP005 when it is larger than any."""
    return objects.fetch(repository.store, pack_name(pack), Kind.PACK)


def open_sound(keyring: Keyring, name: str, data: bytes) -> Opened:
    """The content of a sealed object with these bytes; RP005, ValueError for a name that none has."""
    return objects.open_object(keyring, _require_kind(name), name, data)


def is_sound(keyring: Keyring, name: str, data: bytes) -> bool:
    """Whether these bytes are what was sealed under the name."""
    try:
        open_sound(keyring, name, data)
    except (errors.Damaged, ValueError):
        return False
    return True


def require_sound(repository: Repository, name: str, kind: Kind) -> None:
    """Every byte of the stored object is what was sealed; RP004, RP005, RP006, RP008."""
    store, keyring = repository.store, repository.keyring
    if (pack := pack_of(name)) is not None:
        check_pack(store, keyring, pack)
    elif kind is Kind.INDEX:
        read_index(store, keyring, name)
    elif kind is Kind.MANIFEST:
        open_manifest(keyring, name, objects.fetch(store, name, kind))
    else:
        objects.read_object(store, keyring, kind, name)


def require_sound_pack(keyring: Keyring, pack: bytes, data: bytes) -> PackContents:
    """What a pack of these bytes holds, every blob of it opened; RP005, RP008."""
    return check_pack_bytes(keyring, pack, data)


def _require_kind(name: str) -> Kind:
    kind = kind_of(name)
    if kind is None:
        raise ValueError(f"found the name {name}, expected that of a sealed object")
    return kind

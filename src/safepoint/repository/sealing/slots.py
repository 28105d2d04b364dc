"""Slots: one object `keys/<id>` for each passphrase or printed key, with all masters there were when it was made.

A slot's secret is stretched from the passphrase by scrypt, or derived from a generated or recovery key by HKDF. Two
keys follow from it: one that seals the masters, and an X25519 key pair, so that whoever rotates can give this slot the
new master without its passphrase. The id *is* a digest of the public key, so nobody can put another public
key under a known id.

What is sealed covers every other field, the family and the repository: with another salt, cost, name, id or place it
does not open. The `mac` covers all that again under a key made of all masters, so that whoever holds those can tell a
slot that a key holder made from one that anybody slipped in. docs/FORMAT.md is the specification.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from hmac import compare_digest

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from safepoint.model.json_value import Json
from safepoint.model.secret import Secret
from safepoint.repository.names import slot_name
from safepoint.repository.sealing.checked_json import (
    LARGEST,
    Fields,
    canonical,
    damaged,
    from_checked_json,
    to_checked_json,
)
from safepoint.repository.sealing.keys import MASTER_BYTES, Description, KeyCost, Masters, chain_key
from safepoint.repository.sealing.printed_key import KeyForm, form_of, key_from_text
from safepoint.stores.port import Store

SEALED_ONCE = bytes(12)
"""The nonce where a key seals one thing only: slot keys and wrap keys, which random salts and keys make unique."""
_SLOT_ID_BYTES = 16
_SALT_BYTES = 32
_PACKED = 2 + MASTER_BYTES
_TAG = 16
_MOST_POSITIONS = 1 << 16
_MOST_SCRYPT_WORK = 1 << 30
"""128 * n * r * p, in bytes: at most so much is allocated, and mixed, for one slot of whoever can write the store."""


class SlotKind(Enum):
    """What opens a slot."""

    PASSPHRASE = "passphrase"  # noqa: S105 - a word, no password
    GENERATED = "generated"
    RECOVERY = "recovery"


_KIND_OF_FORM = {KeyForm.GENERATED: SlotKind.GENERATED, KeyForm.RECOVERY: SlotKind.RECOVERY}
_PURPOSES = {SlotKind.GENERATED: b"generated key", SlotKind.RECOVERY: b"recovery key"}
"""What 256 random bits are derived for. They need no stretching: nobody can try so many (docs/adr/0015)."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Slot:
    """A slot as it was read: of sound form, its seals not checked yet. `position` is how many masters it holds."""

    id: str
    kind: SlotKind
    name: str
    created: datetime
    salt: bytes
    cost: KeyCost | None
    public: bytes
    position: int
    sealed: bytes
    mac: bytes
    told: dict[str, Json]

    def is_genuine(self, description: Description, masters: Masters) -> bool:
        """Whether somebody who had every master up to its position made it."""
        if self.position > len(masters):
            return False
        return compare_digest(self.mac, _mac(description, self.told, self.sealed, masters[: self.position]))


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SlotKeys:
    """What follows from a slot's secret."""

    sealing: bytes
    private: X25519PrivateKey

    @property
    def public(self) -> bytes:
        """The public key."""
        return self.private.public_key().public_bytes_raw()


class Opener:
    """What a person gave to open a repository: a passphrase, a generated or a recovery key, told apart by its shape.

    `words` is what people call it. RP003 for a key with check letters that is mistyped.
    """

    def __init__(self, given: Secret) -> None:
        form = form_of(given)
        self.kind = SlotKind.PASSPHRASE if form is None else _KIND_OF_FORM[form]
        self.words = self.kind.value if form is None else form.value
        self._material = _bytes_of(given) if form is None else key_from_text(given, form)

    def keys_for(self, salt: bytes, cost: KeyCost | None) -> SlotKeys:
        """The slot's keys if this opens it, useless ones otherwise. Takes the time and memory that the cost says."""
        if cost is None:
            secret = _hkdf(self._material, _PURPOSES[self.kind], salt)
        else:
            secret = Scrypt(salt=salt, length=32, n=cost.n, r=cost.r, p=cost.p).derive(self._material)
        private = X25519PrivateKey.from_private_bytes(_hkdf(secret, b"slot private key"))
        return SlotKeys(sealing=_hkdf(secret, b"slot seal"), private=private)


def new_slot(
    description: Description, masters: Masters, opener: Opener, *, name: str, cost: KeyCost, created: datetime
) -> tuple[str, bytes]:
    """The id and the object of a slot that `opener` opens and that gives all these masters."""
    salt = secrets.token_bytes(_SALT_BYTES)
    its_cost = cost if opener.kind is SlotKind.PASSPHRASE else None
    keys = opener.keys_for(salt, its_cost)
    slot_id = _id_of(keys.public)
    told: dict[str, Json] = {
        "slot": slot_id,
        "kind": opener.kind.value,
        "name": name,
        "created": created.astimezone(UTC).isoformat(),
        "kdf": _kdf_to_json(salt, its_cost),
        "public": keys.public.hex(),
        "position": len(masters),
    }
    packed = b"".join(generation.to_bytes(2, "big") + master for generation, master in masters)
    sealed = AESGCM(keys.sealing).encrypt(SEALED_ONCE, packed, _beside(description, told))
    mac = _mac(description, told, sealed, masters)
    return slot_id, to_checked_json({**told, "sealed": sealed.hex(), "mac": mac.hex()})


def read_slot(store: Store, name: str) -> Slot:
    """The slot of that name; NotFound, RP005 unless its form is sound, RP006."""
    fields = from_checked_json(name, store.get_range(name, 0, LARGEST + 1))
    told = {key: value for key, value in fields.all.items() if key not in {"sealed", "mac"}}
    slot_id, public = fields.binary("slot", _SLOT_ID_BYTES).hex(), fields.binary("public", 32)
    kind = _kind(fields)
    salt, cost = _kdf_from_json(fields.inner("kdf"), kind)
    position = fields.number("position", 1, _MOST_POSITIONS)
    slot = Slot(
        id=slot_id,
        kind=kind,
        name=fields.text("name"),
        created=fields.instant("created"),
        salt=salt,
        cost=cost,
        public=public,
        position=position,
        sealed=fields.binary("sealed", _PACKED * position + _TAG),
        mac=fields.binary("mac", 32),
        told=told,
    )
    fields.end()
    if name != slot_name(slot_id) or slot_id != _id_of(public):
        raise damaged(name, f"slot {slot_id} with the public key of {_id_of(public)}", "one id in name and content")
    return slot


def open_slot(description: Description, slot: Slot, opener: Opener) -> tuple[SlotKeys, Masters] | None:
    """The slot's keys and masters; None when this opens it not, because it is another's or was tampered with."""
    if slot.kind is not opener.kind:
        return None
    keys = opener.keys_for(slot.salt, slot.cost)
    try:
        packed = AESGCM(keys.sealing).decrypt(SEALED_ONCE, slot.sealed, _beside(description, slot.told))
    except InvalidTag:
        return None
    parts = [packed[start : start + _PACKED] for start in range(0, len(packed), _PACKED)]
    return keys, tuple((int.from_bytes(part[:2], "big"), part[2:]) for part in parts)


def _kind(fields: Fields) -> SlotKind:
    text = fields.text("kind")
    try:
        return SlotKind(text)
    except ValueError:
        raise fields.wrong("kind", text, " or ".join(kind.value for kind in SlotKind)) from None


def _kdf_to_json(salt: bytes, cost: KeyCost | None) -> dict[str, Json]:
    if cost is None:
        return {"name": "hkdf-sha256", "salt": salt.hex()}
    return {"name": "scrypt", "n": cost.n, "r": cost.r, "p": cost.p, "salt": salt.hex()}


def _kdf_from_json(fields: Fields, kind: SlotKind) -> tuple[bytes, KeyCost | None]:
    """Salt and cost; RP005 for a cost beyond the bound, before anything is allocated."""
    expected = "scrypt" if kind is SlotKind.PASSPHRASE else "hkdf-sha256"
    if (name := fields.text("name")) != expected:
        raise fields.wrong("kdf", name, expected)
    cost = None
    if kind is SlotKind.PASSPHRASE:
        n, r, p = (fields.number(key, least, _MOST_SCRYPT_WORK) for key, least in (("n", 2), ("r", 1), ("p", 1)))
        if n & (n - 1) or 128 * n * r * p > _MOST_SCRYPT_WORK:
            raise fields.wrong("scrypt", f"n={n} r={r} p={p}", "a power of two and parameters that need at most 1 GiB")
        cost = KeyCost(n=n, r=r, p=p)
    salt = fields.binary("salt", _SALT_BYTES)
    fields.end()
    return salt, cost


def _beside(description: Description, told: dict[str, Json]) -> bytes:
    return canonical({"family": description.family, "repository": description.id, **told})


def _mac(description: Description, told: dict[str, Json], sealed: bytes, masters: Masters) -> bytes:
    covered = b"safepoint 1 key slot" + _beside(description, {**told, "sealed": sealed.hex()})
    return blake3(covered, key=chain_key(masters)).digest()


def _id_of(public: bytes) -> str:
    return blake3(public).hexdigest(length=_SLOT_ID_BYTES)


def _bytes_of(passphrase: Secret) -> bytes:
    return passphrase.reveal().encode("utf-8", "surrogateescape")


def _hkdf(material: bytes, purpose: bytes, salt: bytes | None = None) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=b"safepoint 1 " + purpose).derive(material)

"""Later generations: one object `keys/generation-<position>` hands a new master to every slot at once.

The repository takes in its masters one after another; position 1 lies in the slots, each later one is one object,
put if absent. So a rotation is one put: two that race cannot both happen, and a killed one happened or did not. The
object holds the new master once for each slot, encrypted to the slot's public key, and a `mac` under a key made of
all masters up to and with the new one: nobody extends the chain, and nobody is taken for a member of a generation,
but by those who hold all of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hmac import compare_digest

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from safepoint.model.json_value import Json
from safepoint.repository.names import generation_name, slot_name
from safepoint.repository.sealing.checked_json import LARGEST, canonical, damaged, from_checked_json, to_checked_json
from safepoint.repository.sealing.keys import MASTER_BYTES, Description, Masters, chain_key
from safepoint.repository.sealing.slots import SEALED_ONCE, SlotKeys
from safepoint.stores.port import Store

FIRST_POSITION = 1
_LAST_GENERATION = (1 << 16) - 1
_WRAPPED = MASTER_BYTES + 16


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Generation:
    """A generation as it was read: of sound form, its seals not checked yet."""

    name: str
    position: int
    number: int
    ephemeral: bytes
    wraps: Mapping[str, bytes]
    mac: bytes
    told: dict[str, Json]

    def is_genuine(self, description: Description, masters: Masters) -> bool:
        """Whether whoever made it had every master up to its own."""
        if self.position > len(masters) or masters[self.position - 1][0] != self.number:
            return False
        return compare_digest(self.mac, _mac(description, self.told, masters[: self.position]))

    def open(self, description: Description, slot: str, keys: SlotKeys, before: Masters) -> Masters:
        """The masters before it and its own; RP005 unless it was made for this slot by who had all those before."""
        try:
            key = _wrapping_key(keys.private, self.ephemeral, self.ephemeral, keys.public)
            beside = _beside(description, self.position, self.number, slot)
            master = AESGCM(key).decrypt(SEALED_ONCE, self.wraps[slot], beside)
        except (InvalidTag, ValueError):
            raise self._forged(slot) from None
        masters = (*before, (self.number, master))
        if not self.is_genuine(description, masters) or self.number in dict(before):
            raise self._forged(slot)
        return masters

    def _forged(self, slot: str) -> Exception:
        return damaged(self.name, f"a master whose seal does not hold for {slot_name(slot)}", "one of this repository")


def new_generation(
    description: Description, masters: Masters, slots: Mapping[str, bytes], *, created: datetime
) -> tuple[str, bytes]:
    """The name and the object that add the last of these masters for the slots, given by id and public key."""
    position, (number, master) = len(masters), masters[-1]
    private = X25519PrivateKey.generate()
    ephemeral = private.public_key().public_bytes_raw()
    wraps: dict[str, Json] = {}
    for slot, public in sorted(slots.items()):
        key = _wrapping_key(private, public, ephemeral, public)
        wraps[slot] = AESGCM(key).encrypt(SEALED_ONCE, master, _beside(description, position, number, slot)).hex()
    told: dict[str, Json] = {
        "position": position,
        "generation": number,
        "created": created.astimezone(UTC).isoformat(),
        "ephemeral": ephemeral.hex(),
        "wraps": wraps,
    }
    data = to_checked_json({**told, "mac": _mac(description, told, masters).hex()})
    return generation_name(position), data


def read_generation(store: Store, name: str) -> Generation:
    """The generation of that name; NotFound, RP005 unless its form is sound, RP006."""
    fields = from_checked_json(name, store.get_range(name, 0, LARGEST + 1))
    told = {key: value for key, value in fields.all.items() if key != "mac"}
    position = fields.number("position", FIRST_POSITION + 1, _LAST_GENERATION)
    number = fields.number("generation", 1, _LAST_GENERATION)
    fields.instant("created")
    wraps = fields.inner("wraps")
    found = Generation(
        name=name,
        position=position,
        number=number,
        ephemeral=fields.binary("ephemeral", 32),
        wraps={slot: wraps.binary(slot, _WRAPPED) for slot in wraps.names()},
        mac=fields.binary("mac", 32),
        told=told,
    )
    fields.end()
    if generation_name(position) != name:
        raise damaged(name, f"position {position}", "the position that its name says")
    return found


def _wrapping_key(private: X25519PrivateKey, peer: bytes, ephemeral: bytes, recipient: bytes) -> bytes:
    """One key for one master and one slot; ValueError for a public key without an order."""
    shared = private.exchange(X25519PublicKey.from_public_bytes(peer))
    info = b"safepoint 1 generation wrap" + ephemeral + recipient
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(shared)


def _beside(description: Description, position: int, number: int, slot: str) -> bytes:
    return canonical(
        {
            "family": description.family,
            "repository": description.id,
            "position": position,
            "generation": number,
            "slot": slot,
        }
    )


def _mac(description: Description, told: dict[str, Json], masters: Masters) -> bytes:
    covered = canonical({"family": description.family, "repository": description.id, **told})
    return blake3(b"safepoint 1 key generation" + covered, key=chain_key(masters)).digest()

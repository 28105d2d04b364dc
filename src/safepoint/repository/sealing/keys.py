"""The repository's description, and what is known once a key has opened it.

`safepoint.json` exists last, so a repository exists or does not. Its master keys are random; `slots.py` and
`generations.py` say how they are kept for those who hold a passphrase or a recovery key. Without encryption, the key
that names blobs and makes checksums stands openly in `safepoint.json`.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from blake3 import blake3

from safepoint import errors
from safepoint.model.json_value import Json
from safepoint.repository.names import DESCRIPTION_NAME
from safepoint.repository.sealing.checked_json import from_checked_json, to_checked_json
from safepoint.repository.sealing.seal import FIRST_GENERATION, Keyring, generation_of

MASTER_BYTES = 32
_FAMILY_BYTES = 16
_LANES = 256
_LAST_ROUND = 255

KEY_LOST_STATEMENT = (
    "nobody can open this repository without one of its keys, and nobody can make a new one without them: "
    "whoever loses every passphrase and recovery key of it loses every backup in it, for good"
)
"""What a person must be told before an encrypted repository is made."""

Masters = tuple[tuple[int, bytes], ...]
"""(generation, master key), in the order in which the repository took them in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyCost:
    """What one guess of the passphrase costs: scrypt's n, r, p; memory is 128 * n * r bytes."""

    n: int = 1 << 17
    r: int = 8
    p: int = 1


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Description:
    """What `safepoint.json` says. `hashing_key` is set when nothing is encrypted."""

    id: str
    family: str
    hashing_key: str | None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class OpenedKeys:
    """A repository's keys in hand: what changes of keys, and siblings, are made from.

    `slot` is the id of the slot that was opened (None without encryption). `shortfall` is set when the store says
    that later generations exist which this key does not open: then nothing may be sealed.
    """

    description: Description
    keyring: Keyring
    slot: str | None
    shortfall: errors.SafepointError | None = None

    @property
    def masters(self) -> Masters:
        """All masters, in the order in which the repository took them in."""
        return tuple(self.keyring.masters.items())

    def require_whole(self) -> OpenedKeys:
        """These keys, with which may be sealed; RP003, RP005, RP008: what `shortfall` says."""
        if self.shortfall is not None:
            raise self.shortfall
        return self


def new_description(*, is_encrypted: bool, sibling_of: Description | None = None) -> Description:
    """A repository born alone (the family is its own), or as a sibling, which another lane tells apart."""
    identity = secrets.token_hex(_FAMILY_BYTES)
    if sibling_of is None:
        key = None if is_encrypted else secrets.token_hex(MASTER_BYTES)
        return Description(id=identity, family=identity, hashing_key=key)
    while _lane(identity) == _lane(sibling_of.id):
        identity = secrets.token_hex(_FAMILY_BYTES)
    return Description(id=identity, family=sibling_of.family, hashing_key=sibling_of.hashing_key)


def description_to_bytes(description: Description) -> bytes:
    """The object `safepoint.json`."""
    value: dict[str, Json] = {
        "id": description.id,
        "family": description.family,
        "encryption": "aes-256-gcm" if description.hashing_key is None else "none",
    }
    if description.hashing_key is not None:
        value["hashing_key"] = description.hashing_key
    return to_checked_json(value)


def description_from_bytes(data: bytes) -> Description:
    """What it says; RP006 for a later format, RP005 when it is damaged."""
    fields = from_checked_json(DESCRIPTION_NAME, data)
    identity, family = fields.binary("id", _FAMILY_BYTES), fields.binary("family", _FAMILY_BYTES)
    encryption = fields.text("encryption")
    if encryption not in {"aes-256-gcm", "none"}:
        raise fields.wrong("encryption", encryption, "aes-256-gcm or none")
    key = fields.binary("hashing_key", MASTER_BYTES) if encryption == "none" else None
    fields.end()
    return Description(id=identity.hex(), family=family.hex(), hashing_key=None if key is None else key.hex())


def new_master() -> bytes:
    """A random master key."""
    return secrets.token_bytes(MASTER_BYTES)


def keyring_of(description: Description, masters: Masters = ()) -> Keyring:
    """The keys that open the repository; without encryption the description has the only one."""
    if description.hashing_key is not None:
        masters = ((FIRST_GENERATION, bytes.fromhex(description.hashing_key)),)
    return Keyring(
        family=bytes.fromhex(description.family),
        masters=dict(masters),
        is_encrypted=description.hashing_key is None,
        repository=bytes.fromhex(description.id),
    )


def chain_key(masters: Sequence[tuple[int, bytes]]) -> bytes:
    """A key for whoever has every one of these masters: what says who may open and what follows is sealed with it."""
    packed = b"".join(generation.to_bytes(2, "big") + master for generation, master in masters)
    return blake3(packed, derive_key_context="safepoint 1 key chain").digest()


def next_generation(description: Description, masters: Masters) -> int:
    """The number of the generation that a rotation makes: a round in the upper byte, the lane in the lower.

    The lane follows from the repository's id, so that two siblings which rotate apart take different numbers.
    RP009 after 255 rounds.
    """
    rounds = (max(generation for generation, _ in masters) >> 8) + 1
    if rounds > _LAST_ROUND:
        raise errors.RP009.error(
            f"found {rounds} generations of keys in family {description.family}, expected fewer to follow them",
            hints=[errors.run("make a new repository: `safepoint repository init`")],
        )
    return rounds * _LANES + _lane(description.id)


def generation_label(generation: int) -> str:
    """How a person reads a generation: `1`, then the round and the lane, as in `2-a7`."""
    if generation == FIRST_GENERATION:
        return "1"
    return f"{(generation >> 8) + 1}-{generation % _LANES:02x}"


def require_generation(keyring: Keyring, salt: bytes, name: str) -> None:
    """RP008 unless a master of the generation that sealed the object of this salt is here.

    For readers before they say "damaged", and for writers over the names of packs, which they list anyway: a pack of
    a generation that this key lacks means that the newest keys were hidden from it, and nothing may be sealed.
    """
    generation = generation_of(salt)
    if generation not in keyring.masters:
        raise lacks(f"{name} sealed with generation {generation_label(generation)}", keyring.masters)


def lacks(found: str, generations: Iterable[int]) -> errors.SafepointError:
    """RP008."""
    opened = ", ".join(generation_label(generation) for generation in sorted(generations))
    return errors.RP008.error(
        f"found {found}, expected a generation that this key opens: {opened}",
        hints=[
            errors.ask("was the key rotated by somebody who left this one out, or were objects below keys/ lost?"),
            errors.run("see which keys open what, with a key that opens: `safepoint repository key list`"),
        ],
    )


def _lane(identity: str) -> int:
    return blake3(bytes.fromhex(identity)).digest()[0]

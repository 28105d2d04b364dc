"""The repository's description and its wrapped master keys: two small JSON objects with checksums.

`safepoint.json` exists last, so a repository exists or does not. The master key of an encrypted repository is random
and lies in `keys/<id>`, sealed with AES-256-GCM under a key that scrypt derives from the passphrase. Without
encryption, the key that names blobs and makes checksums stands openly in `safepoint.json`.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from safepoint import errors
from safepoint.model.json_value import Json
from safepoint.model.secret import Secret
from safepoint.repository.sealing.seal import FIRST_GENERATION, FORMAT_VERSION, Keyring

DESCRIPTION_NAME = "safepoint.json"
KEYS_PREFIX = "keys/"
_MASTER_BYTES = 32
_FAMILY_BYTES = 16
_MOST_SCRYPT_BYTES = 1 << 30  # what a key object may make a reader allocate


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


def new_description(*, is_encrypted: bool) -> Description:
    """A repository born alone: the family is its own."""
    identity = secrets.token_hex(_FAMILY_BYTES)
    key = None if is_encrypted else secrets.token_hex(_MASTER_BYTES)
    return Description(id=identity, family=identity, hashing_key=key)


def description_to_bytes(description: Description) -> bytes:
    """The object `safepoint.json`."""
    value: dict[str, Json] = {
        "version": FORMAT_VERSION,
        "id": description.id,
        "family": description.family,
        "encryption": "aes-256-gcm" if description.hashing_key is None else "none",
    }
    if description.hashing_key is not None:
        value["hashing_key"] = description.hashing_key
    return _to_bytes(value)


def description_from_bytes(data: bytes) -> Description:
    """What it says; RP006 for a later format, RP005 when it is damaged."""
    value = _from_bytes(DESCRIPTION_NAME, data)
    return Description(id=value["id"], family=value["family"], hashing_key=value.get("hashing_key"))


def new_master() -> bytes:
    """A random master key."""
    return secrets.token_bytes(_MASTER_BYTES)


def wrap_master(master: bytes, description: Description, passphrase: Secret, cost: KeyCost) -> bytes:
    """The object to store as `keys/<id>`."""
    salt, nonce = secrets.token_bytes(32), secrets.token_bytes(12)
    parameters: dict[str, Json] = {
        "version": FORMAT_VERSION,
        "kdf": "scrypt",
        "n": cost.n,
        "r": cost.r,
        "p": cost.p,
        "salt": salt.hex(),
    }
    wrapping_key = _stretch(passphrase, salt, cost)
    sealed = AESGCM(wrapping_key).encrypt(nonce, master, _beside(description, parameters))
    return _to_bytes({**parameters, "nonce": nonce.hex(), "master": sealed.hex()})


def unwrap_master(name: str, data: bytes, description: Description, passphrase: Secret) -> bytes | None:
    """The master key, None when this passphrase does not open it; RP005 when the object is damaged."""
    value = _from_bytes(name, data)
    parameters = {key: value[key] for key in ("version", "kdf", "n", "r", "p", "salt")}
    cost = KeyCost(n=value["n"], r=value["r"], p=value["p"])
    if 128 * cost.n * cost.r > _MOST_SCRYPT_BYTES:
        raise _damaged(name, f"scrypt with n={cost.n} and r={cost.r}", "parameters that need at most 1 GiB")
    wrapping_key = _stretch(passphrase, bytes.fromhex(value["salt"]), cost)
    try:
        return AESGCM(wrapping_key).decrypt(
            bytes.fromhex(value["nonce"]), bytes.fromhex(value["master"]), _beside(description, parameters)
        )
    except InvalidTag:
        return None


def keyring_of(description: Description, master: bytes | None) -> Keyring:
    """The keys that open the repository."""
    key = master if description.hashing_key is None else bytes.fromhex(description.hashing_key)
    assert key is not None  # noqa: S101
    return Keyring(
        family=bytes.fromhex(description.family),
        masters={FIRST_GENERATION: key},
        is_encrypted=description.hashing_key is None,
    )


def _stretch(passphrase: Secret, salt: bytes, cost: KeyCost) -> bytes:
    return Scrypt(salt=salt, length=32, n=cost.n, r=cost.r, p=cost.p).derive(passphrase.reveal().encode())


def _beside(description: Description, parameters: Mapping[str, Json]) -> bytes:
    return json.dumps({**parameters, "family": description.family}, sort_keys=True).encode()


def _to_bytes(value: Mapping[str, Json]) -> bytes:
    """One line of JSON that ends with its own checksum."""
    checked = {**value, "checksum": blake3(json.dumps(value).encode()).hexdigest()}
    return (json.dumps(checked) + "\n").encode()


def _from_bytes(name: str, data: bytes) -> dict[str, Any]:
    try:
        value: Any = json.loads(data)
        version = value.pop("version")
        checksum = value.pop("checksum")
    except (ValueError, AttributeError, KeyError, TypeError):
        raise _damaged(name, f"{len(data)} bytes that are no description", "JSON with version and checksum") from None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise errors.RP006.error(
            f"found format version {version} in {name}, expected at most {FORMAT_VERSION}",
            hints=[errors.run("use the version of safepoint that wrote it, or a later one")],
        )
    value = {"version": version, **value}
    if _to_bytes(value) != data:
        raise _damaged(name, f"the checksum {str(checksum)[:16]}", "that of the other fields")
    return value


def _damaged(name: str, found: str, expected: str) -> errors.SafepointError:
    return errors.RP005.error(
        f"found {found} in {name}, expected {expected}",
        hints=[
            errors.ask("was the file edited or cut short?"),
            errors.run(f"put back {name} from a copy of this repository"),
        ],
    )

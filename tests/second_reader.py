"""A second reader of safepoint's repositories in folders, written from docs/FORMAT.md alone; words are that page's.

It shares nothing with safepoint: what both read alike is what the page says. A backup that does not exist by *Commit*,
or whose end or manifest does not open, is not listed; whatever else is wrong raises one of DAMAGE.
"""

import json
import os
import re
import struct
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from zstandard import ZstdDecompressor

PAGE, CHUNK = 8192, 1 << 28
KINDS = {"pack": 1, "manifest": 3, "wal": 4, "history": 5, "index": 7, "end": 9}
PAGE_MAP, LISTING, REMOVED = 1, 5, 2**32 - 1  # types of whole nodes (changes have the next), length of a removed value
DAMAGE = (ValueError, InvalidTag, OSError, LookupError, TypeError, AttributeError, struct.error)
SLOT = ["slot", "kind", "name", "created", "kdf", "public", "position", "sealed", "mac"]
GENERATION = ["position", "generation", "created", "ephemeral", "wraps", "mac"]
CROCKFORD = str.maketrans("0123456789ABCDEFGHJKMNPQRSTVWXYZOIL", "0123456789ABCDEFGHIJKLMNOPQRSTUV011")
REFERENCE = struct.Struct(">32s32sIII")
CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


class Unreadable(ValueError):
    """What is stored is not what the page says, or not for this key."""


class Reference(NamedTuple):
    id: bytes
    pack: bytes
    position: int
    length: int
    raw_length: int


def backups(folder: Path, key: str | None) -> dict[str, dict[str, Any]]:
    """The manifests of the backups that exist, by their ids. `key` is a passphrase or a recovery key as printed."""
    repository, own = _open(folder, key), json.loads((folder / "safepoint.json").read_bytes())["id"]
    found: dict[str, dict[str, Any]] = {}
    for end in sorted(folder.glob("leases/[!.]*/end")):
        with suppress(*DAMAGE):
            facts, _ = repository.open(end, "end")
            if (facts["end"], facts["repository"]) == ("committed", own) and not is_expired(end, facts["manifest"]):
                path = folder / facts["manifest"]
                _require(blake3(path.read_bytes()).hexdigest() == facts["digest"], f"{path} was exchanged")
                manifest = json.loads(repository.open(path, "manifest")[1])
                _require(manifest["format"] == 1, f"{path} has format {manifest['format']}")
                found[manifest["id"]] = manifest
    return found


def is_expired(end: Path, manifest: str) -> bool:
    """Whether the lease of this end is, or that which the manifest's name ends with: then the name is spent."""
    return any((end.parents[1] / name / "expired").exists() for name in (end.parent.name, manifest.rpartition("/")[2]))


def restore(folder: Path, key: str | None, backup_id: str, into: Path) -> None:
    """Every file and directory of the backup stands below `into`, with its mode."""
    repository = _open(folder, key)
    manifest = _require(backups(folder, key).get(backup_id), f"no backup {backup_id} exists")
    root, pack, *numbers = manifest["root"]
    modes: dict[Path, int] = {}
    for path, value in repository.listing(Reference(bytes.fromhex(root), bytes.fromhex(pack), *numbers)):
        _require(b"\0" not in path and not {b"", b".", b".."} & {*path.split(b"/")}, f"path {path!r} is refused")
        target = into / os.fsdecode(path)
        is_directory, modes[target], size = struct.unpack_from(">BIQ", value)
        (target if is_directory else target.parent).mkdir(parents=True, exist_ok=True)
        if not is_directory:
            with target.open("xb") as file:
                for offset, data in repository.contents(value):
                    file.seek(offset)
                    file.write(data)
            _require(target.stat().st_size == size, f"{path!r} is not {size} bytes")
    for target in reversed(modes):
        target.chmod(modes[target])


def wal(folder: Path, key: str | None, cluster: str) -> dict[str, bytes]:
    """The raw bytes of the cluster's complete WAL segments, by PostgreSQL's name."""
    repository, digests, segments = _open(folder, key), dict[str, str](), dict[str, bytes]()
    for path in sorted((folder / "wal" / cluster).glob("[!.]*/[!.]*")):
        (name, kind), (timeline, digest) = path.name.split("."), path.parent.name.split("-")
        _require(digests.setdefault(timeline, digest) == digest, f"timeline {timeline} has two histories")
        facts, raw = repository.open(path, "history" if kind == "history" else "wal")
        purpose, expected = ("history digest", digest) if kind == "history" else ("wal digest", facts["digest"])
        _require(repository.keyed(purpose, raw).hex().startswith(expected), f"{path}: another digest")
        if kind != "history":
            segments[name] = raw
    return segments


@dataclass(frozen=True)
class _Repository:
    folder: Path
    family: bytes
    is_encrypted: bool
    masters: dict[int, bytes]  # by generation

    def keyed(self, purpose: str, data: bytes) -> bytes:
        return blake3(data, key=_hkdf(self.masters[1], purpose.encode())).digest()

    def unseal(self, piece: bytes, at: int, kind: str, salt: bytes, name: bytes, length: int) -> bytes:
        """The raw bytes of a piece whose codec byte stands at this position of its object."""
        codec, sealed, nonce = piece[0], piece[1:], at.to_bytes(12, "big")
        master = _require(self.masters.get(int.from_bytes(salt[-2:], "big")), "sealed by a master that this key lacks")
        key = _hkdf(master, f"object {kind}".encode(), salt)
        beside = struct.pack(">9sHH16s32sQB", b"safepoint", 1, KINDS[kind], self.family, name, length, codec)
        payload = AESGCM(key).decrypt(nonce, sealed, beside) if self.is_encrypted else sealed[:-16]
        seal = sealed[-16:] if self.is_encrypted else blake3(nonce + beside + payload, key=key).digest(16)
        _require(seal == sealed[-16:], "a seal does not hold")
        raw = ZstdDecompressor().decompress(payload, max_output_size=length) if codec else payload
        _require(codec <= 1 and len(raw) == length, f"a piece of codec {codec} is not of {length} bytes")
        return raw

    def open(self, path: Path, kind: str) -> tuple[dict[str, Any], bytes]:
        """Facts and body of an object of one piece."""
        data = path.read_bytes()
        *header, salt, facts_raw, facts_length, body_raw = struct.unpack_from(">8sHHI32sIIQ", data)
        _require(header == [b"safepnt\n", 1, KINDS[kind], 0], f"{path} has header {header}")
        name, body = blake3(path.relative_to(self.folder).as_posix().encode()).digest(), 64 + facts_length
        facts = self.unseal(data[64:body], 64, kind, salt, name, facts_raw)
        return json.loads(facts or b"{}"), self.unseal(data[body:], body, kind, salt, name, body_raw)

    def blob(self, reference: Reference) -> bytes:
        """The blob's raw data, from where it was put or else from where an index says that it lies."""
        with suppress(*DAMAGE):
            return self._blob_at(reference)
        for place in self._indexed[reference.id]:
            with suppress(*DAMAGE):
                return self._blob_at(place)
        raise Unreadable(f"blob {reference.id.hex()} is nowhere")

    def _blob_at(self, place: Reference) -> bytes:
        pack = place.pack.hex()
        with (self.folder / "packs" / pack[:2] / pack).open("rb") as file:
            file.seek(place.position)
            piece = _require(file.read(place.length), f"pack {pack} is cut")
        raw = self.unseal(piece, place.position, "pack", place.pack, place.id, place.raw_length)
        _require(self.keyed("blob id", raw) == place.id, f"blob {place.id.hex()} has another digest")
        return raw

    @cached_property
    def _indexed(self) -> dict[bytes, list[Reference]]:
        """Every place that an index names. Superseded ones do no harm: a place counts when the blob opens there."""
        places: dict[bytes, list[Reference]] = defaultdict(list)
        for path in sorted(self.folder.glob("indexes/[!.]*")):
            with suppress(*DAMAGE):
                body = BytesIO(self.open(path, "index")[1])
                while head := body.read(36):
                    pack, blobs = struct.unpack(">32sI", head)
                    for blob, *numbers, _ in struct.iter_unpack(">32sIIIB", body.read(45 * blobs)):
                        places[blob].append(Reference(blob, pack, *numbers))
        return places

    def _chain(self, newest: Reference, whole: int) -> list[BytesIO]:
        """What follows type and base in the nodes of a chain: the whole node, then the changes, oldest first."""
        node = BytesIO(self.blob(newest))
        if (found := node.read(1)[0]) == whole:
            return [node]
        _require(found == whole + 1, f"a node of type {found}, not {whole}")
        return [*self._chain(Reference(*REFERENCE.unpack(node.read(76))), whole), node]

    def listing(self, root: Reference, below: int = 256) -> Iterator[tuple[bytes, bytes]]:
        """Paths and their values, ascending."""
        items, level = dict[bytes, bytes](), below
        for node in self._chain(root, LISTING):
            level, how_many = struct.unpack(">BI", node.read(5))
            _require(level < below, f"a listing of level {level} below level {below}")
            for _ in range(how_many):
                path = node.read(int.from_bytes(node.read(2), "big"))
                size = int.from_bytes(node.read(4), "big")
                items[path] = b"" if size == REMOVED else node.read(size)
        for path, value in sorted(items.items()):
            if value and level:
                yield from self.listing(Reference(*REFERENCE.unpack(value)), level)
            elif value:
                yield path, value

    def contents(self, entry: bytes) -> Iterator[tuple[int, bytes]]:
        """Offsets and data that make up a file, by its value in the listing."""
        size, are_chunks, how_many = struct.unpack_from(">QBI", entry, 5)
        references = [Reference(*fields) for fields in REFERENCE.iter_unpack(entry[18:])]
        _require(len(references) == how_many << are_chunks, f"{len(references)} references, not {how_many}")
        if not are_chunks:
            yield 0, b"".join(map(self.blob, references))
        else:
            for begin, page_map in zip(range(0, size, CHUNK), references[::2], strict=True):
                yield from self._pages(page_map, begin, min(size, begin + CHUNK))

    def _pages(self, page_map: Reference, begin: int, end: int) -> Iterator[tuple[int, bytes]]:
        """The pages of one chunk, which is [begin, end) of its file, blob by blob."""
        places: dict[int, tuple[Reference, int]] = {}
        for node in self._chain(page_map, PAGE_MAP):
            packs, blobs, _ = struct.unpack(">III", node.read(12))
            ids = [node.read(32) for _ in range(packs)]
            rows = struct.iter_unpack(">32sIIII", node.read(48 * blobs))
            put = [Reference(blob, ids[pack], *numbers) for blob, pack, *numbers in rows]
            for first, pages, blob, start in struct.iter_unpack(">IIII", node.read()):
                places |= {first + page: (put[blob], start + page) for page in range(pages)}
        wanted: dict[Reference, list[tuple[int, int]]] = defaultdict(list)
        for page, offset in enumerate(range(begin, end, PAGE)):
            blob, place = _require(places.get(page), f"the page at {offset} of a file is nowhere")
            wanted[blob].append((offset, PAGE * place))
        for blob, pages in wanted.items():
            data = self.blob(blob)
            for offset, start in pages:
                page = data[start : start + min(PAGE, end - offset)]
                _require(len(page) == min(PAGE, end - offset), f"the page at {offset} of a file is cut")
                yield offset, page


def _open(folder: Path, key: str | None) -> _Repository:
    """The repository with all masters that the key opens: the same passphrase may have two slots."""
    encryption, last = ("none", ["hashing_key"]) if key is None else ("aes-256-gcm", [])
    description = _small_object(folder / "safepoint.json", ["id", "family", "encryption", *last])
    family, found = bytes.fromhex(description["family"]), description["encryption"]
    _require(found == encryption, f"encryption is {found}, and for this key {encryption}")
    if key is None:
        return _Repository(folder, family, False, {1: bytes.fromhex(description["hashing_key"])})
    ids, masters = {"family": description["family"], "repository": description["id"]}, dict[int, bytes]()
    for path in sorted((folder / "keys").glob("[!.g]*")):
        with suppress(*DAMAGE):
            masters |= _masters(path, ids, key)
    return _Repository(folder, family, True, _require(masters, "no slot opens by this key"))


def _masters(path: Path, ids: dict[str, Any], key: str) -> dict[int, bytes]:
    """The masters by generation: those of the slot, and those of each later position as far as they open."""
    slot = _small_object(path, SLOT)
    public = bytes.fromhex(slot["public"])
    _require(path.name == slot["slot"] == blake3(public).hexdigest()[:32], f"{path} is another slot")
    secret, beside = _secret(slot, key), CANONICAL.encode(ids | {name: slot[name] for name in SLOT[:-2]})
    opener = AESGCM(_hkdf(secret, b"slot seal"))
    chain = opener.decrypt(bytes(12), bytes.fromhex(slot["sealed"]), beside.encode())
    private = X25519PrivateKey.from_private_bytes(_hkdf(secret, b"slot private key"))
    with suppress(*DAMAGE):  # what was sealed by the masters before one that does not open can be read all the same
        for position in range(len(chain) // 34 + 1, 10**8):
            added = _small_object(path.with_name(f"generation-{position:08}"), GENERATION)
            number, ephemeral, mac = added["generation"], bytes.fromhex(added["ephemeral"]), added.pop("mac")
            wrap = bytes.fromhex(_require(added["wraps"].get(path.name), f"this slot has no generation {number}"))
            shared = private.exchange(X25519PublicKey.from_public_bytes(ephemeral))
            wrap_key = _hkdf(shared, b"generation wrap" + ephemeral + public)
            beside = CANONICAL.encode({**ids, "position": position, "generation": number, "slot": path.name})
            longer = chain + struct.pack(">H", number) + AESGCM(wrap_key).decrypt(bytes(12), wrap, beside.encode())
            chain_key = blake3(longer, derive_key_context="safepoint 1 key chain").digest()
            said = "safepoint 1 key generation" + CANONICAL.encode(ids | added)
            _require(blake3(said.encode(), key=chain_key).hexdigest() == mac, f"generation {number} is forged")
            _require(number not in dict(struct.iter_unpack(">H32s", chain)), f"generation {number} stands twice")
            chain = longer
    return dict(struct.iter_unpack(">H32s", chain))


def _secret(slot: dict[str, Any], key: str) -> bytes:
    """What a slot's keys derive from. A printed key's letters for checking are not looked at: a seal tells all."""
    kdf, letters = slot["kdf"], re.sub(r"[\s._,\-\u2010-\u2015\u2212]", "", key).upper()
    printed, salt = re.fullmatch("(KEY|RECOVERY)(.{60,70})", letters), bytes.fromhex(kdf["salt"])
    kind = {"KEY": "generated", "RECOVERY": "recovery"}[printed[1]] if printed else "passphrase"
    if _require(slot["kind"] == kind, "a slot of another kind") and printed:
        number = int(re.sub("(.{4}).", r"\1", printed[2]).translate(CROCKFORD), base=32) >> 4
        return _hkdf(number.to_bytes(32, "big"), kind.encode() + b" key", salt)
    n, r, p = kdf["n"], kdf["r"], kdf["p"]
    _require(n > 1 and n & (n - 1) == 0 and 128 * n * r * p <= 1 << 30, f"scrypt with n = {n}, r = {r}, p = {p}")
    return Scrypt(salt=salt, length=32, n=n, r=r, p=p).derive(os.fsencode(key))


def _small_object(path: Path, names: list[str]) -> dict[str, Any]:
    """The fields of a JSON object between `version` and `checksum`. It must be spelt exactly as it would be written."""
    with path.open("rb") as file:
        raw = file.read(1 << 20)
    fields = {name: value for name, value in json.loads(raw).items() if name not in {"version", "checksum"}}
    before = {"version": 1, **fields}
    spelt = {**before, "checksum": blake3(json.dumps(before).encode()).hexdigest()}
    _require(raw == json.dumps(spelt).encode() + b"\n" and [*fields] == names, f"{path} is malformed, or newer")
    return fields


def _hkdf(secret: bytes, purpose: bytes, salt: bytes | None = None) -> bytes:
    return HKDF(SHA256(), 32, salt, b"safepoint 1 " + purpose).derive(secret)


def _require(fact: Any, otherwise: str) -> Any:
    if not fact:
        raise Unreadable(otherwise)
    return fact

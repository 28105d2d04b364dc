"""Packs as tests need them: keys, blobs of every size, and packs that hold them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest

from safepoint import errors
from safepoint.model.backup import BlobRef
from safepoint.repository.packs.pack import BlobKind, PackContents
from safepoint.repository.packs.writer import PackWriter
from safepoint.repository.sealing.seal import Keyring
from safepoint.stores import Store

MEBIBYTE = 1024 * 1024
KEYRINGS = [
    Keyring(family=b"f" * 16, masters={1: b"m" * 32}, is_encrypted=is_encrypted) for is_encrypted in (True, False)
]


def sample(size: int, seed: int = 1) -> bytes:
    """Bytes of which one half does not compress and the other does, alternating every 16 KiB."""
    source = random.Random(f"{size} {seed}")
    parts = (
        source.randbytes(64) * 256 if number % 2 else source.randbytes(16384) for number in range(size // 16384 + 1)
    )
    return b"".join(parts)[:size]


def put_all(
    store: Store, keyring: Keyring, blobs: Sequence[bytes], *, pack_bytes: int = MEBIBYTE
) -> tuple[list[BlobRef], list[PackContents]]:
    """The blobs, durable, and what their packs contain."""
    contents: list[PackContents] = []
    writer = PackWriter(store, keyring, pack_bytes=dict.fromkeys(BlobKind, pack_bytes), on_packs=contents.extend)
    refs = [writer.put_blob(blob) for blob in blobs]
    writer.finish()
    return refs, contents


def must_be_damaged(look: Callable[[], object]) -> None:
    with pytest.raises(errors.Damaged) as caught:
        look()
    assert caught.value.spec is errors.RP005

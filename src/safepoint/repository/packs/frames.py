"""A blob as frames: pieces of at most 64 KiB that compress, seal and open one by one, so that a page costs one frame.

    n > 1 frames: n x u32, the stored length of each; then the frames, one behind the other
    one frame: the frame alone

Each frame is a piece sealed at its own position in the pack, with the blob's id and its own number beside it. So the
lengths may stand in the clear: with a wrong one no frame behind it opens.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from safepoint.model.backup import BlobRef
from safepoint.repository.sealing.seal import OVERHEAD, BrokenSeal, Codec, PieceSeal, compress

FRAME_BYTES = 65536
LARGEST_BLOB = 32 * 1024 * 1024
_LENGTH_BYTES = 4


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame, compressed and not yet sealed: that waits for its place in a pack."""

    raw_length: int
    codec: Codec
    payload: bytes


def frame_count(raw_length: int) -> int:
    """How many frames a blob has; an empty one has one."""
    return max(1, -(-raw_length // FRAME_BYTES))


def table_bytes(raw_length: int) -> int:
    """How many bytes of stored lengths precede the frames."""
    frames = frame_count(raw_length)
    return frames * _LENGTH_BYTES if frames > 1 else 0


def compress_frames(raw: bytes | memoryview, level: int) -> list[Frame]:
    """The frames of a blob. Most of its time the interpreter's lock is free."""
    length = len(raw)
    if length <= FRAME_BYTES:
        return [Frame(length, *compress(raw, level))]
    view = memoryview(raw)
    pieces = (view[start : start + FRAME_BYTES] for start in range(0, length, FRAME_BYTES))
    return [Frame(len(piece), *compress(piece, level)) for piece in pieces]


def most_stored_bytes(raw_length: int) -> int:
    """How many bytes a blob takes at most."""
    return raw_length + frame_count(raw_length) * (_LENGTH_BYTES + OVERHEAD)


def seal_frames(seal: PieceSeal, position: int, identity: bytes, frames: Sequence[Frame]) -> list[bytes]:
    """What is to be written at `position`, in parts."""
    if len(frames) == 1:
        (only,) = frames
        return list(seal.close(position, identity, only.raw_length, only.codec, only.payload))
    parts = [struct.pack(f">{len(frames)}I", *(len(frame.payload) + OVERHEAD for frame in frames))]
    position += len(parts[0])
    for number, frame in enumerate(frames):
        parts += seal.close(position, identity, frame.raw_length, frame.codec, frame.payload, frame=number)
        position += len(frame.payload) + OVERHEAD
    return parts


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the frames of one blob lie: frame i is bytes [ends[i], ends[i + 1]) of the blob's stored bytes."""

    ref: BlobRef
    ends: tuple[int, ...]

    @property
    def count(self) -> int:
        """How many frames there are."""
        return len(self.ends) - 1

    def open(self, seal: PieceSeal, number: int, piece: memoryview) -> bytes:
        """The raw bytes of a frame whose stored bytes are `piece`; BrokenSeal."""
        ref = self.ref
        raw_length = min(FRAME_BYTES, ref.raw_length - number * FRAME_BYTES)
        return seal.open(ref.offset + self.ends[number], ref.id, raw_length, piece, frame=number)


def layout_of(ref: BlobRef, head: bytes | memoryview) -> Layout:
    """The layout of a blob whose stored bytes begin with `head`, at least `table_bytes`; BrokenSeal when none fits."""
    count = frame_count(ref.raw_length)
    if count == 1:
        return Layout(ref, (0, ref.length))
    first = count * _LENGTH_BYTES
    if ref.raw_length > LARGEST_BLOB or len(head) < first:
        raise BrokenSeal
    ends = tuple(accumulate(struct.unpack_from(f">{count}I", head), initial=first))
    if ends[-1] != ref.length:
        raise BrokenSeal
    return Layout(ref, ends)


def open_frames(seal: PieceSeal, ref: BlobRef, stored: memoryview) -> bytes:
    """The raw bytes of the whole blob, each frame authenticated, its id not yet compared; BrokenSeal."""
    if len(stored) != ref.length:
        raise BrokenSeal
    layout = layout_of(ref, stored)
    ends = layout.ends
    if len(ends) == 2:  # noqa: PLR2004 - one frame
        return layout.open(seal, 0, stored)
    return b"".join(
        [layout.open(seal, number, stored[ends[number] : ends[number + 1]]) for number in range(layout.count)]
    )

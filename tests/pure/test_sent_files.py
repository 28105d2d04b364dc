"""What a server sends of an incremental base backup, what it says it sent, and what it is told before."""

from __future__ import annotations

import hashlib
import json
import struct

import pytest

from safepoint import errors
from safepoint.kernel import crc32c
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.postgres.basebackup import BackupPosition
from safepoint.postgres.incremental_file import path_of, read_blocks, read_header
from safepoint.postgres.sent_manifest import SentFiles, manifest_to_upload
from safepoint.postgres.tar_stream import ByteStream

MAGIC = 0xD3AE1F0D
BLOCK = 8192


def stream_of(data: bytes) -> ByteStream:
    chunks = iter([data[at : at + 1000] for at in range(0, len(data), 1000)])
    return ByteStream(lambda: next(chunks, b""))


def incremental(blocks: list[int], truncation: int, *, magic: int = MAGIC) -> bytes:
    head = struct.pack(f"<III{len(blocks)}I", magic, len(blocks), truncation, *blocks)
    padding = bytes(-len(head) % BLOCK) if blocks else b""
    return head + padding + b"".join(bytes([block % 256]) * BLOCK for block in blocks)


@pytest.mark.parametrize(
    ("blocks", "truncation", "length"),
    [
        pytest.param([], 7, 7, id="nothing changed"),
        pytest.param([1, 3], 7, 7, id="within"),
        pytest.param([1, 9], 7, 10, id="beyond"),
        pytest.param([0, 131_071], 3, 131_072, id="the last of a file"),
        pytest.param([2], 200_000, 131_072, id="a truncation beyond the file"),
        pytest.param(list(range(0, 6000, 2)), 6000, 6000, id="a header of several blocks"),
    ],
)
def test_changed_blocks_come_with_their_numbers(blocks: list[int], truncation: int, length: int) -> None:
    """And the file is as long as pg_combinebackup would make it, within one file's length."""
    stream = stream_of(incremental(blocks, truncation))

    header = read_header(stream, "x")
    found = list(read_blocks(stream, header, "x"))

    assert header.length == length
    assert [(number, block[0]) for number, block in found] == [(block, block % 256) for block in blocks]
    assert stream.read(1) == b""


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"short", id="short"),
        pytest.param(incremental([1], 7, magic=1), id="another magic"),
        pytest.param(incremental([3, 1], 7), id="out of order"),
        pytest.param(incremental([3, 3], 7), id="twice"),
        pytest.param(incremental([131_072], 7), id="too high"),
        pytest.param(struct.pack("<III", MAGIC, 131_073, 1), id="too many"),
        pytest.param(incremental([1, 2], 7)[:15], id="cut within the numbers"),
        pytest.param(incremental([1, 2], 7)[:-1], id="cut within a block"),
    ],
)
def test_what_is_no_such_file_voids_the_backup(data: bytes) -> None:
    """BK001: nothing is guessed."""
    stream = stream_of(data)

    with pytest.raises(errors.SafepointError) as caught:
        list(read_blocks(stream, read_header(stream, "x"), "x"))

    assert caught.value.spec is errors.BK001


def test_an_incremental_file_is_told_by_its_name() -> None:
    """Of whichever segment, wherever it stands."""
    assert path_of("base/5/INCREMENTAL.16384.2") == "base/5/16384.2"
    assert path_of("INCREMENTAL.1") == "1"
    assert path_of("base/5/16384") is None


def manifest(files: list[dict[str, object]]) -> bytes:
    body = f'{{ "PostgreSQL-Backup-Manifest-Version": 2,\n"Files": {json.dumps(files)},\n'.encode()
    return body + f'"Manifest-Checksum": "{hashlib.sha256(body).hexdigest()}"}}\n'.encode()


def listed(path: str, content: bytes, *, is_encoded: bool = False) -> dict[str, object]:
    name = {"Encoded-Path": path.encode().hex()} if is_encoded else {"Path": path}
    checksum = crc32c(content).to_bytes(4, "little").hex()
    return {**name, "Size": len(content), "Checksum-Algorithm": "CRC32C", "Checksum": checksum}


def test_what_came_is_what_the_server_lists() -> None:
    """Paths in hexadecimal, too."""
    sent = SentFiles()
    sent.add("a", 3, crc32c(b"abc"))
    sent.add("b", 0, crc32c(b""))

    sent.require_equal(manifest([listed("a", b"abc"), listed("b", b"", is_encoded=True)]))


@pytest.mark.parametrize(
    "stated",
    [
        pytest.param(manifest([listed("a", b"abd")]), id="another checksum"),
        pytest.param(manifest([listed("a", b"abcd")]), id="another size"),
        pytest.param(manifest([]), id="a file too many"),
        pytest.param(manifest([listed("a", b"abc"), listed("b", b"")]), id="a file too few"),
        pytest.param(manifest([{**listed("a", b"abc"), "Checksum-Algorithm": "NONE"}]), id="no checksum"),
        pytest.param(manifest([listed("a", b"abc")]).replace(b'"Size": 3', b'"Size": 4'), id="changed on the way"),
        pytest.param(b"{}", id="nothing in it"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"[1]", id="no object"),
    ],
)
def test_what_did_not_come_as_listed_voids_the_backup(stated: bytes) -> None:
    """BK001."""
    sent = SentFiles()
    sent.add("a", 3, crc32c(b"abc"))

    with pytest.raises(errors.SafepointError) as caught:
        sent.require_equal(stated)

    assert caught.value.spec is errors.BK001


def test_what_is_uploaded_is_a_whole_manifest() -> None:
    """Of version 2, with identifier, range and a checksum of all that stands before it; the newline counts."""
    start = BackupPosition(lsn=Lsn.parse("0/28"), timeline=TimelineId(3))
    paths = [("base/5/1", 8192), ('base/5/"x', 0)]

    text = manifest_to_upload(paths, system_identifier="77", start=start, stop=Lsn.parse("0/100"))

    body, _, _ = text.rpartition(b'"Manifest-Checksum"')
    value = json.loads(text)
    assert value["PostgreSQL-Backup-Manifest-Version"] == 2
    assert value["System-Identifier"] == 77
    assert [(file["Path"], file["Size"]) for file in value["Files"]] == paths
    assert value["WAL-Ranges"] == [{"Timeline": 3, "Start-LSN": "0/28", "End-LSN": "0/100"}]
    assert value["Manifest-Checksum"] == hashlib.sha256(body).hexdigest()
    assert body.endswith(b"\n")
    assert text.endswith(b"\n")

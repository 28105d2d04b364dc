"""Reading a base backup's archives as they arrive, and timeline histories."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safepoint import errors
from safepoint.model.history import Ancestor, parse_history
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.postgres.tar_stream import ByteStream, EntryKind, read_entries


def archive(files: dict[str, bytes]) -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        folder = tarfile.TarInfo("base")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o600
            tar.addfile(entry, io.BytesIO(content))
    return output.getvalue()


def stream_of(data: bytes, chunk: int) -> ByteStream:
    chunks = iter([data[at : at + chunk] for at in range(0, len(data), chunk)])
    return ByteStream(lambda: next(chunks, b""))


@given(st.lists(st.binary(max_size=3000), max_size=5), st.integers(1, 2000), st.integers(1, 1500))
def test_every_byte_arrives_whatever_the_chunks(contents: list[bytes], chunk: int, group: int) -> None:
    """Files come in groups of the wanted size, the last one shorter."""
    files = {f"base/{number}": content for number, content in enumerate(contents)}

    found = [(entry, list(pieces)) for entry, pieces in read_entries(stream_of(archive(files), chunk), group)]

    assert found[0][0].kind is EntryKind.DIRECTORY
    assert {entry.path: b"".join(pieces) for entry, pieces in found[1:]} == files
    assert all(len(piece) == group for _, pieces in found for piece in pieces[:-1])


def test_content_nobody_reads_is_skipped() -> None:
    """The next header is found all the same."""
    data = archive({"a": b"x" * 700, "b": b"y"})

    assert [entry.path for entry, _ in read_entries(stream_of(data, 512), 100)] == ["base", "a", "b"]


def test_a_stream_that_ends_within_a_file_voids_the_backup() -> None:
    """BK001 names the file."""
    data = archive({"a": b"x" * 700})[: 512 * 3]

    with pytest.raises(errors.Refused, match="within a"):
        list(read_entries(stream_of(data, 512), 100))


@pytest.mark.parametrize("damage", [slice(0, 1), slice(124, 125), slice(257, 262)])
def test_a_damaged_header_voids_the_backup(damage: slice) -> None:
    """Bytes that are not understood never become a file."""
    data = bytearray(archive({"a": b"x"}))
    data[damage] = b"7" * len(data[damage])

    with pytest.raises(errors.Refused):
        list(read_entries(stream_of(bytes(data), 512), 100))


def test_a_history_gives_the_ancestors_in_order() -> None:
    """Comments and empty lines are no ancestors."""
    content = b"1\t0/3000000\tno recovery target specified\n\n# a comment\n2\t0/5000028\tx\n"

    assert parse_history(content) == (
        Ancestor(timeline=TimelineId(1), switch=Lsn.parse("0/3000000")),
        Ancestor(timeline=TimelineId(2), switch=Lsn.parse("0/5000028")),
    )


@pytest.mark.parametrize("content", [b"1\n", b"x\t0/3000000\n", b"1\tnowhere\n", b"2\t0/1\tx\n1\t0/2\tx\n"])
def test_a_broken_history_is_refused(content: bytes) -> None:
    """Half an ancestry is none."""
    with pytest.raises(ValueError, match="found"):
        parse_history(content)

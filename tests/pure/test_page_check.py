"""Torn pages told from damage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from safepoint.backup.sources.page_check import ATTEMPTS, PageCheck
from safepoint.kernel import PAGE_BYTES, page_checksums
from safepoint.model.backup import DamagedPage
from safepoint.model.lsn import Lsn

START, END = Lsn(0x1000), Lsn(0x9000)
PATH = "base/5/16384"


def page(block: int, lsn: int = 0x500) -> bytes:
    """A sound page."""
    content = bytearray(b"\7" * PAGE_BYTES)
    content[0:8] = (0).to_bytes(4, "little") + lsn.to_bytes(4, "little")
    checksum = int(page_checksums(bytes(content), block)[0])
    content[8:10] = checksum.to_bytes(2, "little")
    return bytes(content)


def torn(block: int, lsn: int = 0x500) -> bytes:
    """One whose second half is another's."""
    return page(block, lsn)[: PAGE_BYTES // 2] + b"\1" * (PAGE_BYTES // 2)


def found(
    tmp_path: Path,
    on_disk: bytes,
    *,
    read: bytes | None = None,
    path: str = PATH,
    pause: Callable[[float], None] = lambda _: None,
) -> tuple[DamagedPage, ...]:
    """The damage in a file, of which `read` was read at first."""
    source = tmp_path / "file"
    source.write_bytes(on_disk)
    check = PageCheck(start=START, segment_blocks=16, pause=pause)
    inspect = check.inspector(path, str(source))
    assert inspect is not None
    inspect(memoryview(read or on_disk), 0)
    return check.damage(END)


def test_a_sound_file_has_no_damage(tmp_path: Path) -> None:
    """Pages of zeros are sound, and so is a page that the server is still adding at the end."""
    assert found(tmp_path, page(0) + bytes(PAGE_BYTES) + page(2) + b"half a page") == ()


def test_a_page_that_stays_bad_is_damage(tmp_path: Path) -> None:
    """With its number through all segments of the fork."""
    assert found(tmp_path, page(0) + torn(1)) == (DamagedPage(path=PATH, block=1),)
    second = page(32) + torn(33)
    assert found(tmp_path, second, path=f"{PATH}.2") == (DamagedPage(path=f"{PATH}.2", block=33),)


def test_a_page_that_holds_when_read_again_was_torn(tmp_path: Path) -> None:
    """The server was writing it."""
    assert found(tmp_path, page(0), read=torn(0)) == ()


def test_a_page_that_holds_at_last_was_torn(tmp_path: Path) -> None:
    """It is read again a few times."""
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == ATTEMPTS - 1:
            (tmp_path / "file").write_bytes(page(0))

    assert found(tmp_path, torn(0), pause=pause) == ()
    assert len(pauses) == ATTEMPTS - 1


def test_a_bad_page_from_after_the_start_is_mended_by_wal(tmp_path: Path) -> None:
    """Its LSN lies between the backup's start and what the server had written."""
    assert found(tmp_path, torn(0, lsn=0x2000)) == ()


def test_an_lsn_that_there_is_no_wal_for_mends_nothing(tmp_path: Path) -> None:
    """Then the LSN itself is damage."""
    assert found(tmp_path, torn(0, lsn=0x9001)) == (DamagedPage(path=PATH, block=0),)


def test_what_vanished_or_shrank_is_no_damage(tmp_path: Path) -> None:
    """WAL says so, too."""
    assert found(tmp_path, b"", read=torn(0)) == ()
    check = PageCheck(start=START, segment_blocks=16)
    inspect = check.inspector(PATH, str(tmp_path / "gone"))
    assert inspect is not None
    inspect(memoryview(torn(0)), 0)
    assert check.damage(END) == ()


@pytest.mark.parametrize(
    ("path", "is_checked"),
    [
        ("base/5/16384", True),
        ("base/5/16384.1", True),
        ("base/5/16384_fsm", True),
        ("base/5/16384_vm", True),
        ("base/5/16384_init", True),
        ("global/1262", True),
        ("pg_tblspc/16400/PG_18_202506291/5/16401", True),
        ("base/5/PG_VERSION", False),
        ("base/5/pg_filenode.map", False),
        ("global/pg_control", False),
        ("pg_xact/0000", False),
        ("pg_multixact/offsets/0000", False),
        ("base/5/t3_16384", False),
        ("safepoint.outside/0-1234", False),
    ],
)
def test_only_relations_are_checked(path: str, is_checked: bool) -> None:
    """All their forks; no other file has checksums."""
    check = PageCheck(start=START, segment_blocks=16)
    assert (check.inspector(path, "/nowhere") is not None) is is_checked

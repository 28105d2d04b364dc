"""Pages that a server sends: torn ones told from damage, and the server's word held against ours."""

from __future__ import annotations

from typing import Any

import pytest

from safepoint import errors
from safepoint.backup.sources.damage import MOST_DAMAGED_PAGES, ServerVerdict, damage_of, damage_sent
from safepoint.backup.sources.sent_pages import SentPageCheck
from safepoint.kernel import PAGE_BYTES, page_checksums
from safepoint.model.backup import DamagedPage
from safepoint.model.lsn import Lsn

PATH = "base/5/16384"
START = Lsn(0x1000)
END = Lsn(0x2000)
BEFORE, WITHIN, BEYOND = 0x0F00, 0x1800, 0x2100


def page(lsn: int, *, block: int = 0, is_sound: bool = True) -> bytes:
    made = bytearray(PAGE_BYTES)
    made[4:8] = lsn.to_bytes(4, "little")
    made[12:20] = b"\x1c\x00\x00\x20\x00\x20\x04\x20"
    made[8:10] = int(page_checksums(bytes(made), block)[0]).to_bytes(2, "little")
    if not is_sound:
        made[5000] ^= 1
    return bytes(made)


def unanswered(*_: object) -> None:
    return None


def check_of(*pages: bytes, path: str = PATH) -> SentPageCheck:
    check = SentPageCheck(start=START, segment_blocks=131_072)
    check.inspect(path, 0, b"".join(pages))
    return check


def damaged(block: int, path: str = PATH) -> DamagedPage:
    return DamagedPage(path=path, block=block)


def test_a_bad_page_is_damage_unless_wal_mends_it() -> None:
    """Changed before the start, or at a position that WAL has not reached: nothing mends it."""
    check = check_of(
        page(BEFORE, is_sound=False),
        page(WITHIN, is_sound=False),
        page(BEYOND, is_sound=False),
        page(START.value, is_sound=False),
        page(BEFORE, block=4),
        bytes(PAGE_BYTES),
    )

    assert check.damage(END, unanswered) == {damaged(0), damaged(2), damaged(3)}


@pytest.mark.parametrize(
    ("now", "is_damage"),
    [
        pytest.param(page(WITHIN), False, id="written meanwhile"),
        pytest.param(page(BEFORE), True, id="sound again, by no change that is replayed"),
        pytest.param(page(BEYOND), True, id="changed after the backup's end"),
        pytest.param(page(WITHIN, is_sound=False), True, id="still bad"),
        pytest.param(b"", True, id="gone"),
        pytest.param(None, True, id="not to be had"),
    ],
)
def test_a_page_caught_while_it_was_written_is_mended(now: bytes | None, *, is_damage: bool) -> None:
    """Where it is sound now by a change between the backup's start and its end, and in no other case."""
    check = check_of(page(BEFORE, is_sound=False))

    found = check.damage(END, lambda *_: now)

    assert (found, check.mended) == (({damaged(0)}, set()) if is_damage else (set(), {damaged(0)}))


def test_blocks_count_through_segments_and_are_asked_for_within_their_file() -> None:
    """The second file of a relation begins at block 131,072."""
    asked: list[tuple[str, int]] = []

    def ask(path: str, number: int) -> Any:
        asked.append((path, number))

    check = check_of(page(BEFORE, block=131_072), page(BEFORE, block=131_073, is_sound=False), path=f"{PATH}.1")

    assert check.damage(END, ask) == {damaged(131_073, f"{PATH}.1")}
    assert asked == [(f"{PATH}.1", 1)]


def test_single_blocks_are_looked_at_as_they_pass() -> None:
    """Those of an incremental file, by their own numbers."""
    check = SentPageCheck(start=START, segment_blocks=131_072)
    blocks = [(3, page(BEFORE, block=3)), (9, page(BEFORE, block=9, is_sound=False))]

    assert list(check.each(PATH, iter(blocks))) == blocks
    assert check.damage(END, unanswered) == {damaged(9)}


@pytest.mark.parametrize("path", ["global/pg_control", "PG_VERSION", "base/5/pg_filenode.map", "pg_xact/0000"])
def test_what_is_no_relation_has_no_pages(path: str) -> None:
    """Their bytes may be anything."""
    assert check_of(page(BEFORE, is_sound=False), path=path).damage(END, unanswered) == set()


def test_what_the_server_named_and_we_did_not_see_is_damage_too() -> None:
    """But for what WAL mends."""
    verdict = ServerVerdict(is_damaged=True, named=frozenset({damaged(1), damaged(2)}))

    assert damage_sent({damaged(7)}, {damaged(2)}, verdict).pages == (damaged(1), damaged(7))


def test_where_we_cannot_look_what_the_server_named_is_told_with_a_warning() -> None:
    """It names five pages of a file at most."""
    said = damage_sent(None, (), ServerVerdict(is_damaged=True, named=frozenset({damaged(1)})))

    assert said.pages == (damaged(1),)
    assert "there may be more" in said.warnings[0]


def test_a_server_that_caught_pages_being_written_is_told_of() -> None:
    """It found no damage that lasts: the backup is unmarked, and says why."""
    said = damage_sent(set(), {damaged(4)}, ServerVerdict(is_damaged=True, named=frozenset({damaged(4)})))

    assert said.pages == ()
    assert f"block 4 of {PATH}" in said.warnings[0]


@pytest.mark.parametrize("found", [None, set[DamagedPage]()])
def test_damage_that_nobody_can_name_voids_the_backup(found: set[DamagedPage] | None) -> None:
    """A verdict of the server is never passed over: BK005."""
    with pytest.raises(errors.Refused) as caught:
        damage_sent(found, (), ServerVerdict(is_damaged=True))

    assert caught.value.spec is errors.BK005


def test_a_sound_backup_has_nothing_to_say() -> None:
    """Neither pages nor warnings."""
    said = damage_sent(set(), (), ServerVerdict(is_damaged=False))

    assert (said.pages, said.warnings) == ((), ())


def test_a_manifest_names_so_many_pages_and_the_rest_are_counted() -> None:
    """A disk that is gone is not described page by page."""
    said = damage_of([damaged(block) for block in range(MOST_DAMAGED_PAGES + 5)])

    assert len(said.pages) == MOST_DAMAGED_PAGES
    assert "10005 pages" in said.warnings[0]

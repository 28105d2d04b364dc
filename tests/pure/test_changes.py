"""What must be read of a file: every page that may have changed, whatever summaries say, and whole when in doubt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safepoint.backup.changes import (
    BLOCK_BYTES,
    SEGMENT_BLOCKS,
    SHARES,
    MainForkFile,
    Pages,
    ReadAll,
    Reading,
    Unchanged,
    is_in_share,
    main_fork_file,
    pieces_in_share,
    reading_of,
)
from safepoint.model.changed_blocks import NO_RELATION, ROW, BlockCollector, ChangedBlocks, RelationKey

PATH = "base/5/16384"
KEY = RelationKey(tablespace=1663, database=5, relation=16384)


def changed(*rows: tuple[RelationKey, int, bool]) -> ChangedBlocks:
    collector = BlockCollector()
    table = [(key.tablespace, key.database, key.relation, block, is_limit) for key, block, is_limit in rows]
    collector.add(np.array(table, ROW))
    return collector.collected()


def reading(size: int, parent: int | None, *rows: tuple[RelationKey, int, bool], path: str = PATH) -> Reading:
    """Sizes in pages."""
    parent_size = None if parent is None else parent * BLOCK_BYTES
    return reading_of(path, size * BLOCK_BYTES, parent_size, changed(*rows))


def pages(found: Reading) -> list[int]:
    assert isinstance(found, Pages), found
    return found.numbers.tolist()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("base/5/16384", MainForkFile(KEY, 0)),
        ("base/5/16384.3", MainForkFile(KEY, 3)),
        ("global/1262", MainForkFile(RelationKey(tablespace=1664, database=0, relation=1262), 0)),
        ("pg_tblspc/77/PG_18_202506291/5/9", MainForkFile(RelationKey(tablespace=77, database=5, relation=9), 0)),
    ],
)
def test_a_main_fork_is_told_by_its_path(path: str, expected: MainForkFile) -> None:
    """By the tablespace, database and relfilenode under which a summary keeps it."""
    assert main_fork_file(path) == expected


@pytest.mark.parametrize(
    "path",
    [
        "base/5/16384_vm",
        "base/5/16384_fsm",
        "base/5/16384_init",
        "base/5/16384_fsm.1",
        "base/5/t3_16384",
        "base/5/PG_VERSION",
        "base/5/pg_filenode.map",
        "base/5/0",
        "base/5/16384.0",
        "base/5/INCREMENTAL.16384",
        "global/pg_control",
        "pg_xact/0000",
        "pg_multixact/members/0000",
        "pg_tblspc/77/5/9",
        "postgresql.conf",
        "elsewhere/base/5/16384",
        "base/5/16384\n",
    ],
)
def test_whatever_is_no_main_fork_is_read(path: str) -> None:
    """Summaries speak of none of these, or not of all that changes in them."""
    assert main_fork_file(path) is None
    assert isinstance(reading(4, 4, path=path), ReadAll)


def test_a_file_of_which_nothing_is_said_is_unchanged() -> None:
    """Also when other relations changed."""
    other = RelationKey(tablespace=1663, database=5, relation=16385)

    assert isinstance(reading(4, 4), Unchanged)
    assert isinstance(reading(4, 4, (other, 1, False), (other, 0, True)), Unchanged)


def test_named_pages_are_read_and_so_is_what_the_parent_lacks() -> None:
    """A file that grew without a word, as bulk extension makes it, is read from the parent's end on."""
    assert pages(reading(4, 4, (KEY, 2, False), (KEY, 0, False))) == [0, 2]
    assert pages(reading(6, 4)) == [4, 5]
    assert pages(reading(6, 4, (KEY, 1, False), (KEY, 9, False))) == [1, 4, 5]


def test_from_the_smallest_limit_on_everything_is_read() -> None:
    """Truncated to 7, to 3, to 5, and extended again: page 3 is not what the parent has there."""
    assert pages(reading(6, 9, (KEY, 7, True), (KEY, 3, True), (KEY, 5, True), (KEY, 1, False))) == [1, 3, 4, 5]


@pytest.mark.parametrize(
    ("size", "parent", "rows"),
    [
        pytest.param(4, None, [], id="the parent has none"),
        pytest.param(4, 4, [(KEY, 0, True)], id="dropped, created or truncated to nothing"),
        pytest.param(3, 4, [], id="shorter without a limit"),
        pytest.param(3, 9, [(KEY, 5, True)], id="shorter than its limit"),
        pytest.param(
            4, 4, [(RelationKey(tablespace=1663, database=5, relation=NO_RELATION), 0, True)], id="a new database"
        ),
    ],
)
def test_what_is_odd_is_read_whole(size: int, parent: int | None, rows: list[tuple[RelationKey, int, bool]]) -> None:
    """There is no telling which of its pages are the parent's."""
    assert isinstance(reading(size, parent, *rows), ReadAll)


def test_sizes_that_are_no_pages_are_read_whole() -> None:
    """A file that is being extended, or a parent that was."""
    nothing = changed()

    assert isinstance(reading_of(PATH, 8193, 8192, nothing), ReadAll)
    assert isinstance(reading_of(PATH, 8192, 8191, nothing), ReadAll)
    assert isinstance(reading_of(PATH, (SEGMENT_BLOCKS + 1) * BLOCK_BYTES, 8192, nothing), ReadAll)


def test_a_page_of_which_the_parents_is_no_good_is_read() -> None:
    """It was damaged then; perhaps it is mended now."""
    found = reading_of(PATH, 4 * BLOCK_BYTES, 4 * BLOCK_BYTES, changed(), distrusted=frozenset({2, 9}))

    assert pages(found) == [2]


def test_blocks_count_through_the_segments_of_a_relation() -> None:
    """Block 131,075 is page 3 of the second file; a limit in the first one makes the second one new."""
    block = SEGMENT_BLOCKS + 3

    assert pages(reading(9, 9, (KEY, block, False), (KEY, 3, False), path=f"{PATH}.1")) == [3]
    assert pages(reading(9, 9, (KEY, block + 4, True), path=f"{PATH}.1")) == [7, 8]
    assert isinstance(reading(9, 9, (KEY, SEGMENT_BLOCKS - 1, True), path=f"{PATH}.1"), ReadAll)
    assert isinstance(reading(9, 9, (KEY, block, True)), Unchanged)


@dataclass(frozen=True)
class Change:
    """What a server does to a relation: sets a page, makes the file shorter, or longer by empty pages without WAL."""

    kind: str
    number: int


CHANGES = st.lists(
    st.builds(Change, kind=st.sampled_from(["set", "truncate", "extend"]), number=st.integers(0, 12)), max_size=12
)


@given(st.integers(0, 10), CHANGES)
def test_the_parent_with_the_pages_read_is_the_file(length: int, changes: list[Change]) -> None:
    """Whatever was done to it: set with WAL, truncated with a limit, extended without a word."""
    parent = [f"old {page}" for page in range(length)]
    now, rows = list(parent), list[tuple[RelationKey, int, bool]]()
    for turn, change in enumerate(changes):
        if change.kind == "extend":
            now += [""] * change.number
        elif change.kind == "truncate" and change.number < len(now):
            del now[change.number :]
            rows.append((KEY, change.number, True))
        elif change.kind == "set":
            now += [""] * (change.number + 1 - len(now))
            now[change.number] = f"new {turn}"
            rows.append((KEY, change.number, False))

    found = reading(len(now), len(parent), *rows)

    if isinstance(found, ReadAll):
        return
    read = set() if isinstance(found, Unchanged) else set(found.numbers.tolist())
    assert [now[page] if page in read else parent[page] for page in range(len(now))] == now
    assert len(now) == len(parent) or isinstance(found, Pages)


@given(st.integers(0, 40_000), st.text(min_size=1, max_size=20))
def test_every_page_is_read_again_within_so_many_backups(count: int, path: str) -> None:
    """Each page in exactly one share; whole files as well."""
    shares = [pieces_in_share("7", path, count, share) for share in range(SHARES)]

    assert sorted(page for pieces in shares for piece in pieces for page in piece) == list(range(count))
    assert sum(is_in_share("7", path, share) for share in range(SHARES)) == 1
    assert pieces_in_share("7", path, count, SHARES + 3) == shares[3]


def test_shares_are_even() -> None:
    """Of 2,800 files each share has about 200; another cluster's are others."""
    counts = [sum(is_in_share("7", f"base/5/{file}", share) for file in range(2800)) for share in range(SHARES)]

    assert min(counts) > 130
    assert max(counts) < 270
    assert any(is_in_share("7", f"base/5/{file}", 0) != is_in_share("8", f"base/5/{file}", 0) for file in range(50))

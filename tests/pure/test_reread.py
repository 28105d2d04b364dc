"""Pages that were to be skipped and differ: what explains them, and what is done when nothing does."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from repository_samples import make_repository
from safepoint.backup.sources.changes_known import KnownChanges
from safepoint.backup.sources.detected import record_findings
from safepoint.backup.sources.reread import Reread
from safepoint.backup.summaries_trust import distrust_of, newest_distrust, record_trusted, record_unexplained
from safepoint.model.changed_blocks import BlockCollector
from safepoint.model.json_value import JsonObject
from safepoint.model.lsn import Lsn
from safepoint.postgres.url import DatabaseUrl
from safepoint.stores import MemoryStore

START = Lsn.parse("0/1000")
WRITTEN = Lsn.parse("0/2000")
NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Parent:
    """What the parent has: one page, in every place."""

    def __init__(self, page: bytes) -> None:
        self._page = page

    def differing(self, first_page: int, data: bytes) -> list[int]:
        """By content."""
        count = len(data) // 8192
        return [first_page + at for at in range(count) if data[at * 8192 : (at + 1) * 8192] != self._page]

    def read(self, _: int) -> bytes:
        """The page."""
        return self._page


class Known(KnownChanges):
    """A server that has written WAL up to WRITTEN."""

    def written_up_to(self) -> Lsn:
        """As far as it has."""
        return WRITTEN


def heap_page(lsn: str, *, hint: int = 0, column: int = 0x33) -> bytes:
    found = bytearray(8192)
    value = Lsn.parse(lsn).value
    struct.pack_into("<IIHHHHHHI", found, 0, value >> 32, value & 0xFFFFFFFF, 0, 0, 28, 8100, 8192, 0x2004, 0)
    struct.pack_into("<I", found, 24, 8100 | 1 << 15 | 60 << 17)
    found[8100:] = bytes([column]) * 92
    found[8121] = hint
    return bytes(found)


BEFORE = heap_page("0/500")


def reread(*, are_hints_logged: bool = True) -> Reread:
    known = Known(
        changed=BlockCollector().collected(),
        url=DatabaseUrl.parse("postgresql:///x"),
        cluster="77",
        start=START,
        share=1,
        are_hints_logged=are_hints_logged,
    )
    return Reread(known=known, pause=lambda _: None)


def compared(found: Reread, page: bytes, again: bytes | None, named: list[int] | None = None) -> dict[str, list[int]]:
    found.compare("base/5/1", cast("Any", Parent(BEFORE)), 7, BEFORE + page, named or [], lambda _: again)
    return found.unexplained


@pytest.mark.parametrize(
    ("page", "again"),
    [
        pytest.param(heap_page("0/1000", column=1), None, id="changed since the backup began"),
        pytest.param(heap_page("0/700", column=1), BEFORE, id="torn, and whole when read again"),
        pytest.param(heap_page("0/700", column=1), heap_page("0/1800"), id="torn, and new when read again"),
        pytest.param(heap_page("0/700", column=1), b"", id="truncated meanwhile"),
    ],
)
def test_what_wal_mends_is_explained(page: bytes, again: bytes | None) -> None:
    """Nothing is held against the summaries."""
    assert compared(reread(), page, again) == {}


@pytest.mark.parametrize(
    ("page", "again"),
    [
        pytest.param(heap_page("0/700", column=1), heap_page("0/700", column=1), id="changed before"),
        pytest.param(heap_page("0/500", hint=1), heap_page("0/500", hint=1), id="a hint that would be logged"),
        pytest.param(heap_page("0/2001", column=1), heap_page("0/2001", column=1), id="an LSN that is not there yet"),
        pytest.param(heap_page("0/700", column=1), None, id="it cannot be read again"),
        pytest.param(bytes(8192), bytes(8192), id="zeros where there was something"),
    ],
)
def test_what_nothing_explains_is_found(page: bytes, again: bytes | None) -> None:
    """By path and page."""
    assert compared(reread(), page, again) == {"base/5/1": [8]}


def test_hints_explain_themselves_where_they_are_not_logged() -> None:
    """And only they."""
    hint, more = heap_page("0/500", hint=1), heap_page("0/500", hint=1, column=2)

    assert compared(reread(are_hints_logged=False), hint, hint) == {}
    assert compared(reread(are_hints_logged=False), more, more) == {"base/5/1": [8]}


def test_pages_that_are_known_to_have_changed_are_not_held_against_anything() -> None:
    """They are read anyway."""
    assert compared(reread(), heap_page("0/700", column=1), None, named=[8]) == {}


def test_what_is_found_is_on_record_until_somebody_trusts_again() -> None:
    """Of that cluster alone; the newest record decides."""
    repository = make_repository(MemoryStore(), None)
    found = reread()
    assert record_findings(repository, found) is None
    compared(found, bytes(8192), bytes(8192))

    doubt = record_findings(repository, found)
    distrust = distrust_of(repository, "77")
    other = distrust_of(repository, "78")
    record_trusted(repository, "77", NOW)
    trusted = distrust_of(repository, "77")
    record_unexplained(repository, "77", "base/5/2", range(1000), NOW)
    again = distrust_of(repository, "77")

    assert doubt is not None
    assert doubt.is_alarming
    assert "page 8 of base/5/1" in doubt.why
    assert distrust is not None
    assert (distrust.path, distrust.blocks) == ("base/5/1", (8,))
    assert other is None
    assert trusted is None
    assert again is not None
    assert (again.path, len(again.blocks)) == ("base/5/2", 100)
    assert "page 0, 1, 2, 3, 4, …" in str(again)


@pytest.mark.parametrize("record", [{}, {"disabled": "no"}, {"disabled": True, "blocks": "x", "path": 7}])
def test_a_record_that_is_not_understood_is_distrust(record: JsonObject) -> None:
    """Never the other way."""
    assert newest_distrust([{**record, "cluster": "77"}], "77") is not None
    assert newest_distrust([{**record, "cluster": "78"}], "77") is None

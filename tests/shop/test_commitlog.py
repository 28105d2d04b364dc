"""The reader believes a whole log only: what was cut, edited or lost is an error, never a smaller number."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from vivr_shop import commitlog
from vivr_shop.traffic.log import Log, stamp

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def _at(second: float) -> str:
    return stamp(NOON + timedelta(seconds=second))


def _commit(second: float, shopper: str = "old-1", **changed: Any) -> dict[str, Any]:
    line = {"shopper": shopper, "version": "old", "kind": "review", "seconds": 0.25, "table": "Review", "xid": 7}
    return line | {"ids": {"Review": ["c1"]}, "sent_at": _at(second - 0.1), "acknowledged_at": _at(second)} | changed


def _failure(second: float, shopper: str = "old-1") -> dict[str, Any]:
    line = {"shopper": shopper, "version": "old", "kind": "error", "seconds": 0.5}
    return line | {"sqlstate": "57P01", "message": "terminating connection", "at": _at(second)}


def _write(path: Path, *lines: dict[str, Any]) -> Path:
    with Log(path) as log:
        for line in lines:
            log.append(line)
    return path


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines(keepends=True)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    log = commitlog.read(_write(tmp_path / "log", _commit(1), _failure(2), _commit(3)))
    assert [commit.acknowledged_at for commit in log.commits] == [NOON + timedelta(seconds=s) for s in (1, 3)]
    assert [failure.sqlstate for failure in log.failures] == ["57P01"]
    assert (log.is_ended, log.is_torn) == (True, False)


def test_a_commit_of_unknown_outcome_is_no_commit(tmp_path: Path) -> None:
    unknown = _commit(2, kind="unknown", of="order", at=_at(2))
    log = commitlog.read(_write(tmp_path / "log", _commit(1), unknown))
    assert [commit.n for commit in log.commits] == [2]
    assert [(commit.n, commit.kind, commit.is_success) for commit in log.unknown] == [(3, "order", False)]


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    """The process was killed while it wrote."""
    path = _write(tmp_path / "log", _commit(1), _commit(2))
    path.write_text("".join(_lines(path)[:3])[:-20])
    log = commitlog.read(path)
    assert [commit.n for commit in log.commits] == [2]
    assert (log.is_ended, log.is_torn) == (False, True)


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_missing_line_is_an_error(tmp_path: Path, lost: int) -> None:
    path = _write(tmp_path / "log", _commit(1), _commit(2))
    lines = _lines(path)
    path.write_text("".join(lines[:lost] + lines[lost + 1 :]))
    with pytest.raises(commitlog.LogDamaged, match=f"line {lost + 1}: found number {lost + 2}, expected {lost + 1}"):
        commitlog.read(path)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        commitlog.read(tmp_path / "log")


@pytest.mark.parametrize("content", ["", '{"n": 1, "kind": "st'])
def test_a_log_without_a_start_is_an_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "log").write_text(content)
    with pytest.raises(commitlog.LogDamaged, match="found no start"):
        commitlog.read(tmp_path / "log")


@pytest.mark.parametrize(
    ("changed", "fact"),
    [
        ({"kind": "refund"}, "found kind 'refund'"),
        ({"ids": {}}, "found ids {}"),
        ({"ids": {"Ordre": ["c1"]}}, "found ids of Ordre"),
        ({"ids": {"Order": [1]}}, "found ids of Order"),
        ({"acknowledged_at": None}, "found acknowledged_at None"),
        ({"acknowledged_at": "2026-03-01T12:00:00"}, "expected an instant with a time zone"),
        ({"sent_at": "noon"}, "expected an ISO 8601 instant"),
        ({"xid": "7"}, "found xid '7'"),
        ({"seconds": -1}, "found seconds -1"),
        ({"shopper": None}, "found shopper None"),
    ],
)
def test_a_malformed_line_is_an_error(tmp_path: Path, changed: dict[str, Any], fact: str) -> None:
    with pytest.raises(commitlog.LogDamaged, match="line 3: ") as raised:
        commitlog.read(_write(tmp_path / "log", _commit(1), _commit(2, **changed), _commit(3)))
    assert fact in str(raised.value)


@pytest.mark.parametrize("text", ["not json\n", "[3]\n", "\n"])
def test_a_line_that_is_no_object_is_an_error(tmp_path: Path, text: str) -> None:
    path = _write(tmp_path / "log", _commit(1), _commit(2))
    lines = _lines(path)
    path.write_text("".join([*lines[:2], text, *lines[3:]]))
    with pytest.raises(commitlog.LogDamaged, match="line 3: "):
        commitlog.read(path)


def test_a_line_behind_the_end_is_an_error(tmp_path: Path) -> None:
    path = _write(tmp_path / "log", _commit(1))
    path.write_text(path.read_text() + json.dumps({"n": 4, **_commit(2)}) + "\n")
    with pytest.raises(commitlog.LogDamaged, match="found kind 'end'"):
        commitlog.read(path)


def test_a_log_is_never_written_over(tmp_path: Path) -> None:
    path = _write(tmp_path / "log", _commit(1))
    with pytest.raises(FileExistsError):
        Log(path)


def test_commits_are_found_by_time(tmp_path: Path) -> None:
    """Intervals are half-open; the first commit after an instant was also sent after it."""
    log = commitlog.read(_write(tmp_path / "log", _commit(1), _commit(3), _commit(2)))
    first = log.first_commit_after(NOON + timedelta(seconds=1.95))
    assert log.last_commit is not None
    assert first is not None
    assert log.last_commit.n == 3
    assert first.n == 3
    assert [commit.n for commit in log.between(NOON + timedelta(seconds=1), NOON + timedelta(seconds=3))] == [2, 4]
    assert log.first_commit_after(NOON + timedelta(seconds=9)) is None


def test_a_stall_lasts_until_the_shopper_is_answered_well(tmp_path: Path) -> None:
    """Another shopper's success in between does not end it; the pause between two requests is no part of it."""
    lines = (_commit(1), _failure(10), _commit(11, "old-2"), _failure(14), _commit(16), _commit(90))
    stall = commitlog.read(_write(tmp_path / "log", *lines)).longest_stall()
    assert stall is not None
    assert (stall.shopper, stall.seconds, stall.is_over) == ("old-1", 6.5, True)


def test_a_stall_that_never_ended_is_counted(tmp_path: Path) -> None:
    log = commitlog.read(_write(tmp_path / "log", _commit(1), _failure(10), _failure(14)))
    stall = log.longest_stall(between=(NOON + timedelta(seconds=12), NOON + timedelta(seconds=20)))
    assert stall is not None
    assert (stall.seconds, stall.is_over) == (4.5, False)
    assert log.longest_stall(between=(NOON + timedelta(seconds=20), NOON + timedelta(seconds=30))) is None

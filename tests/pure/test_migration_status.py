"""How folder and ledger compare, and what stops a deployment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from safepoint.errors import Refused
from safepoint.migration.ledger.row import LedgerRow
from safepoint.migration.sources.prisma import migration_file
from safepoint.migration.status import State, compare, history_to_json, require_deployable, warnings_of

START = datetime(2026, 3, 1, 2, 10, 7, tzinfo=UTC)
FILES = [migration_file(name, f"-- {name}\n".encode()) for name in ("1_a", "2_b", "3_c")]


def row(name: str, *, checksum: str | None = None, state: str = "applied", minute: int = 0) -> LedgerRow:
    """A row as Prisma leaves it in that state."""
    at = START + timedelta(minutes=minute)
    known = {file.name: file.checksum for file in FILES}
    return LedgerRow(
        id=f"{name}{minute}",
        checksum=checksum or known.get(name, "0" * 64),
        finished_at=at if state == "applied" else None,
        migration_name=name,
        logs="ERROR: boom\nat line 3" if state == "failed" else None,
        rolled_back_at=at if state == "rolled back" else None,
        started_at=at,
        applied_steps_count=1,
    )


def states(*rows: LedgerRow) -> list[str]:
    return [migration.state.value for migration in compare(FILES, rows).migrations]


def test_what_has_no_row_is_pending() -> None:
    """In the order of the folder."""
    history = compare(FILES, [row("1_a")])
    assert [migration.state for migration in history.migrations] == [State.APPLIED, State.PENDING, State.PENDING]
    assert [file.name for file in history.pending_files] == ["2_b", "3_c"]
    assert not history.is_up_to_date


def test_an_attempt_that_was_rolled_back_leaves_its_migration_pending() -> None:
    """Until another row is finished: rows are never deleted."""
    assert states(row("1_a", state="rolled back")) == ["pending", "pending", "pending"]
    assert compare(FILES, [row("1_a", state="rolled back")]).migrations[0].was_rolled_back
    assert states(row("1_a", state="rolled back"), row("1_a", minute=1)) == ["applied", "pending", "pending"]


def test_line_ends_do_not_make_an_edit() -> None:
    """A checkout with CRLF has another checksum, which Prisma accepts too."""
    windows = migration_file("1_a", b"-- 1_a\r\n").checksum
    assert states(row("1_a", checksum=windows))[0] == "applied"
    assert compare([migration_file("1_a", b"-- 1_a\r\n")], [row("1_a")]).migrations[0].state is State.APPLIED


def test_an_edited_file_is_refused_with_both_checksums() -> None:
    """MG002, with when it was applied."""
    history = compare(FILES, [row("1_a", checksum="a" * 64)])
    assert history.migrations[0].state is State.EDITED
    with pytest.raises(
        Refused, match=f"MG002: found 1_a/migration.sql with checksum {FILES[0].checksum[:12]}"
    ) as caught:
        require_deployable(history)
    assert "expected aaaaaaaaaaaa… as applied at 2026-03-01 02:10:07.000 UTC" in caught.value.message


def test_a_failed_row_is_refused_also_without_its_file() -> None:
    """MG001, with the first line of what Prisma logged."""
    history = compare(FILES, [row("gone", state="failed")])
    with pytest.raises(Refused, match=r"MG001: found gone begun at .* never finished \(ERROR: boom\)"):
        require_deployable(history)


def test_what_is_odd_and_harmless_is_a_warning() -> None:
    """Applied and not in the folder; pending and older than what is applied."""
    history = compare(FILES, [row("0_gone"), row("2_b"), row("3_c")])
    assert states(row("0_gone"), row("2_b"), row("3_c")) == ["missing", "pending", "applied", "applied"]
    require_deployable(history)
    missing, late = warnings_of(history)
    assert missing.startswith("0_gone is applied here and not in the folder")
    assert late.startswith("1_a is older than migrations applied here")


def test_a_whole_history_is_up_to_date() -> None:
    """Nothing pending, and JSON says when each began and ended."""
    history = compare(FILES, [row(file.name) for file in FILES])
    assert history.is_up_to_date
    assert history_to_json(history)[0] == {
        "name": "1_a",
        "state": "applied",
        "out_of_order": False,
        "rolled_back": False,
        "started_at": START.isoformat(),
        "finished_at": START.isoformat(),
    }

"""What a restore says of timelines, of restore points' names, and of a slot that stays."""

from __future__ import annotations

import pytest
from test_recovery_targets import BACKUPS, COVERAGE, END

from safepoint import errors
from safepoint.model.backup import Tablespace
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.recovery.choice import choose
from safepoint.recovery.export import require_mapped
from safepoint.recovery.slot import UNTOUCHED, name_slot
from safepoint.recovery.targets import parse_target


@pytest.mark.parametrize("to", ["latest", "immediate", "0/3000028", "2026-03-01T12:15Z", "xid:9"])
def test_of_a_timeline_that_is_not_there_it_says_which_are(to: str) -> None:
    """RC001, whatever the target."""
    with pytest.raises(errors.Refused, match="found no timeline 7 ") as caught:
        choose(parse_target(to), COVERAGE, BACKUPS, timeline=TimelineId(7))

    assert caught.value.spec is errors.RC001
    assert f"timeline 1 up to {Lsn(END)}" in caught.value.message
    assert any("--timeline 1" in hint.text for hint in caught.value.hints)


@pytest.mark.parametrize(
    ("text", "name"), [("name: x ", " x "), (" Name:x", "x"), ("name:\tx\n", "\tx\n"), ("name: ", " ")]
)
def test_the_name_of_a_restore_point_is_taken_as_it_stands(text: str, name: str) -> None:
    """Blanks belong to it: pg_create_restore_point takes them."""
    assert parse_target(text).name == name


@pytest.mark.parametrize("text", [" latest ", " 0/3000028\n", " xid:74863 ", " 2026-03-01T12:15Z "])
def test_blanks_around_other_targets_mean_nothing(text: str) -> None:
    """As a shell's variable may bring them."""
    assert parse_target(text) == parse_target(text.strip())


def test_tablespaces_of_an_export_are_asked_for_by_name() -> None:
    """Those that have a directory are not; a name that a shell would split is quoted."""
    spaces = [Tablespace(oid=oid, name=name, location="/mnt") for oid, name in ((1, "fast"), (2, "big one"))]

    with pytest.raises(errors.Refused, match="tablespaces big one,") as caught:
        require_mapped(spaces, {1})

    assert any("`--tablespace 'big one'=DIR`" in hint.text for hint in caught.value.hints)
    require_mapped(spaces, {1, 2})


@pytest.mark.parametrize("changed", [errors.NOTHING_CHANGED, f"DIR holds an unfinished copy; {UNTOUCHED}", "some"])
def test_an_error_never_says_that_production_is_untouched_beside_a_slot(changed: str) -> None:
    """Whatever it said before."""
    error = errors.RC003.error("found one, expected another", changed=changed)

    name_slot(error, "s")

    assert error.changed.endswith("slot s stays on the primary and keeps WAL there")
    assert errors.NOTHING_CHANGED not in error.changed
    assert "production" not in error.changed
    assert "SELECT pg_drop_replication_slot('s')" in error.hints[-1].text

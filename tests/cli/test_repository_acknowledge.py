"""`safepoint repository acknowledge`: an alarm of the journal that was looked at is one no more, and hides no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kept import Kept, make_kept

_HANDLE = re.compile(r"\(finding ([0-9a-f]{12})\)")


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    found = make_kept(tmp_path)
    found.back_up("one", age=3)
    found.back_up("two", seed=2, age=2)
    return found


def journal(kept: Kept) -> list[str]:
    """Names of the entries, by writer."""
    return kept.objects("journal/")


def lose_an_entry(kept: Kept) -> None:
    """The first entry of a chain that goes on."""
    repository = kept.opened()
    for number in range(2):
        repository.append_record("drill", {"number": number})
    lost = next(name for name in journal(kept) if name.endswith("1") and f"{name[:-1]}2" in journal(kept))
    (kept.folder() / lost).unlink()


def test_an_acknowledged_finding_is_no_alarm(kept: Kept) -> None:
    """The check ends with 0 and names who looked and why; the alarm before it said how to name it."""
    lose_an_entry(kept)
    alarmed = kept.run("check", ends=3)
    (handle,) = _HANDLE.findall(alarmed.out)

    kept.run("acknowledge", handle, "--reason", "deleted in a test", "--dry-run")
    kept.run("check", ends=3)
    done = kept.run("acknowledge", handle, "--reason", "deleted in a test", "--by", "the operator", "--json").json
    checked = kept.run("check")

    assert done["acknowledged"][0]["finding"].startswith(handle)
    assert done["acknowledged"][0]["kind"] == "missing link"
    assert re.search(r"acknowledged on .* by the operator \(deleted in a test\): found entry 2 of writer", checked.out)


def test_what_goes_missing_later_is_an_alarm(kept: Kept) -> None:
    """Another gap, in the same journal, is not covered."""
    lose_an_entry(kept)
    (handle,) = _HANDLE.findall(kept.run("check", ends=3).out)
    kept.run("acknowledge", handle, "--reason", "deleted in a test")

    lose_an_entry(kept)

    (other,) = _HANDLE.findall(kept.run("check", ends=3).out)
    assert other != handle


@pytest.mark.parametrize(("name", "ends"), [("beef", 11), ("", 11)])
def test_what_names_no_alarm_is_refused(kept: Kept, name: str, ends: int) -> None:
    """RP015, and nothing is written."""
    before = journal(kept)

    assert kept.run("acknowledge", name, "--reason", "x", ends=ends).error == "RP015"

    assert journal(kept) == before


def test_a_reason_is_needed(kept: Kept) -> None:
    """Blanks are none."""
    kept.run("acknowledge", "ab", "--reason", " ", ends=2)

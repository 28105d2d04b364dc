"""What an audit found wrong in the journal is found until it is mended; an acknowledgement is for one loss alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from journal_samples import audit_of, finding_kinds, journal_in, record_name, write_records
from repository_samples import make_repository
from rewriting import opened_again
from safepoint.repository.care.check import check
from safepoint.repository.care.journal_check import journal_findings
from safepoint.repository.care.selection import Selection
from safepoint.repository.care.verify import verify
from safepoint.repository.commit.journal_audit import AuditReport, JournalFindingKind
from safepoint.repository.commit.journal_event import finding_acknowledged
from safepoint.repository.severity import Severity
from safepoint.stores import MemoryStore, Store

_ENTRIES = 5
_OFTEN = 1000
"""Of so many audits not one reads an entry by chance: once in 500,000,000,000,000."""


@pytest.fixture
def names(tmp_path: Path) -> tuple[MemoryStore, list[str]]:
    """A store that the machine `auditor` has audited, and the entries of one writer in it."""
    store = MemoryStore()
    written = write_records(journal_in(store, tmp_path / "writer"), store, range(_ENTRIES))
    audit_of(store, tmp_path / "auditor")
    return store, written


def spoil(store: Store, name: str) -> bytes:
    """One bit of the object is another; what it was before."""
    before = store.get(name)
    store.delete(name)
    store.put_if_absent(name, before[:-20] + bytes([before[-20] ^ 1]) + before[-19:])
    return before


def put_back(store: Store, name: str, data: bytes) -> None:
    """The object is what it was."""
    store.delete(name)
    store.put_if_absent(name, data)


def acknowledge(store: Store, state: Path, report: AuditReport) -> None:
    """Every alarm of the report, by the writer of this state."""
    journal_in(store, state).append(
        [
            finding_acknowledged(each.identity, kind=each.kind.value, name=each.objects[0], by="me", reason="a test")
            for each in report.findings
            if each.severity is not Severity.NOTICE
        ]
    )


def found_at_last(store: Store, state: Path) -> AuditReport:
    """The first report that is not whole."""
    reports = (audit_of(store, state) for _ in range(_OFTEN))
    return next(report for report in reports if not report.is_whole)


def test_what_was_found_unreadable_is_found_until_it_is_mended(
    names: tuple[MemoryStore, list[str]], tmp_path: Path
) -> None:
    """By each audit of the machine, whose memory has it as it was; and by none from then on."""
    store, (_, second, *_) = names
    before = spoil(store, second)
    found_at_last(store, tmp_path / "auditor")

    for _ in range(3):
        assert finding_kinds(audit_of(store, tmp_path / "auditor")) == {JournalFindingKind.UNREADABLE_ENTRY}
    put_back(store, second, before)

    assert audit_of(store, tmp_path / "auditor").findings == ()


def test_nothing_hides_for_ever_from_a_machine_that_is_put_back(
    names: tuple[MemoryStore, list[str]], tmp_path: Path
) -> None:
    """Whose state is the same before each audit, so that it counts none of them."""
    store, (_, _, third, *_) = names
    spoil(store, third)
    image = tmp_path / "image"
    shutil.copytree(tmp_path / "auditor", image)

    def audit_once() -> AuditReport:
        shutil.rmtree(tmp_path / "auditor")
        shutil.copytree(image, tmp_path / "auditor")
        return audit_of(store, tmp_path / "auditor")

    assert any(not audit_once().is_whole for _ in range(_OFTEN))


def test_the_same_loss_again_is_an_alarm_again(names: tuple[MemoryStore, list[str]], tmp_path: Path) -> None:
    """An acknowledgement lapses when an audit sees the object whole; a second one holds anew."""
    store, _ = names
    auditor, lost = tmp_path / "auditor", record_name(1)
    store.delete(lost)
    acknowledge(store, tmp_path / "writer", audit_of(store, auditor))
    assert [audit_of(store, auditor).is_whole for _ in range(2)] == [True, True]
    store.put_if_absent(lost, b"evidence")
    assert audit_of(store, auditor).findings == ()

    store.delete(lost)

    again = audit_of(store, auditor)
    assert finding_kinds(again) == {JournalFindingKind.MISSING_OBJECT}
    assert not again.is_whole
    acknowledge(store, tmp_path / "writer", again)
    assert audit_of(store, auditor).is_whole


def test_an_acknowledgement_does_not_lapse_unlooked_at(names: tuple[MemoryStore, list[str]], tmp_path: Path) -> None:
    """On a machine that remembers the entry as it was: what it did not read it did not find mended."""
    store, (_, second, *_) = names
    spoil(store, second)
    acknowledge(store, tmp_path / "writer", audit_of(store))

    reports = [audit_of(store, tmp_path / "auditor") for _ in range(35)]

    assert all(report.is_whole for report in reports)
    assert finding_kinds(reports[-1]) == {JournalFindingKind.UNREADABLE_ENTRY}


def test_an_entry_that_verify_found_damaged_can_be_acknowledged() -> None:
    """The check calls it unknown, as the audit does, and not damaged for ever; verify takes it for a notice, too."""
    store = MemoryStore()
    repository = make_repository(store)
    repository.append_record("note", {"n": 1})
    repository.flush_journal()
    repository.append_record("note", {"n": 2})
    repository.flush_journal()
    first, *_ = store.list("journal/")
    spoil(store, first)
    assert [each.severity for each in verify(opened_again(repository), Selection.all()).findings] == [Severity.DAMAGED]

    (alarm,) = [each for each in check(opened_again(repository)).findings if each.severity is not Severity.NOTICE]
    assert (alarm.severity, alarm.objects) == (Severity.UNKNOWN, (first,))
    (found,) = [each for each in journal_findings(opened_again(repository)) if each.severity is not Severity.NOTICE]
    repository.journal.append(
        [finding_acknowledged(found.identity, kind=found.kind.value, name=first, by="me", reason="a test")]
    )

    assert check(opened_again(repository)).is_whole
    assert verify(opened_again(repository), Selection.all()).is_whole

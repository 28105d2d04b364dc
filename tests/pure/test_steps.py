"""The executor and its journals: what is finished is never done twice, what was begun is done again."""

from __future__ import annotations

import json
import multiprocessing
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safepoint.errors import SafepointError
from safepoint.model.json_value import JsonObject
from safepoint.steps.execute import Action, Context, Progress, execute
from safepoint.steps.journal import Entry, Event, MemoryJournal, open_file_journal, read_file_journal
from safepoint.steps.plan import Plan, Step, StepKind, plan_from_json, plan_to_json

NAMES = ("find", "write", "start", "check")


class PowerCut(BaseException):
    """The process is gone."""


def plan_of(*names: str, subject: str = "shop") -> Plan:
    steps = tuple(Step(name=name, action=name, title=name) for name in names)
    return Plan(verb="restore", subject=subject, title="restore shop", steps=steps)


class Recorder:
    """Actions that say when they were called, and cut the power where they are told."""

    def __init__(self, *, cut_in: str | None = None) -> None:
        self.calls: list[str] = []
        self.repeats: list[str] = []
        self.cut_in = cut_in

    def actions(self) -> dict[str, Action]:
        return dict.fromkeys(NAMES, self._act)

    def _act(self, step: Step, context: Context) -> JsonObject:
        self.calls.append(step.name)
        if context.is_repeat:
            self.repeats.append(step.name)
        context.report(Progress(done=1, total=2, unit="files"))
        if step.name == self.cut_in:
            raise PowerCut
        return {"did": step.name, "knew": list(context.outcomes)}


class CutAfter(MemoryJournal):
    """A journal in whose `count`-th write the power goes: nothing of that write is kept."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def record(self, entry: Entry) -> None:
        if self.count == 0:
            raise PowerCut
        self.count -= 1
        super().record(entry)


def test_steps_run_in_order_and_each_knows_the_outcomes_before_it() -> None:
    """A later step sees what the earlier ones returned."""
    recorder = Recorder()

    done = execute(plan_of(*NAMES), actions=recorder.actions(), journal=MemoryJournal())

    assert recorder.calls == list(NAMES)
    assert done.outcomes["check"] == {"did": "check", "knew": ["find", "write", "start"]}


@pytest.mark.parametrize("count", range(2 * len(NAMES)))
def test_cut_at_any_journal_write_then_re_entered_finishes_each_step(count: int) -> None:
    """Whichever write is lost, a second run finishes every step and repeats none that was recorded as finished."""
    plan, journal = plan_of(*NAMES), CutAfter(count)
    first, second = Recorder(), Recorder()

    with pytest.raises(PowerCut):
        execute(plan, actions=first.actions(), journal=journal)
    finished = {entry.step for entry in journal.entries() if entry.event is Event.FINISHED}
    journal.count = 1000
    done = execute(plan, actions=second.actions(), journal=journal)

    assert second.calls == [name for name in NAMES if name not in finished]
    assert set(second.repeats) == set(first.calls) - finished
    assert set(done.outcomes) == set(NAMES)


@pytest.mark.parametrize("cut_in", NAMES)
def test_killed_inside_a_step_the_file_journal_makes_it_begin_again(tmp_path: Path, cut_in: str) -> None:
    """A step in which the process died is repeated, those before it are not."""
    plan, path = plan_of(*NAMES), tmp_path / "journal"
    first, second = Recorder(cut_in=cut_in), Recorder()

    with pytest.raises(PowerCut), open_file_journal(path, plan) as journal:
        execute(plan, actions=first.actions(), journal=journal)
    with open_file_journal(path, plan) as journal:
        execute(plan, actions=second.actions(), journal=journal)

    assert second.calls == list(NAMES[NAMES.index(cut_in) :])
    assert second.repeats == [cut_in]
    found, entries = read_file_journal(path)
    assert found == plan
    assert [entry.step for entry in entries if entry.event is Event.FINISHED] == list(NAMES)


def test_a_failure_is_journalled_with_its_message() -> None:
    """Whoever reads the journal later learns why the run ended."""
    journal = MemoryJournal()

    def fail(_step: Step, _context: Context) -> JsonObject:
        raise ValueError("the disk is full")

    with pytest.raises(ValueError, match="disk"):
        execute(
            plan_of("find"), actions={"find": fail}, journal=journal, clock=lambda: datetime(2026, 3, 1, tzinfo=UTC)
        )

    last = journal.entries()[-1]
    assert (last.event, last.outcome) == (Event.FAILED, {"error": "ValueError", "message": "the disk is full"})
    assert last.at == "2026-03-01T00:00:00+00:00"


def test_an_unknown_action_is_found_before_anything_runs() -> None:
    """A plan from a newer version does nothing rather than half."""
    recorder = Recorder()

    with pytest.raises(KeyError):
        execute(plan_of("find", "teleport"), actions=recorder.actions(), journal=MemoryJournal())

    assert recorder.calls == []


def test_a_torn_last_line_is_dropped(tmp_path: Path) -> None:
    """A crash in the middle of an append loses that entry and nothing else."""
    plan, path = plan_of(*NAMES), tmp_path / "journal"
    with open_file_journal(path, plan) as journal:
        journal.record(Entry(step="find", event=Event.STARTED, at="2026-03-01T00:00:00+00:00"))
    with path.open("ab") as file:
        file.write(b'{"step": "find", "ev')

    with open_file_journal(path, plan) as journal:
        journal.record(Entry(step="find", event=Event.FINISHED, at="2026-03-01T00:00:01+00:00", seconds=1.0))

    assert [entry.event for entry in read_file_journal(path)[1]] == [Event.STARTED, Event.FINISHED]


@pytest.mark.parametrize("line", [b"nonsense\n", b"{}\n", b"[]\n", b'{"step": "find", "event": "slept"}\n'])
def test_a_damaged_line_is_refused(tmp_path: Path, line: bytes) -> None:
    """A line that is no entry is damage, never skipped."""
    plan, path = plan_of("find"), tmp_path / "journal"
    with open_file_journal(path, plan):
        pass
    with path.open("ab") as file:
        file.write(line)

    with pytest.raises(SafepointError, match="SP003"), open_file_journal(path, plan):
        pass


def test_a_first_line_that_is_no_plan_is_refused(tmp_path: Path) -> None:
    """JSON alone makes no journal."""
    path = tmp_path / "journal"
    path.write_text('{"plan": {"verb": "restore"}}\n')

    with pytest.raises(SafepointError, match="SP003"), open_file_journal(path, plan_of("find")):
        pass


def test_a_journal_that_cannot_be_written_is_told_as_such(tmp_path: Path) -> None:
    """A file where the folder should be is the user's to mend, not a bug."""
    (tmp_path / "journals").write_text("")

    with pytest.raises(SafepointError, match="CF007"), open_file_journal(tmp_path / "journals" / "a", plan_of("find")):
        pass


class FailsToRecordFailures(MemoryJournal):
    """A journal on a disk that is full by the time something fails."""

    def record(self, entry: Entry) -> None:
        if entry.event is Event.FAILED:
            raise OSError("no space left on device")
        super().record(entry)


def test_what_went_wrong_first_is_what_is_raised() -> None:
    """A journal that does not take the failure must not hide it."""

    def fail(_step: Step, _context: Context) -> JsonObject:
        raise ValueError("the disk is full")

    with pytest.raises(ValueError, match="the disk is full") as caught:
        execute(plan_of("find"), actions={"find": fail}, journal=FailsToRecordFailures())

    assert caught.value.__notes__ == ["and the journal did not take it: no space left on device"]


def test_a_journal_serves_one_plan(tmp_path: Path) -> None:
    """A journal of another plan is refused, so that steps of two plans cannot mix."""
    path = tmp_path / "journal"
    with open_file_journal(path, plan_of("find")):
        pass

    with pytest.raises(SafepointError, match="SP004"), open_file_journal(path, plan_of("find", subject="other")):
        pass


def test_an_empty_journal_has_no_plan_to_show(tmp_path: Path) -> None:
    """Reading a journal whose first write never happened is an error, not an empty plan."""
    path = tmp_path / "journal"
    path.touch()

    with pytest.raises(SafepointError, match="SP003"):
        read_file_journal(path)


def _hold(path: str, plan: JsonObject, ready: str, release: str) -> None:
    with open_file_journal(Path(path), plan_from_json(plan)):
        Path(ready).touch()
        os.open(release, os.O_RDONLY)


def test_two_processes_cannot_hold_one_journal_and_a_killed_one_lets_go(tmp_path: Path) -> None:
    """The second is refused while the first lives; SIGKILL of the first frees the journal."""
    plan, path, ready = plan_of("find"), tmp_path / "journal", tmp_path / "ready"
    os.mkfifo(tmp_path / "release")
    spawn = multiprocessing.get_context("spawn")
    holder = spawn.Process(
        target=_hold, args=(str(path), plan_to_json(plan), str(ready), str(tmp_path / "release")), daemon=True
    )
    holder.start()
    while not ready.exists():
        assert holder.is_alive()

    with pytest.raises(SafepointError, match="SP002"), open_file_journal(path, plan):
        pass
    holder.kill()
    holder.join()

    with open_file_journal(path, plan):
        pass


def test_step_names_are_unique() -> None:
    """Two steps of one name could not be told apart in a journal."""
    with pytest.raises(ValueError, match="repeated"):
        plan_of("find", "find")


@given(
    st.lists(st.text(min_size=1), unique=True, max_size=5),
    st.dictionaries(st.text(), st.none() | st.integers() | st.text(), max_size=3),
)
def test_a_plan_survives_json(names: list[str], arguments: dict[str, int | str | None]) -> None:
    """plan_from_json undoes plan_to_json, and the id does not change on the way."""
    steps = tuple(
        Step(
            name=name,
            action="act",
            title=name,
            arguments=arguments,
            kind=StepKind.GATE if index % 2 else StepKind.ACTION,
        )
        for index, name in enumerate(names)
    )
    plan = Plan(verb="backup", subject="shop", title="t", steps=steps, facts=(("a", "b"),), warnings=("w",))

    again = plan_from_json(json.loads(json.dumps(plan_to_json(plan))))

    assert again == plan
    assert again.id == plan.id

"""A repair that is called as a function leaves nothing for the next audit to miss."""

from __future__ import annotations

import pytest

from repair_samples import Scene, copy_of_scene, damage, index_names, make_scene
from rewriting import opened_again
from safepoint.repository.care.check import check
from safepoint.repository.care.repair import plan_repair, repair
from safepoint.repository.commit.journal_audit import readable_entries
from safepoint.repository.commit.journal_entry import Entry
from safepoint.repository.commit.journal_event import EventKind
from safepoint.repository.names import INDEXES_PREFIX
from safepoint.repository.repository import Repository


@pytest.fixture
def scene() -> Scene:
    """Two backups, and of every index the journal says that it is stored."""
    return copy_of_scene(make_scene())


def told(repository: Repository, kind: EventKind) -> set[str]:
    """The indexes of which the journal says this."""
    entries: list[Entry] = readable_entries(repository.store, repository.keyring, repository.id)
    events = (event for entry in entries for event in entry.events)
    return {event.name for event in events if event.kind is kind and event.name.startswith(INDEXES_PREFIX)}


@pytest.mark.parametrize("is_planned", [False, True], ids=["at once", "planned"])
def test_indexes_come_and_go_with_a_word_in_the_journal(scene: Scene, *, is_planned: bool) -> None:
    """All indexes are damaged: those that go are journalled as expired, those that come as stored; a check is clean."""
    before = index_names(scene.repository)
    assert set(before) <= told(scene.repository, EventKind.INDEX)
    for name in before:
        damage(scene.store, name)
    repository = opened_again(scene.repository)

    plan = plan_repair(repository) if is_planned else None
    done = repair(repository, plan)

    after = set(index_names(scene.repository))
    assert done.unrepaired == ()
    assert after
    assert not after & set(before)
    assert set(before) <= told(repository, EventKind.EXPIRED)
    assert after <= told(repository, EventKind.INDEX)
    assert [finding.text for finding in check(opened_again(repository)).findings if finding.is_damage] == []


def test_a_plan_says_nothing(scene: Scene) -> None:
    """What only looks leaves the store as it is, the journal included."""
    for name in index_names(scene.repository):
        damage(scene.store, name)
    names = list(scene.store.list(""))

    plan_repair(opened_again(scene.repository))

    assert list(scene.store.list("")) == names

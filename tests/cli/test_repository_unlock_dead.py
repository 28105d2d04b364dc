"""`safepoint repository unlock` of a process that is gone, and of a lease whose backup the journal knows."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from kept import Kept, make_kept
from safepoint.repository.commit.leases import OpenLease, begin_lease, open_leases
from safepoint.repository.commit.writer_process import WriterProcess, process_of, this_process, why_gone
from safepoint.repository.names import end_name, lease_named_by

_BEGIN = """
import sys
from safepoint.model.measures import system_clock
from safepoint.model.secret import Secret
from safepoint.repository import open_repository
from safepoint.repository.commit.leases import begin_lease
from safepoint.stores import FolderStore
from pathlib import Path
opened = open_repository(FolderStore(Path(sys.argv[1])), Secret(sys.argv[2]))
print(begin_lease(opened.store, opened.keyring, purpose="backup", database="shop", clock=system_clock).id)
"""


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return make_kept(tmp_path)


def die_writing(kept: Kept) -> str:
    """The lease of a process that is gone before this returns."""
    command = [sys.executable, "-c", _BEGIN, str(kept.folder()), "a passphrase"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def opened(kept: Kept) -> tuple[OpenLease, ...]:
    """The open leases."""
    repository = kept.opened()
    return open_leases(repository.store, repository.keyring)


def test_a_process_that_is_gone_need_not_be_waited_for(kept: Kept) -> None:
    """Within the hour, without --force; the plan says how it is known, the result too."""
    lease = die_writing(kept)

    shown = kept.run("unlock", "--dry-run")
    done = kept.run("unlock", "--json").json

    assert "dead, no process" in shown.err
    assert [each["lease"] for each in done["revoked"]] == [lease]
    assert "not restarted since" in done["revoked"][0]["why_dead"]
    assert opened(kept) == ()


def test_stale_leases_are_those_of_dead_processes_too(kept: Kept) -> None:
    """This process lives, so its lease stays."""
    die_writing(kept)
    repository = kept.opened()
    alive = begin_lease(repository.store, repository.keyring, purpose="backup", database="shop", clock=repository.clock)

    kept.run("unlock", "--stale")

    assert [lease.id for lease in opened(kept)] == [alive.id]


def test_a_dry_run_of_what_would_be_refused_shows_the_plan(kept: Kept) -> None:
    """It ends with 0, says that it would be refused, and ends nothing."""
    repository = kept.opened()
    begin_lease(repository.store, repository.keyring, purpose="backup", database="shop", clock=repository.clock)

    shown = kept.run("unlock", "--dry-run")

    assert "refused without --force" in shown.err
    assert len(opened(kept)) == 1


def test_the_lease_of_a_backup_that_the_journal_knows_is_not_ended(kept: Kept) -> None:
    """Its end is hidden: to put another one would void the backup. RP011, also with --force; with the end it exists."""
    kept.back_up("one")
    (name,) = kept.objects("backups/")
    end = kept.folder() / end_name(str(lease_named_by(name)))
    hidden = end.read_bytes()
    end.unlink()

    for arguments in ([], ["--force"], ["--dry-run"]):
        assert kept.run("unlock", *arguments, ends=10).error == "RP011"

    end.write_bytes(hidden)
    assert [manifest.id for manifest in kept.opened().backups()] == ["one"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({}, None),
        ({"started": 1}, "is another one"),
        ({"started": 2**40}, None),
        ({"started": 1, "clock": "time:[1]"}, None),
        ({"started": None}, None),
        ({"pid": 2**22 + 1}, "no process 4194305 runs"),
        ({"pid": 2**22 + 1, "started": None}, "no process 4194305 runs"),
        ({"pid": 2**70}, None),
        ({"pid": 0}, None),
        ({"pid": -(2**22)}, None),
        ({"boot": "another", "pid": 2**22 + 1}, None),
        ({"boot": None, "pid": 2**22 + 1}, None),
        ({"namespace": "pid:[1]", "pid": 2**22 + 1}, None),
        ({"namespace": None, "pid": 2**22 + 1}, None),
    ],
)
def test_only_what_is_proven_counts_as_gone(change: Mapping[str, object], why: str | None) -> None:
    """Another boot's process, one of another container or clock and one of which too little is known may live."""
    facts = {**this_process().to_facts(), **change}

    process = process_of(facts)

    assert process is not None
    found = why_gone(process)
    assert (found is None) if why is None else (found is not None and why in found)


@pytest.mark.parametrize("facts", [None, 7, [], {}, {"pid": "7"}, {"pid": True}])
def test_other_facts_are_no_process(facts: object) -> None:
    """What a later version or a stranger writes there proves nothing."""
    assert process_of(facts) is None


def test_what_a_lease_says_of_its_process_reads_back() -> None:
    """All fields, or those that are known."""
    assert process_of(this_process().to_facts()) == this_process()
    assert process_of(WriterProcess(pid=7).to_facts()) == WriterProcess(pid=7)

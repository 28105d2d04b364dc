"""`safepoint repository unlock`: a dead writer's lease ends, a living one's is left alone."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from kept import Kept, make_kept
from safepoint import errors
from safepoint.model.measures import system_clock
from safepoint.repository.commit.leases import HeldLease, begin_lease, open_leases


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return make_kept(tmp_path)


def begin(kept: Kept, *, hours_ago: float = 0) -> HeldLease:
    """The lease of a writer that began then."""
    repository = kept.opened()
    at = system_clock() - timedelta(hours=hours_ago)
    return begin_lease(repository.store, repository.keyring, purpose="backup", database="shop", clock=lambda: at)


def opened(kept: Kept) -> list[str]:
    """Ids of open leases."""
    repository = kept.opened()
    return [lease.id for lease in open_leases(repository.store, repository.keyring)]


def test_a_writer_heard_of_lately_is_left_alone(kept: Kept) -> None:
    """RP012 with who it is; --force ends it, and says what that costs; the writer then cannot commit."""
    held = begin(kept)

    refused = kept.run("unlock", ends=10)
    forced = kept.run("unlock", held.id, "--force")

    assert refused.error == "RP012"
    assert "backup of shop by host" in refused.err
    assert "loses its work" in forced.err
    assert held.id in forced.out
    assert opened(kept) == []
    with pytest.raises(errors.Refused, match="BK001"):
        held.commit(f"backups/1/{held.id}", b"a manifest")


def test_a_clock_that_runs_ahead_protects_a_writer(kept: Kept) -> None:
    """A lease from the future was heard of lately."""
    begin(kept, hours_ago=-5)

    assert kept.run("unlock", ends=10).error == "RP012"


def test_the_only_lease_is_meant_when_it_is_silent(kept: Kept) -> None:
    """Two hours suffice when a person says so; a dry run ends nothing."""
    held = begin(kept, hours_ago=2)

    kept.run("unlock", "--dry-run")
    assert opened(kept) == [held.id]
    done = kept.run("unlock", "--json").json

    assert [lease["lease"] for lease in done["revoked"]] == [held.id]
    assert opened(kept) == []


def test_of_several_one_must_be_named(kept: Kept) -> None:
    """They are listed; the beginning of the id does."""
    one, two = begin(kept, hours_ago=3), begin(kept, hours_ago=2)

    refused = kept.run("unlock", ends=10)
    kept.run("unlock", one.id[:20])

    assert one.id in refused.err
    assert two.id in refused.err
    assert opened(kept) == [two.id]


def test_stale_leases_end_together(kept: Kept) -> None:
    """Those of which nothing was heard for a day; with one at work left alone."""
    begin(kept, hours_ago=30)
    begin(kept, hours_ago=26)
    alive = begin(kept)

    kept.run("unlock", "--stale")

    assert opened(kept) == [alive.id]


def test_with_none_open_there_is_nothing_to_do(kept: Kept) -> None:
    """Exit 0, and that is said."""
    assert "nothing to unlock" in kept.run("unlock").out
    assert kept.run("unlock", "--stale", "--json").json == {"revoked": [], "too_late": []}


@pytest.mark.parametrize(("arguments", "ends"), [(("20200101",), 10), (("x", "--stale"), 2)])
def test_what_names_no_lease_is_refused(kept: Kept, arguments: tuple[str, ...], ends: int) -> None:
    """Nothing ends."""
    held = begin(kept, hours_ago=3)

    kept.run("unlock", *arguments, ends=ends)

    assert opened(kept) == [held.id]

"""`safepoint repository gc`: what goes is shown before, what waits is told with its reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from kept import Kept, make_kept
from repository_samples import assert_proven
from safepoint.model.measures import system_clock
from safepoint.repository.commit.leases import begin_lease
from shell import fingerprint


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    """Two backups of which the older was expired."""
    kept = make_kept(tmp_path)
    kept.back_up("one", seed=1, age=1)
    kept.back_up("two", seed=2)
    kept.opened().expire_backup("one", reason="a test")
    return kept


def begin(kept: Kept) -> str:
    """A writer begins; its lease."""
    repository = kept.opened()
    return begin_lease(repository.store, repository.keyring, purpose="backup", database="shop", clock=system_clock).id


def test_a_dry_run_says_what_goes_and_changes_nothing(kept: Kept) -> None:
    """And what goes then is just that."""
    before = fingerprint(kept.folder())
    planned = kept.run("gc", "--dry-run", "--json").json
    assert fingerprint(kept.folder()) == before

    done = kept.run("gc", "--json").json

    assert planned["deleted_packs"] > 0
    assert (done["deleted_packs"], done["deleted_bytes"]) == (planned["deleted_packs"], planned["deleted_bytes"])
    assert len(kept.objects("packs/")) == done["needed_packs"]
    assert_proven(kept.opened())
    kept.run("check")


def test_again_there_is_nothing_to_do(kept: Kept) -> None:
    """A collection is finished when it ends."""
    kept.run("gc")

    assert kept.run("gc", "--json").json["deleted_packs"] == 0


def test_what_waits_names_the_lease_its_host_and_age(kept: Kept) -> None:
    """Nothing goes while a writer may need it; --force ends the writer's lease and says so."""
    lease = begin(kept)

    waits = kept.run("gc")
    forced = kept.run("gc", "--force")

    assert f"lease {lease}: backup of shop by host" in waits.out
    assert "last heard of" in waits.out
    assert "deleted  0 packs" in " ".join(waits.out.split()).replace("deleted 0", "deleted  0")
    assert "safepoint repository unlock" in waits.err
    assert "loses its backup" in forced.err
    assert f"lease {lease}" in forced.out
    assert_proven(kept.opened())


def test_while_it_is_unknown_what_backups_need_nothing_goes(kept: Kept) -> None:
    """A hidden manifest: RP011, and the store as it was."""
    (manifest,) = kept.objects("backups/")
    (kept.folder() / manifest).unlink()
    before = fingerprint(kept.folder())

    said = kept.run("gc", ends=10)

    assert said.error == "RP011"
    assert fingerprint(kept.folder()) == before


def test_a_wrong_key_collects_nothing(kept: Kept) -> None:
    """RP003."""
    assert Kept(shell=kept.shell.knowing(SAFEPOINT_KEY="wrong")).run("gc", "--force", ends=11).error == "RP003"

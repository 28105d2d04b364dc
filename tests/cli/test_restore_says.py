"""What `restore` says of its wish and of its result, as typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from projects import Project, back_up
from safepoint.postgres.binaries import find_binaries
from safepoint.postgres.cluster import adopt_cluster, remove_cluster, stop

pytestmark = pytest.mark.pg("17")


def test_a_lineage_that_is_not_held_is_a_mistake_of_the_command(project: Project, server_root: Path) -> None:
    """It is no damage: exit 11, with what there is, and the directory is not made."""
    into = server_root / "copy"
    said = project.shell.safepoint("restore", "--to", "latest", "--lineage", "nonsense", "--into", str(into), ends=11)
    assert said.error == "RP016"
    assert "found 0 lineages that begin with 'nonsense', expected one of 00000001-" in said.err
    assert not into.exists()


def test_a_delta_tells_what_was_fetched(own: Project, server_root: Path) -> None:
    """Of the bytes that stand there now, a second restore over the first one fetched next to nothing, and says so."""
    back_up(own)
    into = server_root / "copy"
    first = own.shell.safepoint("restore", "--to", "immediate", "--into", str(into), "--json")
    cluster = adopt_cluster(into, find_binaries(17))
    try:
        stop(cluster)
        again = own.shell.safepoint("restore", "--to", "immediate", "--delta", "--into", str(into), "--json")
    finally:
        remove_cluster(cluster)
    assert first.json["fetched_bytes"] is None
    assert again.json["bytes"] == first.json["bytes"]
    assert 0 < again.json["fetched_bytes"] < first.json["bytes"] / 10

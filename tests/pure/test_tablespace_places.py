"""Where a copy's tablespaces may go, and who may have those directories."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path

import pytest

import servers
from safepoint import errors
from safepoint.model.backup import Tablespace
from safepoint.postgres.binaries import Binaries, available_binaries
from safepoint.recovery import admission
from safepoint.recovery.directory import MARKER, RestoreDirectory
from safepoint.recovery.tablespaces import chosen_tablespaces

NOTE = {"plan": "0", "system_identifier": "7"}
FAST = Tablespace(oid=16500, name="fast", location="/mnt/fast/pg")
SLOW = Tablespace(oid=16501, name="slow", location="/mnt/slow/pg")


@pytest.fixture
def binaries() -> Binaries:
    """Any: no server is started."""
    return available_binaries()[0]


@pytest.fixture
def root() -> Generator[Path]:
    """A place that the server's user can reach."""
    with servers.server_directory() as found:
        yield found


def _version_directory(binaries: Binaries) -> str:
    return f"PG_{binaries.version.major}_202406281"


@pytest.mark.parametrize("former", ["fast", "16500", "/mnt/fast/pg"])
def test_a_tablespace_is_named_as_anybody_knows_it(former: str) -> None:
    """By name, by oid, by where it was."""
    assert chosen_tablespaces([f"{former}=/new"], [FAST, SLOW]) == {16500: Path("/new")}


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (["other=/new"], "found tablespace 'other', expected one that the backup has: fast"),
        (["fast"], "found 'fast' for a tablespace"),
        (["fast="], "found 'fast=' for a tablespace"),
        (["fast=/a", "16500=/b"], "found tablespace 16500 given twice"),
    ],
)
def test_what_names_no_tablespace_is_refused(wanted: list[str], found: str) -> None:
    """RC002 says what there is."""
    with pytest.raises(errors.Refused, match=f"RC002: {found}"):
        chosen_tablespaces(wanted, [FAST, SLOW])


def test_a_claim_makes_and_holds_the_directories(root: Path, binaries: Binaries) -> None:
    """The marker names them before they are made; nobody else gets them meanwhile."""
    claimed = RestoreDirectory(root / "copy")
    claimed.claim(binaries, NOTE, 0, tablespaces={16500: root / "fast"})

    assert json.loads((root / "copy" / MARKER).read_text())["tablespaces"] == {"16500": str(root / "fast")}
    assert claimed.tablespaces == {16500: root / "fast"}
    with pytest.raises(errors.Refused, match="held by another restore"):
        RestoreDirectory(root / "second").claim(binaries, NOTE, 0, tablespaces={16500: root / "fast"})
    claimed.release()


def test_what_a_killed_restore_left_there_may_be_taken_over_by_the_same(root: Path, binaries: Binaries) -> None:
    """By its marker, and by no restore into another directory."""
    killed = RestoreDirectory(root / "copy")
    killed.claim(binaries, NOTE, 0, tablespaces={16500: root / "fast"})
    killed.release()
    (root / "fast" / _version_directory(binaries)).mkdir()

    with pytest.raises(errors.Refused, match=r"RC002: found PG_.* the directory of a tablespace, expected an absent"):
        RestoreDirectory(root / "second").claim(binaries, NOTE, 0, tablespaces={16500: root / "fast"})
    again = RestoreDirectory(root / "copy")
    again.claim(binaries, NOTE, 0, tablespaces={16500: root / "fast"})
    again.clear()
    again.release()

    assert list((root / "fast").iterdir()) == []


def test_what_is_not_a_tablespace_s_is_never_cleared(root: Path, binaries: Binaries) -> None:
    """Somebody put a file into the directory after the restore was killed."""
    killed = RestoreDirectory(root / "copy")
    killed.claim(binaries, NOTE, 0, tablespaces={16500: root / "fast"})
    killed.release()
    (root / "fast" / "precious").write_text("mine")

    with pytest.raises(errors.Refused, match="found precious in"):
        RestoreDirectory(root / "copy").claim(binaries, NOTE, 0, tablespaces={16500: root / "fast"})

    assert (root / "fast" / "precious").read_text() == "mine"


def test_a_place_that_is_given_up_is_emptied(root: Path, binaries: Binaries) -> None:
    """The next restore puts the tablespace elsewhere: nothing half restored is left behind."""
    killed = RestoreDirectory(root / "copy")
    killed.claim(binaries, NOTE, 0, tablespaces={16500: root / "fast"})
    killed.release()
    (root / "fast" / _version_directory(binaries)).mkdir()

    second = RestoreDirectory(root / "copy")
    second.claim(binaries, NOTE, 0, tablespaces={16500: root / "other"})
    second.release()

    assert list((root / "fast").iterdir()) == []
    assert (root / "other").is_dir()


@pytest.mark.parametrize(("first", "second"), [("copy/fast", "slow"), (".", "slow"), ("same", "same"), ("a", "a/b")])
def test_directories_within_one_another_are_refused(root: Path, binaries: Binaries, first: str, second: str) -> None:
    """RC002, and nothing is made."""
    places = {16500: root / first, 16501: root / second}

    with pytest.raises(errors.Refused, match="within one another"):
        RestoreDirectory(root / "copy").claim(binaries, NOTE, 0, tablespaces=places)

    assert list(root.iterdir()) == []


def test_a_directory_within_a_cluster_is_refused(root: Path, binaries: Binaries) -> None:
    """Tablespaces lie outside of every data directory."""
    (root / "cluster").mkdir()
    (root / "cluster" / "PG_VERSION").write_text("18")

    with pytest.raises(errors.Refused, match="within the data directory"):
        RestoreDirectory(root / "copy").claim(binaries, NOTE, 0, tablespaces={16500: root / "cluster" / "fast"})


def test_a_link_is_refused(root: Path, binaries: Binaries) -> None:
    """Where it leads today is not where it leads tomorrow."""
    (root / "real").mkdir()
    (root / "link").symlink_to("real")

    with pytest.raises(errors.Refused, match="to be no directory"):
        RestoreDirectory(root / "copy").claim(binaries, NOTE, 0, tablespaces={16500: root / "link"})


def test_room_is_asked_for_where_it_is_needed(root: Path, binaries: Binaries, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one file system the sum, whatever lies where."""
    usage = admission.shutil.disk_usage(root)._replace(free=10)

    def nearly_full(path: Path) -> object:
        del path
        return usage

    monkeypatch.setattr(admission.shutil, "disk_usage", nearly_full)
    places = {"tablespaces": {16500: root / "fast"}, "tablespace_bytes": {16500: 5}}

    with pytest.raises(errors.Refused, match="10 B free"):
        RestoreDirectory(root / "copy").claim(binaries, NOTE, 11, **places)  # type: ignore[arg-type]
    claimed = RestoreDirectory(root / "copy")
    claimed.claim(binaries, NOTE, 10, **places)  # type: ignore[arg-type]
    claimed.release()


def test_a_delta_into_anything_but_a_stopped_cluster_is_refused(root: Path, binaries: Binaries) -> None:
    """Files of somebody, and a data directory whose control file cannot be read."""
    (root / "files").mkdir()
    (root / "files" / "precious").write_text("mine")
    (root / "broken").mkdir()
    (root / "broken" / "PG_VERSION").write_text(f"{binaries.version.major}\n")

    with pytest.raises(errors.Refused, match="found files in"):
        RestoreDirectory(root / "files").claim(binaries, NOTE, 0, is_delta=True)
    with pytest.raises(errors.Refused, match="found that whose cluster"):
        RestoreDirectory(root / "broken").claim(binaries, NOTE, 0, is_delta=True)

    assert not (root / "files" / MARKER).exists()
    assert not (root / "broken" / MARKER).exists()

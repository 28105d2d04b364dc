"""Who may have a restore's directory, when processes die and race at its door."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from pathlib import Path

import pytest

import servers
from safepoint import errors
from safepoint.model.json_value import Json
from safepoint.postgres.binaries import Binaries, available_binaries
from safepoint.recovery import admission
from safepoint.recovery.directory import MARKER, RestoreDirectory

NOTE: dict[str, Json] = {"plan": "0", "system_identifier": "7"}
MEBIBYTE = 1 << 20


@pytest.fixture
def into() -> Generator[Path]:
    """A place that the server's user can reach."""
    with servers.server_directory() as root:
        yield root / "copy"


@pytest.fixture
def binaries() -> Binaries:
    """Any: no server is started."""
    return available_binaries()[0]


def test_killed_while_its_marker_was_written_a_restore_leaves_what_counts_as_nothing(
    into: Path, binaries: Binaries
) -> None:
    """The draft of the marker alone is no file of anybody's; anything beside it is."""
    into.mkdir()
    (into / f"{MARKER}.new").write_text('{"pl')
    (into / "precious").write_text("mine")
    claimed = RestoreDirectory(into)
    with pytest.raises(errors.Refused, match="files in"):
        claimed.claim(binaries, NOTE, 0)
    (into / "precious").unlink()

    claimed.claim(binaries, NOTE, 0)
    claimed.release()

    assert [entry.name for entry in into.iterdir()] == [MARKER]


def test_a_directory_finished_by_another_between_look_and_lock_is_left_alone(
    into: Path, binaries: Binaries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked at while empty, held after the other handed over: refused, not marked, not held."""
    second = RestoreDirectory(into)
    hold = RestoreDirectory.hold

    def finish_first_then_hold(self: RestoreDirectory) -> None:
        monkeypatch.undo()
        first = RestoreDirectory(into)
        first.claim(binaries, NOTE, 0)
        (into / "PG_VERSION").write_text("18")
        first.finish()
        first.release()
        hold(self)

    monkeypatch.setattr(RestoreDirectory, "hold", finish_first_then_hold)

    with pytest.raises(errors.Refused, match="a data directory in") as caught:
        second.claim(binaries, NOTE, 0)

    assert caught.value.changed == errors.NOTHING_CHANGED
    assert not second.is_ours
    assert [entry.name for entry in into.iterdir()] == ["PG_VERSION"]


def test_a_takeover_may_use_the_room_of_what_it_clears(
    into: Path, binaries: Binaries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unfinished copy that fills the disk does not keep the next one from its place."""
    first = RestoreDirectory(into)
    first.claim(binaries, NOTE, 0)
    (into / "base").mkdir()
    (into / "base" / "1").write_bytes(b"x" * 4 * MEBIBYTE)
    first.release()
    usage = shutil.disk_usage(into)._replace(free=MEBIBYTE)

    def nearly_full(path: Path) -> object:
        del path
        return usage

    monkeypatch.setattr(admission.shutil, "disk_usage", nearly_full)
    second = RestoreDirectory(into)

    with pytest.raises(errors.Refused, match="free at"):
        second.claim(binaries, NOTE, 6 * MEBIBYTE)
    second.claim(binaries, NOTE, 5 * MEBIBYTE)
    second.release()

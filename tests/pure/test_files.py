"""Local files: whole after any crash, of the mode that was asked for, and never through somebody's link."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from safepoint import files


class _Crash(BaseException):
    pass


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    """The new content, the mode, and nothing beside it."""
    path = tmp_path / "state"
    path.write_text("old")

    files.write_durably(path, b"new", 0o640)

    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_crash_while_writing_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """What was there stays until the new bytes are durable; the draft that is left does not disturb the next one."""
    path = tmp_path / "state"
    files.write_durably(path, b"old")

    def crash(*_: object) -> int:
        raise _Crash

    with monkeypatch.context() as patch:
        patch.setattr(os, call, crash)
        with pytest.raises(_Crash):
            files.write_durably(path, b"new")
    assert path.read_bytes() == b"old"

    files.write_durably(path, b"newer")
    assert path.read_bytes() == b"newer"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_in_the_drafts_place_is_not_followed(tmp_path: Path) -> None:
    """Who may write in the directory cannot make us write elsewhere."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("theirs")
    (tmp_path / f"state{files.DRAFT_SUFFIX}").symlink_to(elsewhere)

    files.write_durably(tmp_path / "state", b"ours")

    assert elsewhere.read_text() == "theirs"
    assert not (tmp_path / "state").is_symlink()


def test_a_file_is_created_once(tmp_path: Path) -> None:
    """The second creation fails and leaves the first one's content; no draft stays."""
    path = tmp_path / "safepoint.toml"
    files.create_durably(path, b"first", 0o666)

    with pytest.raises(FileExistsError):
        files.create_durably(path, b"second")

    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_created_file_obeys_the_umask(tmp_path: Path) -> None:
    """A strategy file is as readable as its owner's other files."""
    before = os.umask(0o027)
    try:
        files.create_durably(tmp_path / "shared", b"", 0o666)
    finally:
        os.umask(before)

    assert (tmp_path / "shared").stat().st_mode & 0o777 == 0o640


def test_an_append_keeps_what_is_there(tmp_path: Path) -> None:
    """Through a link too, as Debian keeps postgresql.conf; a file that is not there is not made."""
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"one\n")
    link.symlink_to(target)

    files.append_durably(link, b"two\n")

    assert target.read_bytes() == b"one\ntwo\n"
    with pytest.raises(FileNotFoundError):
        files.append_durably(tmp_path / "absent", b"")


def test_every_byte_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel may take less than it was given."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, bytes(data[:3])))

    files.write_durably(tmp_path / "file", b"0123456789")

    assert (tmp_path / "file").read_bytes() == b"0123456789"


def test_the_file_is_synced_before_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data, rename, directory: in any other order a power cut leaves an empty file of the right name."""
    seen: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def spy_fsync(descriptor: int) -> None:
        seen.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        fsync(descriptor)

    def spy_replace(self: Path, target: Path) -> Path:
        seen.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(Path, "replace", spy_replace)

    files.write_durably(tmp_path / "file", b"content")

    assert seen == ["sync file.new", "rename", f"sync {tmp_path.name}"]

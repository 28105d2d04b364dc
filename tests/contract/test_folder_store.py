"""What the folder store does to the file system: syncs, dead writers, lost and full disks, rights."""

from __future__ import annotations

import gc
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from safepoint import errors
from safepoint.stores import FolderStore

_HOUR = 3600


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _python(code: str, *arguments: str, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [*prefix, sys.executable, "-W", "error", "-c", code, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)


def _calls(tmp_path: Path, code: str) -> list[str]:
    """The calls that put, name and sync, in order, as `fdatasync tmp`, `link packs/1`, `fsync packs`."""
    log = tmp_path / "strace.log"
    root = tmp_path / "root"
    trace = ("strace", "-f", "-y", "-e", "trace=fsync,fdatasync,link,linkat,sync,syncfs", "-o", str(log))
    setup = "import sys; from pathlib import Path; from safepoint.stores import FolderStore; root = Path(sys.argv[1]); "
    _python(setup + code, str(root), prefix=trace)
    return [call for line in log.read_text().splitlines() if (call := _call_of(line, root))]


def _call_of(line: str, root: Path) -> str | None:
    if match := re.search(r"(fsync|fdatasync)\(\d+<([^>]*)>(?:\(deleted\))?\) = 0", line):
        path = Path(match[2])
        where = path.relative_to(root) if path.is_relative_to(root) else Path("above")
        return f"{match[1]} {'tmp' if where.parts[:1] == ('tmp',) else where}"
    if match := re.search(r"link(?:at)?\(.*\"([^\"]*)\"(?:, 0)?\) = (0|-1 EEXIST)", line):
        return f"link {Path(match[1]).relative_to(root)}" + ("" if match[2] == "0" else " exists")
    return None


@pytest.mark.needs("strace")
def test_a_durable_put_is_synced_before_and_after_it_gets_its_name(tmp_path: Path) -> None:
    """Data first, then the name, then every directory that leads to it; the next put pays two syncs."""
    calls = _calls(
        tmp_path, "store = FolderStore(root); store.put_if_absent('a/b/1', b'x'); store.put_if_absent('a/b/2', b'x')"
    )

    assert calls[0] == "fsync above"
    assert calls[1:3] == ["fdatasync tmp", "link a/b/1"]
    assert sorted(calls[3:6]) == ["fsync .", "fsync a", "fsync a/b"]
    assert calls[6:] == ["fdatasync tmp", "link a/b/2", "fsync a/b"]


@pytest.mark.needs("strace")
def test_a_barrier_pays_one_sync_per_object_and_one_per_directory(tmp_path: Path) -> None:
    """Nothing is synced before the barrier; then each file and each directory once."""
    puts = "store = FolderStore(root); [store.put_if_absent(f'p/{n}', b'x', durable=False) for n in range(20)]; "
    calls = _calls(tmp_path, puts + "store.barrier()")

    assert calls[0] == "fsync above"
    assert calls[1:21] == [f"link p/{number}" for number in range(20)]
    assert [call.split()[0] for call in calls[21:41]] == ["fdatasync"] * 20
    assert sorted(calls[41:]) == ["fsync .", "fsync p"]


@pytest.mark.needs("strace")
def test_an_object_that_was_there_is_synced_before_it_counts(tmp_path: Path) -> None:
    """False, too, means durable: whoever put the object may have died before syncing it or its directories."""
    FolderStore(tmp_path / "root").put_if_absent("a/1", b"x", durable=False)

    calls = _calls(tmp_path, "FolderStore(root).put_if_absent('a/1', b'x')")

    assert calls[:3] == ["fdatasync tmp", "link a/1 exists", "fdatasync a/1"]
    assert sorted(calls[3:]) == ["fsync .", "fsync a"]


@pytest.mark.needs("strace")
def test_a_barrier_makes_deletes_durable(tmp_path: Path) -> None:
    """One sync of each directory that lost a name, also of one where another process deleted it first."""
    other = FolderStore(tmp_path / "root")
    for name in ("a/1", "a/2", "b/1", "c/1"):
        other.put_if_absent(name, b"x")
    other.delete("b/1")

    code = (
        "import contextlib; from safepoint.stores import NotFound; store = FolderStore(root)\n"
        "for name in ('a/1', 'a/2', 'b/1', 'never/1'):\n    with contextlib.suppress(NotFound): store.delete(name)\n"
        "store.barrier(); store.barrier()"
    )

    assert sorted(_calls(tmp_path, code)) == ["fsync a", "fsync b"]


def test_of_two_processes_exactly_one_wins(tmp_path: Path) -> None:
    """The conditional put holds between processes: of 400 puts of 200 names, 200 answer True."""
    code = (
        "import sys; from pathlib import Path; from safepoint.stores import FolderStore; "
        "store = FolderStore(Path(sys.argv[1])); data = sys.argv[2].encode(); "
        "print(sum(store.put_if_absent(f'x/{n}', data, durable=False) for n in range(200)))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "root")]
    processes = [subprocess.Popen([*command, name], stdout=subprocess.PIPE, text=True) for name in ("one", "two")]

    assert sum(int(process.communicate(timeout=60)[0]) for process in processes) == 200


def test_a_put_leaves_no_temporary_file(tmp_path: Path) -> None:
    """Neither success nor a taken name leaves anything but the object."""
    store = FolderStore(tmp_path / "root")
    store.put_if_absent("a", b"1")
    store.put_if_absent("a", b"2", durable=False)
    store.barrier()

    assert sorted(path.name for path in (tmp_path / "root").rglob("*")) == ["a", "tmp"]


def test_what_a_dead_writer_left_is_ignored_and_removed_after_an_hour(tmp_path: Path) -> None:
    """A temporary file is never listed; the next writer removes it when it is old, and lets a young one be."""
    temporary = tmp_path / "root" / "tmp"
    temporary.mkdir(parents=True)
    old, young = temporary / ".put-old", temporary / ".put-young"
    old.write_bytes(b"torn")
    young.write_bytes(b"torn")
    long_ago = time.time() - 2 * _HOUR
    os.utime(old, (long_ago, long_ago))
    store = FolderStore(tmp_path / "root")

    assert list(store.list("")) == []
    store.put_if_absent("tmp/wal/1", b"x")

    assert list(store.list("")) == ["tmp/wal/1"]
    assert (old.exists(), young.exists()) == (False, True)


def test_a_writer_whose_temporary_file_was_removed_stores_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that slept past the hour gets ST001 from its link, and the name stays free."""
    store = FolderStore(tmp_path / "root")
    store.put_if_absent("first", b"")
    really_link = os.link

    def link_late(source: Path, target: Path) -> None:
        source.unlink()
        really_link(source, target)

    monkeypatch.setattr(os, "link", link_late)
    with pytest.raises(errors.Unreachable, match="ST001"):
        store.put_if_absent("late", b"x")

    assert list(store.list("")) == ["first"]


def test_a_put_refuses_a_folder_that_was_replaced(tmp_path: Path) -> None:
    """An unmounted disk leaves a bare mount point: what is written there would be acknowledged and then gone."""
    root = tmp_path / "root"
    store = FolderStore(root)
    store.put_if_absent("a", b"1")
    root.rename(tmp_path / "unmounted")

    with pytest.raises(errors.Unreachable, match="no longer the one"):
        store.put_if_absent("b", b"2")
    assert not root.exists()
    root.mkdir()
    with pytest.raises(errors.Unreachable, match="no longer the one"):
        store.put_if_absent("b", b"2")

    assert list(root.iterdir()) == []


@pytest.mark.parametrize("root", ["/proc/safepoint", "/dev/null/safepoint"])
def test_a_folder_that_cannot_be_made_is_unreachable(root: str) -> None:
    """Cause and cure are named, and that nothing was stored."""
    with pytest.raises(errors.Unreachable) as caught:
        FolderStore(Path(root)).put_if_absent("a", b"1")

    assert caught.value.spec is errors.ST001
    assert caught.value.changed == "nothing was stored"
    assert root.rpartition("/")[0] in caught.value.message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere; run the tests as an ordinary user")
def test_a_folder_without_write_permission_is_unreachable(tmp_path: Path) -> None:
    """Reading works, writing is ST001."""
    root = tmp_path / "root"
    FolderStore(root).put_if_absent("a", b"1")
    root.chmod(0o500)
    (root / "tmp").chmod(0o500)

    store = FolderStore(root)

    assert store.get("a") == b"1"
    with pytest.raises(errors.Unreachable, match="permission denied"):
        store.put_if_absent("b", b"2")


def test_a_file_that_may_not_grow_is_unreachable(tmp_path: Path) -> None:
    """A limit on file sizes (RLIMIT_FSIZE) stores nothing and leaves no temporary file."""
    code = (
        "import resource, sys; from pathlib import Path; from safepoint import errors; "
        "from safepoint.stores import FolderStore\n"
        "store = FolderStore(Path(sys.argv[1])); store.put_if_absent('small', b'x')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try: store.put_if_absent('large', bytes(9000))\n"
        "except errors.Unreachable as error: print(error)\n"
    )
    output = _python(code, str(tmp_path / "root")).stdout

    assert output.startswith("ST001: cannot store large: found file too large")
    assert sorted(path.name for path in (tmp_path / "root").rglob("*")) == ["small", "tmp"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    mount = shutil.which("mount")
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0 or mount is None:
        pytest.skip("mounting a small file system needs root: run `sudo make test`")
    mounted = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this container may not mount a small file system: run it with CAP_SYS_ADMIN")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_told_with_both_numbers(small_disk: Path) -> None:
    """ST002 names free and needed bytes; what was stored before stays, of the failed put nothing does."""
    store = FolderStore(small_disk / "root")
    store.put_if_absent("before", bytes(500_000))

    with pytest.raises(errors.Unreachable) as caught:
        store.put_if_absent("too/much", bytes(2_000_000))

    assert caught.value.spec is errors.ST002
    assert re.search(r"found \S+ KiB free at .*, expected 1\.9 MiB or more", caught.value.message)
    assert caught.value.changed == "nothing was stored"
    assert list(store.list("")) == ["before"]
    assert store.put_if_absent("after", bytes(300_000)) is True


def test_dropped_stores_close_their_files(tmp_path: Path) -> None:
    """Puts that no barrier followed keep files open only as long as the store lives."""
    gc.collect()  # else what other tests have dropped may be closed meanwhile
    before = _open_files()
    store = FolderStore(tmp_path / "root")
    for number in range(100):
        store.put_if_absent(f"p/{number}", b"x", durable=False)
    assert _open_files() <= before + 64

    del store

    assert _open_files() == before


@pytest.mark.parametrize("made", ["a pipe", "a symbolic link", "a socket", "a device"])
def test_what_is_no_regular_file_is_damage_that_keeps_nobody_waiting(tmp_path: Path, made: str) -> None:
    """Its name is listed and taken; reading it, its size and putting it are RP005; it can be deleted."""
    root = tmp_path / "root"
    store = FolderStore(root)
    store.put_if_absent("a/1", b"x")
    _make_irregular(root / "a/2", made)

    assert list(store.list("a/")) == ["a/1", "a/2"]
    for call in (
        lambda: store.get("a/2"),
        lambda: store.get_range("a/2", 0, 1),
        lambda: store.size("a/2"),
        lambda: store.put_if_absent("a/2", b"y"),
    ):
        with pytest.raises(errors.Damaged, match=rf"RP005: .*found {made} at a/2, expected regular files"):
            call()
    store.delete("a/2")
    assert store.put_if_absent("a/2", b"y") is True


def _make_irregular(path: Path, made: str) -> None:
    if made == "a pipe":
        os.mkfifo(path)
    elif made == "a symbolic link":
        path.symlink_to("1")
    elif made == "a socket":
        here = Path.cwd()
        os.chdir(path.parent)  # the path of a socket has at most 107 bytes
        try:
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(path.name)
        finally:
            os.chdir(here)
    else:
        try:
            os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))
        except PermissionError:
            pytest.skip("making a device needs root: run `sudo make test`")


def test_links_below_the_root_are_never_followed(tmp_path: Path) -> None:
    """Not to list, to read, to delete or to write, wherever they lead; a root that is a link serves as before."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "1").write_bytes(b"secret")
    FolderStore(tmp_path / "real").put_if_absent("a/1", b"x")
    (tmp_path / "real/a/loop").symlink_to(".")
    (tmp_path / "real/b").symlink_to(outside)
    (tmp_path / "root").symlink_to("real")
    store = FolderStore(tmp_path / "root")

    assert list(store.list("")) == ["a/1", "a/loop", "b"]
    assert list(store.list("a/")) == ["a/1", "a/loop"]
    assert store.get("a/1") == b"x"
    for call in (
        lambda: list(store.list("b/")),
        lambda: store.get("b/1"),
        lambda: store.delete("b/1"),
        lambda: store.put_if_absent("b/2", b""),
    ):
        with pytest.raises(errors.Damaged, match="found a symbolic link at b, expected"):
            call()
    assert [path.name for path in outside.iterdir()] == ["1"]


def test_a_range_beyond_the_end_takes_no_more_memory_than_the_object(tmp_path: Path) -> None:
    """A bound of a pebibyte on what is read costs nothing."""
    store = FolderStore(tmp_path / "root")
    store.put_if_absent("a", b"123")

    assert store.get_range("a", 1, 1 << 50) == b"23"
    assert store.get_range("a", 7, 1 << 50) == b""

"""Directories that a restore wrote, without a server: what is in them, what may happen to them, and who judges."""

from __future__ import annotations

import os
import random
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

from repository_samples import sample_manifest, with_files
from safepoint.model.backup import BackupManifest
from safepoint.postgres.binaries import Binaries, available_binaries
from safepoint.recovery.backup_manifest import BACKUP_MANIFEST
from safepoint.recovery.files import Written, write_files
from safepoint.recovery.marker import MARKER
from safepoint.repository import Ingest, Repository
from safepoint.repository.maps.shape import PAGE_BYTES

LARGE = random.Random(11).randbytes(600 * PAGE_BYTES)
CONTROL = "global/pg_control"
FILES = {
    "PG_VERSION": b"17\n",
    "backup_label": b"START WAL LOCATION: 0/2000028\n",
    "base/5/1": LARGE,
    "base/5/2": LARGE[: 70 * PAGE_BYTES + 100],
    "base/5/3": b"s" * 5000,
    "base/5/4": b"",
    CONTROL: b"c" * PAGE_BYTES,
    "pg_tblspc/16500/PG_17_202406281/5/9": LARGE[PAGE_BYTES : 40 * PAGE_BYTES],
}
DIRECTORIES = {
    "base": 0o700,
    "base/5": 0o750,
    "global": 0o700,
    "pg_tblspc": 0o700,
    "pg_tblspc/16500": 0o700,
    "pg_tblspc/16500/PG_17_202406281": 0o700,
    "pg_tblspc/16500/PG_17_202406281/5": 0o700,
    "pg_wal": 0o700,
}
MODES = {"base/5/3": 0o640, "base/5/2": 0o640}


def back_up_cluster(
    repository: Repository, files: dict[str, bytes] | None = None, parent: BackupManifest | None = None
) -> BackupManifest:
    """A backup of something like a cluster."""
    base = sample_manifest("2" if parent else "1")
    with repository.write_backup(database=base.database, cluster=base.system_identifier, parent=parent) as writer:
        take_cluster(writer.ingest, FILES if files is None else files)
        manifest = with_files(base, writer.ingest.finish())
        writer.commit(manifest)
    return manifest


def take_cluster(ingest: Ingest, files: dict[str, bytes]) -> None:
    """Its directories and files, with their modes."""
    for path, mode in DIRECTORIES.items():
        ingest.directory(path, mode)
    for path, content in files.items():
        with ingest.file(path, mode=MODES.get(path, 0o600)) as file:
            file.write(content)


def write_copy(repository: Repository, manifest: BackupManifest, directory: Path, **options: object) -> Written:
    """A restore into a marked directory, quietly."""
    directory.mkdir(exist_ok=True)
    (directory / MARKER).write_text('{"system_identifier": "7"}')
    return write_files(repository, manifest, directory, lambda _: None, **options)  # type: ignore[arg-type]


def state_of(directory: Path) -> dict[str, tuple[str, int, bytes]]:
    """Kind, mode and content of everything below; of the backup manifest the sorted lines, of a link its target."""
    found: dict[str, tuple[str, int, bytes]] = {}
    for path in directory.rglob("*"):
        status = path.lstat()
        name = str(path.relative_to(directory))
        if path.is_symlink():
            found[name] = "link", 0, os.fsencode(path.readlink())
        elif path.is_dir():
            found[name] = "directory", stat.S_IMODE(status.st_mode), b""
        else:
            found[name] = "file", stat.S_IMODE(status.st_mode), _content(path)
    return found


def _content(path: Path) -> bytes:
    content = path.read_bytes()
    if path.name != BACKUP_MANIFEST:
        return content
    lines = sorted(line.rstrip(b",") for line in content.split(b"\n"))
    return b"\n".join(line for line in lines if b"Manifest-Checksum" not in line)


def judges() -> list[Binaries]:
    """Every pg_verifybackup at hand."""
    return [found for found in available_binaries() if (found.directory / "pg_verifybackup").exists()]


def verdict(binaries: Binaries, directory: Path) -> str:
    """What pg_verifybackup has against the files; nothing when it accepts them."""
    program = binaries.program("pg_verifybackup")
    answer = subprocess.run(
        [program, "-n", "-i", MARKER, directory],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={"LC_ALL": "C"},
    )
    return "" if answer.returncode == 0 else answer.stdout + answer.stderr or "no word"


def _flip(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(rng.randrange(1, 5)):
        if content:
            content[rng.randrange(len(content))] ^= 0x40
    path.write_bytes(content)


def _grow(path: Path, rng: random.Random) -> None:
    with path.open("ab") as file:
        file.write(rng.randbytes(rng.randrange(1, 3 * PAGE_BYTES)))


def _shrink(path: Path, rng: random.Random) -> None:
    os.truncate(path, rng.randrange(path.stat().st_size + 1))


def _fill_with_zeros(path: Path, rng: random.Random) -> None:
    size = path.stat().st_size
    os.truncate(path, rng.randrange(size + 1))
    os.truncate(path, size)


def _become_directory(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.mkdir()
    (path / "strange").write_bytes(rng.randbytes(9))


def _become_link(path: Path, rng: random.Random) -> None:
    del rng
    path.rename(path.with_name("kept-elsewhere"))
    path.symlink_to("kept-elsewhere")


def _get_second_name(path: Path, rng: random.Random) -> None:
    os.link(path, path.with_name("second-name"))
    if rng.random() < 0.5:
        path.chmod(0o400)


_HARMS: tuple[Callable[[Path, random.Random], None], ...] = (
    _flip,
    _grow,
    _shrink,
    _fill_with_zeros,
    _become_directory,
    _become_link,
    _get_second_name,
    lambda path, _: path.unlink(),
    lambda path, _: path.chmod(0o644),
)


def harm(directory: Path, seed: int) -> None:
    """Half of the files suffer; files, links and directories that nobody knows are there."""
    rng = random.Random(seed)
    files = sorted(path for path in directory.rglob("*") if path.is_file() and path.name != MARKER)
    for path in rng.sample(files, len(files) // 2):
        rng.choice(_HARMS)(path, rng)
    (directory / "postmaster.opts").write_text("surplus")
    (directory / "base" / "5" / "77").write_bytes(rng.randbytes(PAGE_BYTES))
    (directory / "base" / "6" / "deep").mkdir(parents=True)
    (directory / "base" / "6" / "deep" / "file").write_text("surplus")
    (directory / "base" / "5" / "dangling").symlink_to("nowhere")
    (directory / "base").chmod(0o755)

"""The plain tools that a repository is measured against, on the same files and the same cores.

Both sides end durable: the archive by `sync` of that one file, the extracted files by `sync -f`, which writes back
their file system only (fsync of each of the files would cost the tools much more).
"""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

from bench.data import LEFT_OUT
from bench.measure import settle

WRITE = "tar -cf - -C data . | zstd -1 -T2 -o file; sync file"
READ = "zstd -d file | tar -xf - -C out; sync -f out"

_WRITE = 'tar -cf - -C "$1" {excluded} . | zstd -q -f -1 -T2 -o "$2" && sync "$2"'.format(
    excluded=" ".join(f"--exclude=./{name}" for name in LEFT_OUT)
)
_READ = 'zstd -q -d -c "$1" | tar -xf - -C "$2" && sync -f "$2"'


def missing_tools() -> tuple[str, ...]:
    """The programs that are not on this machine."""
    return tuple(name for name in ("tar", "zstd", "sync") if shutil.which(name) is None)


def write_archive(data: Path, archive: Path) -> float:
    """Seconds to pack the data directory into the archive."""
    archive.unlink(missing_ok=True)
    return _seconds(_WRITE, data, archive)


def read_archive(archive: Path, directory: Path) -> float:
    """Seconds to unpack the archive into the directory, which is emptied before and gone afterwards."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    seconds = _seconds(_READ, archive, directory)
    shutil.rmtree(directory)
    return seconds


def _seconds(script: str, *arguments: Path) -> float:
    settle()
    began = time.perf_counter()
    subprocess.run(["bash", "-c", f"set -o pipefail; {script}", "bash", *arguments], check=True)
    return time.perf_counter() - began

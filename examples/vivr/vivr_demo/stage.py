"""The place where the demo plays: one folder, and every process whose working directory lies below it.

Invariant: whatever an earlier demo left behind when it was killed (servers, shoppers, receivers, files) is found by
that folder alone, so `clear_stage` needs no record of its own and never touches anything else.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MARKER = ".vivr-demo"
_GONE_WITHIN_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Paths of one demo, all below `root`."""

    root: Path

    @property
    def project(self) -> Path:
        """The team's checkout: the strategy file and the Prisma project."""
        return self.root / "project"

    @property
    def servers(self) -> Path:
        """Data directories."""
        return self.root / "servers"

    @property
    def repository(self) -> Path:
        """The backup repository: another building, as far as the story goes."""
        return self.root / "repository"

    @property
    def commit_log(self) -> Path:
        """Every commit that the shop's server acknowledged to a shopper."""
        return self.root / "commits.jsonl"

    @property
    def url_file(self) -> Path:
        """Where the shoppers find the database; rewriting it repoints them."""
        return self.root / "database-url"

    @property
    def shoppers_file(self) -> Path:
        """How many shoppers of each version there are."""
        return self.root / "shoppers.json"

    @property
    def report(self) -> Path:
        """The page that says what was measured."""
        return self.root / "report.html"


def clear_stage(root: Path) -> None:
    """No process works below `root` any more, and `root` is an empty, marked folder.

    FileExistsError when `root` holds something that no demo put there: nothing is touched then.
    """
    if root.exists() and any(root.iterdir()) and not (root / MARKER).exists():
        raise FileExistsError(
            f"found files in {root} that no demo wrote, expected an empty folder or an earlier demo's"
        )
    kill_below(root)
    # The marker goes last, so that a removal cut short is taken up again by the next demo.
    for entry in root.iterdir() if root.exists() else ():
        if entry.name != MARKER:
            _remove(entry)
    root.mkdir(parents=True, exist_ok=True)
    root.chmod(0o755)
    (root / MARKER).touch()


def kill_below(root: Path) -> None:
    """Every process whose working directory lies below `root` has ended; TimeoutError if one does not."""
    deadline = time.monotonic() + _GONE_WITHIN_SECONDS
    while pids := list(_processes_below(root.resolve())):
        if time.monotonic() > deadline:
            raise TimeoutError(f"found processes {pids} still alive below {root}, expected none")
        for pid in pids:
            _kill(pid)
        time.sleep(0.05)


def _processes_below(root: Path) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            place = Path(str((entry / "cwd").readlink()).removesuffix(" (deleted)"))
        except OSError:
            continue
        if place.is_relative_to(root) and _state_of(entry) != "Z":
            yield int(entry.name)


def _state_of(entry: Path) -> str:
    try:
        return (entry / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _remove(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink()

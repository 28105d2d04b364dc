"""Backs up into a folder and is killed by SIGKILL at a call to the store: `back_up_and_die.py FOLDER CALL`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from guarded_stores import GuardedStore, let_pass
from repository_samples import back_up, sample_files
from safepoint.repository import open_repository
from safepoint.stores import FolderStore


def main(folder: Path, call: int) -> None:
    """Makes the second backup, on top of the first, and says so if it lives."""
    store = GuardedStore(FolderStore(folder), let_pass)
    repository = open_repository(store, None)
    (first,) = repository.backups()
    calls = 0

    def die(name: str, of: str) -> None:
        del name, of
        nonlocal calls
        calls += 1
        if calls == call:
            os.kill(os.getpid(), signal.SIGKILL)

    store.guard = die
    back_up(repository, sample_files(2), "second", parent=first)
    sys.stdout.write("made\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

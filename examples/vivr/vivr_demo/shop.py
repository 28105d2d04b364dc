"""The shoppers: a process of their own that goes on whatever happens to the database."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from vivr_demo.stage import Stage
from vivr_demo.terminal import Terminal
from vivr_shop.commitlog import Commit, CommitLog, read

_SHOPPERS_RATE = 15.0
_POLL_SECONDS = 0.2


class Shop:
    """Shoppers of both versions and the log of what the server acknowledged to them."""

    def __init__(self, stage: Stage, process: subprocess.Popen[bytes]) -> None:
        self._stage = stage
        self._process = process

    def log(self) -> CommitLog:
        """Everything acknowledged so far; raises when the log is gone or damaged, or the shoppers are."""
        if self._process.poll() is not None:
            raise RuntimeError(
                f"found the shoppers ended with exit code {self._process.returncode}, expected them alive"
            )
        return read(self._stage.commit_log)

    def wait_for(self, what: str, find: Callable[[CommitLog], Commit | None], *, seconds: float) -> Commit:
        """The first commit that `find` finds; TimeoutError after `seconds`."""
        deadline = time.monotonic() + seconds
        while True:
            found = find(self.log())
            if found is not None:
                return found
            if time.monotonic() > deadline:
                raise TimeoutError(f"found no {what} within {seconds:.0f} s")
            time.sleep(_POLL_SECONDS)

    def let_in(self, *, old: int, new: int) -> None:
        """So many shoppers of each version shop from now on."""
        _replace(self._stage.shoppers_file, json.dumps({"old": old, "new": new}))

    def repoint(self, url: str) -> datetime:
        """Whoever connects from now on reaches `url`; returns when it was so."""
        _replace(self._stage.url_file, url)
        return datetime.now(UTC)

    def close(self) -> CommitLog:
        """Every shopper has left and the log is complete."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(timeout=20)
        log = read(self._stage.commit_log)
        if not log.is_ended:
            raise RuntimeError("found the commit log without its end, expected the shoppers to have left in order")
        return log


def open_shop(stage: Stage, terminal: Terminal, url: str, *, old: int) -> Shop:
    """Shoppers of the old version shop at `url`, and the first order has been acknowledged."""
    _replace(stage.url_file, url)
    _replace(stage.shoppers_file, json.dumps({"old": old, "new": 0}))
    shop = Shop(stage, terminal.start(_traffic(stage)))
    _await_file(stage.commit_log, seconds=10)
    shop.wait_for("order", lambda log: log.last_commit, seconds=20)
    return shop


def _traffic(stage: Stage) -> list[str | Path]:
    return [
        sys.executable,
        *("-m", "vivr_shop", "traffic"),
        *("--url-file", stage.url_file),
        *("--shoppers-file", stage.shoppers_file),
        *("--log", stage.commit_log),
        *("--rate", str(_SHOPPERS_RATE)),
    ]


def _await_file(path: Path, *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists() or path.stat().st_size == 0:
        if time.monotonic() > deadline:
            raise TimeoutError(f"found no {path} within {seconds:.0f} s, expected the shoppers to write it")
        time.sleep(_POLL_SECONDS)


def _replace(path: Path, content: str) -> None:
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(content)
    os.replace(fresh, path)  # noqa: PTH105 - atomic, as the shoppers read it meanwhile

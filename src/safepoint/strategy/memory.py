"""Strategies that were judged right, remembered on this machine: judging again takes longer than most of the work.

One file for each text, path and version of this package: whatever changes there is another file, so what is found was
made from these very bytes by this very code. It holds no secret, since a strategy has references alone. Only a file of
this user's own, which nobody else may write, is believed; whatever else is wrong with it, the strategy is judged again.
Values of the strategy alone are made from it: nothing that is imported by name can be called.
"""

from __future__ import annotations

import io
import os
import pickle
import stat
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from safepoint import __version__
from safepoint.files import DRAFT_SUFFIX
from safepoint.strategy import values
from safepoint.strategy.values import Strategy

_OF_PYTHON = {("datetime", "timedelta"), ("pathlib", "PosixPath")}
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH
_LONGEST = 1 << 24


def recall(folder: Path, text: str, path: Path) -> Strategy | None:
    """The strategy that was remembered for this text in a file of this path; None when there is none to be believed."""
    try:
        with (folder / _name_of(text, path)).open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_uid != os.geteuid() or status.st_mode & _OTHERS_MAY_WRITE:
                return None
            found = _Values(io.BytesIO(file.read(_LONGEST))).load()
    except Exception:  # noqa: BLE001 - pickle raises whatever damaged bytes lead to, and there is another way
        return None
    return found if isinstance(found, Strategy) and found.path == path else None


def remember(folder: Path, text: str, strategy: Strategy) -> None:
    """It can be recalled, where the folder can be written. Killed here, a draft is left, which nobody reads."""
    target = folder / _name_of(text, strategy.path)
    draft = target.with_name(f"{target.name}.{os.getpid()}{DRAFT_SUFFIX}")
    with suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            draft.unlink()
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            pickle.dump(strategy, file)
        draft.replace(target)


class _Values(pickle.Unpickler):
    """Makes values of a strategy, and nothing else."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        if module_name == values.__name__ and isinstance(found := getattr(values, global_name, None), type):
            return found
        if (module_name, global_name) in _OF_PYTHON:
            return super().find_class(module_name, global_name)
        raise pickle.UnpicklingError(f"found {module_name}.{global_name}, expected a value of a strategy")


def _name_of(text: str, path: Path) -> str:
    code = [(file.name, (status := file.stat()).st_mtime_ns, status.st_size) for file in sorted(_sources())]
    said = repr((__version__, code, os.fspath(path), text))
    return sha256(said.encode("utf-8", "surrogateescape")).hexdigest()


def _sources() -> list[Path]:
    return list(Path(__file__).parent.glob("*.py"))

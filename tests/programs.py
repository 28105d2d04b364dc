"""Programs that tests may ask for by the mark `needs`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_PACKAGES = {"node": "nodejs"}
"""Where Debian's package is named otherwise than the program."""


def install_command(program: str) -> str:
    """What an administrator types to have the program."""
    return f"apt-get install -y {_PACKAGES.get(program, program)}"


def find_program(name: str) -> Path | None:
    """A program on PATH or among the system's own, which an ordinary user's PATH may leave out."""
    found = shutil.which(name, path=os.pathsep.join([*os.get_exec_path(), "/usr/sbin", "/sbin"]))
    return None if found is None else Path(found)

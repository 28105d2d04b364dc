"""Compiles kernel.c and safepoint_wal.c into the wheel and the editable install, where a C compiler is at hand.

Without one, or when it fails, there is no library, an older one neither, and the same functions run in numpy; and
`safepoint-wal` is a script in Python. Killed anywhere, what was compiled is the old one, the new one, or none; a
scratch file next to it is ignored by git and by wheels.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_LIBRARY = "src/safepoint/kernel/_kernel.so"
_HELPER = "src/safepoint/backup/archive/_safepoint_wal"
_HELPER_SCRIPT = "src/safepoint/backup/archive/safepoint-wal"
_FLAGS = ("-std=gnu11", "-O3", "-shared", "-fPIC", "-fvisibility=hidden")
_PROGRAM_FLAGS = ("-std=gnu11", "-O2")
_COMPILE_SECONDS = 120


class KernelBuildHook(BuildHookInterface[Any]):
    """Runs before hatchling packs a wheel, also that of an editable install."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """What is compiled is made from these very sources, or absent; a wheel that holds any names its platform."""
        has_kernel = compile_kernel(Path(self.root) / _LIBRARY)
        has_helper = compile_helper(Path(self.root) / _HELPER)
        # One program of this name, and PostgreSQL starts it for every segment: compiled, where that is possible.
        build_data["shared_scripts"][_HELPER if has_helper else _HELPER_SCRIPT] = "safepoint-wal"
        if version == "editable" or not (has_kernel or has_helper):
            return
        if has_kernel:
            build_data["artifacts"].append(f"/{_LIBRARY}")
        build_data["pure_python"] = False
        # Neither Python's version nor its ABI matters to a library that ctypes loads.
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"


def compile_kernel(library: Path) -> bool:
    """Whether the library is there now, from the kernel.c next to it. The compiler is $CC, else cc."""
    return _is_made(library, library.with_name("kernel.c"), _FLAGS)


def compile_helper(program: Path) -> bool:
    """Whether the program is there now, from the safepoint_wal.c next to it."""
    return _is_made(program, program.with_name("safepoint_wal.c"), _PROGRAM_FLAGS)


def _is_made(target: Path, source: Path, flags: tuple[str, ...]) -> bool:
    try:
        with tempfile.TemporaryDirectory(prefix=f"{target.stem}-", dir=target.parent) as scratch:
            made = Path(scratch) / target.name
            if _compiles(source, made, flags):
                made.replace(target)
                return True
        target.unlink(missing_ok=True)
    except OSError:  # a checkout that may not be written holds what it held
        return False
    return False


def _compiles(source: Path, made: Path, flags: tuple[str, ...]) -> bool:
    compiler = shlex.split(os.environ.get("CC", "")) or ["cc"]
    command = [*compiler, *flags, "-o", str(made), str(source)]
    try:
        answer = subprocess.run(command, capture_output=True, timeout=_COMPILE_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0

"""Compiles src/safepoint/kernel/kernel.c into the wheel and the editable install, where a C compiler is at hand.

Without one, or when it fails, there is no library, an older one neither, and the same functions run in numpy. Killed
anywhere, the library is the old one, the new one, or none; a scratch file next to it is ignored by git and by wheels.
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
_FLAGS = ("-std=gnu11", "-O3", "-shared", "-fPIC", "-fvisibility=hidden")
_COMPILE_SECONDS = 120


class KernelBuildHook(BuildHookInterface[Any]):
    """Runs before hatchling packs a wheel, also that of an editable install."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """The library is made from this very kernel.c, or absent; a wheel that holds it names its platform."""
        if not compile_kernel(Path(self.root) / _LIBRARY) or version == "editable":
            return
        build_data["artifacts"].append(f"/{_LIBRARY}")
        build_data["pure_python"] = False
        # Neither Python's version nor its ABI matters to a library that ctypes loads.
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"


def compile_kernel(library: Path) -> bool:
    """Whether the library is there now, from the kernel.c next to it. The compiler is $CC, else cc."""
    try:
        with tempfile.TemporaryDirectory(prefix="_kernel-", dir=library.parent) as scratch:
            made = Path(scratch) / library.name
            if _compiles(library.with_name("kernel.c"), made):
                made.replace(library)
                return True
        library.unlink(missing_ok=True)
    except OSError:  # a checkout that may not be written holds what it held
        return False
    return False


def _compiles(source: Path, made: Path) -> bool:
    compiler = shlex.split(os.environ.get("CC", "")) or ["cc"]
    command = [*compiler, *_FLAGS, "-o", str(made), str(source)]
    try:
        answer = subprocess.run(command, capture_output=True, timeout=_COMPILE_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0

"""What a reader must know of the machine to compare figures. No names of hosts, no paths."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from safepoint import __version__
from safepoint.model.measures import format_bytes


def machine_facts(scratch: Path) -> dict[str, str]:
    """Facts by the words in which the page tells them; `scratch` is where everything is written."""
    return {
        "Date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "safepoint": __version__,
        "Cores": str(len(os.sched_getaffinity(0))),
        "Processor": _processor(),
        "Memory": format_bytes(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")),
        "Kernel": f"{platform.system()} {platform.release().partition('-')[0]}",
        "File system": _said(["df", "--output=fstype", str(scratch)], line=-1),
        "Python": platform.python_version(),
        "zstd": _version(_said(["zstd", "--version"])),
        "tar": _version(_said(["tar", "--version"])),
    }


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or "unknown"
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def _said(command: list[str], *, line: int = 0) -> str:
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return "not there"
    return (answer.stdout.strip().splitlines() or ["unknown"])[line]


def _version(line: str) -> str:
    found = re.search(r"\d+(\.\d+)+", line)
    return found[0] if found else line

"""Plays the demo and writes what it printed into README.md, between the markers."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
README = CHECKOUT / "README.md"
BLOCK = re.compile(r"(<!-- demo -->\n```text\n).*?(```\n<!-- /demo -->)", re.DOTALL)


def main() -> None:
    """README.md shows this run, with the checkout's own path left out."""
    demo = subprocess.run([sys.executable, "-m", "vivr_demo"], check=True, capture_output=True, text=True)
    said = demo.stdout.strip().replace(f"{CHECKOUT}/", "")
    text, count = BLOCK.subn(lambda block: f"{block[1]}{said}\n{block[2]}", README.read_text())
    if count != 1:
        raise SystemExit(f"found {count} demo blocks in {README}, expected one")
    README.write_text(text)


if __name__ == "__main__":
    main()

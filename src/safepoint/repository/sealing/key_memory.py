"""What this machine remembers of a repository's keys, so that a generation hidden or exchanged in the store is noticed.

Digests of masters, each keyed with the master itself: of no use to whoever reads them.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from safepoint.files import write_durably
from safepoint.repository.sealing.key_listing import remembered, require_remembered
from safepoint.repository.sealing.keys import OpenedKeys

_FILE = "keys.json"


def require_known_keys(opened: OpenedKeys, state: Path | None) -> None:
    """The keys are those that were seen here before, or more, and are remembered; RP008 when one is gone or another.

    Where nothing can be kept or read, nothing is known: that is no error.
    """
    if state is None or not opened.keyring.is_encrypted:
        return
    path = state / _FILE
    before: dict[str, str] = {}
    with contextlib.suppress(OSError, ValueError, TypeError):
        before = {str(int(number)): str(digest) for number, digest in dict(json.loads(path.read_text())).items()}
    require_remembered(opened, before)
    now = remembered(opened)
    if now != before:
        with contextlib.suppress(OSError):
            state.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_durably(path, json.dumps(now).encode(), 0o600)

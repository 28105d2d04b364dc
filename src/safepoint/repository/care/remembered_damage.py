"""What earlier verifications found damaged, and what is so still: a check reads these objects, and no others, whole."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

from safepoint import errors
from safepoint.repository.care.sound_objects import require_sound
from safepoint.repository.care.verification_memory import read_memory
from safepoint.repository.names import kind_of
from safepoint.repository.repository import Repository

THREADS = 2
"""Each may have a pack in memory."""


def remembered_damage(repository: Repository) -> dict[str, str]:
    """By object that does not open to this day, what to say of it. What is gone, or was mended since, is not in it."""
    names = sorted(set(read_memory(repository).damaged.values()))
    with ThreadPoolExecutor(THREADS, thread_name_prefix="safepoint-verify") as pool:
        faults = list(pool.map(partial(_fault, repository), names))
    return {
        name: f"{name} was found damaged by an earlier verification, and still is: {fault}"
        for name, fault in zip(names, faults, strict=True)
        if fault is not None
    }


def _fault(repository: Repository, name: str) -> str | None:
    kind = kind_of(name)
    try:
        if kind is not None:
            require_sound(repository, name, kind)
    except errors.Damaged as error:
        return None if error.spec is errors.RP004 else error.message
    return None

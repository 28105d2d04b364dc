"""What earlier verifications found damaged, and what is so still: a check reads these objects, and no others, whole."""

from __future__ import annotations

from safepoint import errors
from safepoint.repository.care.sound_objects import open_sound, pack_of
from safepoint.repository.care.verification_memory import read_memory
from safepoint.repository.commit.parallel import in_threads
from safepoint.repository.packs.pack import check_pack
from safepoint.repository.repository import Repository
from safepoint.stores.port import NotFound


def remembered_damage(repository: Repository) -> dict[str, str]:
    """By object that does not open to this day, what to say of it. What is gone, or was mended since, is not in it."""
    names = sorted(set(read_memory(repository).damaged.values()))
    faults = in_threads(lambda name: _fault(repository, name), names)
    return {
        name: f"{name} was found damaged by an earlier verification, and still is: {fault}"
        for name, fault in zip(names, faults, strict=True)
        if fault is not None
    }


def _fault(repository: Repository, name: str) -> str | None:
    store, keyring, pack = repository.store, repository.keyring, pack_of(name)
    try:
        if pack is not None:
            check_pack(store, keyring, pack)
        else:
            open_sound(keyring, name, store.get(name))
    except NotFound:
        return None
    except errors.Damaged as error:
        return None if error.spec is errors.RP004 else error.message
    except ValueError as error:
        return str(error)
    return None

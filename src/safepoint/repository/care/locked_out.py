"""Is an object that does not open damaged, or sealed under a master that no key here gives? Its header tells."""

from __future__ import annotations

from safepoint import errors
from safepoint.repository.repository import Repository
from safepoint.repository.sealing.seal import HEADER_BYTES, BrokenSeal, Kind, generation_of, read_header
from safepoint.stores.port import NotFound


def is_locked_out(repository: Repository, name: str, kind: Kind) -> bool:
    """Whether it says that its generation is one whose key is not here: then whether it holds is unknown."""
    try:
        head = repository.store.get_range(name, 0, HEADER_BYTES)
        return generation_of(read_header(head, kind)) not in repository.keyring.masters
    except (NotFound, BrokenSeal, errors.Damaged):
        return False

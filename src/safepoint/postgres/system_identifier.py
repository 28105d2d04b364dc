"""A cluster's system identifier: an unsigned number of 64 bits everywhere but in SQL, which has none."""

from __future__ import annotations

_RANGE = 1 << 64


def system_identifier_of(signed: int) -> int:
    """The identifier that SQL gives as the signed number of the same bits (pg_control_system())."""
    return signed % _RANGE

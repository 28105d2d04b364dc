"""When changes to a node are written as changes, which older changes they swallow, and when the node is written whole.

Pure and the same for page maps, fingerprints and listings. A chain is a whole node and the changes to it, oldest
first; who reads must read all of it. Sizes are encoded bytes, before compression.

Invariant: each node of a chain's changes is more than twice as long as the one after it, and together they are at
most half the whole node. So with changes of at least s bytes a chain has at most log2(whole / s) nodes. A byte of
change is written again only when what holds it grows to at least 3/2: about 1.7 · log2(whole / s) times at most; and
the whole node, only after a quarter to half of its length has changed.
"""

from __future__ import annotations

from collections.abc import Sequence

_SWALLOWED_UP_TO = 2
_WHOLE = 1024
_WHOLE_BEYOND = _WHOLE // 2


def swallowed(sizes: Sequence[int], new: int, *, spread: int = 0) -> int | None:
    """How many nodes at the end of a chain the `new` bytes of changes take in; None: write the node whole.

    `sizes` is the chain: the whole node, then its changes, oldest first. Without a chain the node is written whole.
    `spread`, any byte that differs from chain to chain, brings that day forward, down to changes of a quarter: chains
    that are changed alike are then not all written whole by the same backup.
    """
    if not sizes or (sum(sizes[1:]) + new) * _WHOLE > sizes[0] * (_WHOLE_BEYOND - spread):
        return None
    count = 0
    for size in reversed(sizes[1:]):
        if size > _SWALLOWED_UP_TO * new:
            break
        new += size
        count += 1
    return count

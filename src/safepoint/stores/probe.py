"""Asks a store whether it keeps its word about conditional put, before a repository relies on it."""

from __future__ import annotations

import contextlib
import secrets

from safepoint import errors
from safepoint.stores.port import NotFound, Store


def require_capabilities(store: Store) -> None:
    """A second put of one name was refused, as the store's capabilities say; ST007 when it was not.

    Puts one small object below `tmp/` and deletes it; where it may not be deleted, it stays and harms nobody. Killed in
    between, it stays too. A store that says it has no conditional put is not asked.
    """
    if not store.capabilities.conditional_put:
        return
    name = f"tmp/probe-{secrets.token_hex(16)}"
    first = store.put_if_absent(name, b"first")
    second = store.put_if_absent(name, b"second")
    with contextlib.suppress(NotFound, errors.SafepointError):
        store.delete(name)
    if not first or second:
        raise errors.ST007.error(
            f"found that {store} lets a second put replace the first, expected it to refuse: writers would overwrite "
            "one another",
            changed="nothing was stored",
            hints=[
                errors.ask("does this server ignore `If-None-Match` on PUT?"),
                errors.run("if only one writer will ever use it, say so: add `conditional_put=no` to its URL"),
            ],
        )

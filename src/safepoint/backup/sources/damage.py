"""What is said of damaged pages: which of them a manifest names, and the server's own word held against ours. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from safepoint import errors
from safepoint.model.backup import DamagedPage

MOST_DAMAGED_PAGES = 10_000
"""So many are named: a manifest has its limit, and a disk that is gone need not be described page by page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """What a manifest says, and sentences for whoever runs the backup."""

    pages: tuple[DamagedPage, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerVerdict:
    """Whether the server found damage while it sent a backup, and the pages of it that it named."""

    is_damaged: bool
    named: frozenset[DamagedPage] = frozenset()


def damage_of(found: Collection[DamagedPage], *warnings: str) -> Damage:
    """These pages, in the order of their paths; with a word of those that are too many to be named."""
    pages = tuple(sorted(found, key=lambda page: (page.path, page.block)))
    if len(pages) > MOST_DAMAGED_PAGES:
        warnings += (f"{len(pages)} pages are damaged, of which the manifest names {MOST_DAMAGED_PAGES}",)
    return Damage(pages=pages[:MOST_DAMAGED_PAGES], warnings=warnings)


def damage_sent(
    found: Collection[DamagedPage] | None, mended: Collection[DamagedPage], verdict: ServerVerdict
) -> Damage:
    """What to say of a backup that a server sent: `found` is what we found, None where we cannot look at its pages.

    Pages that are `mended` by WAL are none, even where the server named them. A server that found damage is never
    passed over: where nobody can name a page the backup is void, BK005.
    """
    pages = set(found or ()) | (verdict.named - set(mended))
    if not verdict.is_damaged or (pages and found is not None):
        return damage_of(pages)
    if pages:
        return damage_of(pages, "the server names five damaged pages of a file at most: there may be more")
    if not mended:
        raise errors.BK005.error(
            "found the server to report damaged pages that neither it nor we can name, expected none",
            changed="no backup was made; older backups are untouched",
            hints=[
                errors.ask("is the disk or the memory of the server failing?"),
                errors.run("look for them: `pg_amcheck --all --heapallindexed`, or `pg_checksums --check` on a copy"),
            ],
        )
    first = min(mended, key=lambda page: (page.path, page.block))
    return damage_of(
        pages,
        f"the server took {len(mended)} pages for damaged (the first: block {first.block} of {first.path}) that it was "
        "just writing: they are sound now, and WAL mends what was sent of them",
    )

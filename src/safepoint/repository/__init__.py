"""The repository's format: sealed blobs in packs, manifests, WAL, records, keys. Knows no PostgreSQL server."""

from __future__ import annotations

from safepoint.repository.opening import create_repository, open_repository
from safepoint.repository.packs.writer import Writer
from safepoint.repository.repository import Repository
from safepoint.repository.sealing.keys import KeyCost

__all__ = ["KeyCost", "Repository", "Writer", "create_repository", "open_repository"]

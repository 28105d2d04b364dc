"""Object stores behind one small port, and the wrappers of that port."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from safepoint import errors
from safepoint.stores.folder import FolderStore
from safepoint.stores.memory import MemoryStore
from safepoint.stores.port import NotFound, Store

__all__ = ["FolderStore", "MemoryStore", "NotFound", "Store", "open_store"]

_FORMS = "expected a path, file:/path or memory:"


def open_store(url: str) -> Store:
    """The store at `url`, touching nothing yet: `/path`, `~/path`, `file:/path`, `file:///path`, `memory:`.

    Raises ST003 for anything else. Percent signs are decoded in `file://` URLs only.
    """
    scheme, colon, rest = url.partition(":")
    if not colon or "/" in scheme:
        return _folder(url, url)
    if scheme == "memory" and not rest:
        return MemoryStore()
    if scheme != "file":
        raise _unusable(url, f"found the scheme {scheme + ':'!r}, {_FORMS}")
    if not rest.startswith("//"):
        return _folder(rest, url)
    parts = urlsplit(url)
    if parts.netloc not in {"", "localhost"}:
        raise _unusable(url, f"found the host {parts.hostname!r} in a file URL, {_FORMS}")
    return _folder(unquote(parts.path), url)


def _folder(path: str, url: str) -> FolderStore:
    if not path.strip() or "\0" in path:
        raise _unusable(url, f"found no path in {url!r}, {_FORMS}")
    return FolderStore(Path(path).expanduser())


def _unusable(url: str, message: str) -> errors.SafepointError:
    hints = [errors.run('name a folder: `[repository.main] url = "file:/srv/safepoint"`')]
    if url.startswith(("s3:", "gs:", "az:")):
        hints.insert(0, errors.ask("is the bucket mounted as a folder? this version stores in folders only"))
    return errors.ST003.error(message, hints=hints)

"""Object stores behind one small port, and the wrappers of that port. `docs/STORES.md` is about their use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from safepoint.stores.folder import FolderStore
from safepoint.stores.memory import MemoryStore
from safepoint.stores.metering import Meter, MeteredStore
from safepoint.stores.port import Capabilities, NotFound, Store
from safepoint.stores.retry import RetryingStore
from safepoint.stores.url import unusable

__all__ = ["Capabilities", "FolderStore", "MemoryStore", "Meter", "NotFound", "Store", "open_store"]

_FORMS = "expected a path, file:/path, memory:, s3://bucket, gs://bucket or az://account/container"


def open_store(url: str, *, meter: Meter | None = None) -> Store:
    """The store at `url`, touching nothing yet; ST003 for anything but these.

    A folder: `/path`, `~/path`, `file:/path`, `file:///path` (percent signs are decoded here only). `memory:`. Behind a
    network, where each request is tried again within bounds: `s3://bucket/prefix`, `gs://bucket/prefix`,
    `az://account/container/prefix`. `meter` counts every request, repeated ones too.
    """
    store = _opened(url)
    metered = store if meter is None else MeteredStore(store, meter)
    return RetryingStore(metered) if _scheme_of(url) in _CLOUD else metered


def _opened(url: str) -> Store:
    scheme = _scheme_of(url)
    if not scheme:
        return _folder(url)
    if scheme in _CLOUD:
        return _CLOUD[scheme](url)
    if url == "memory:":
        return MemoryStore()
    if scheme != "file":
        raise unusable(f"found the scheme {scheme + ':'!r}, {_FORMS}")
    rest = url.partition(":")[2]
    if not rest.startswith("//"):
        return _folder(rest)
    parts = urlsplit(url)
    if parts.netloc not in {"", "localhost"}:
        raise unusable(f"found the host {parts.hostname!r} in a file URL, {_FORMS}")
    return _folder(unquote(parts.path))


def _scheme_of(url: str) -> str:
    scheme, colon, _ = url.partition(":")
    return "" if not colon or "/" in scheme else scheme


def _folder(path: str) -> FolderStore:
    if not path.strip() or "\0" in path:
        raise unusable(f"found no path in {path!r}, {_FORMS}")
    return FolderStore(Path(path).expanduser())


def _s3(url: str) -> Store:
    from safepoint.stores.s3 import open_s3  # noqa: PLC0415 - botocore takes 0.2 s that other stores need not pay

    return open_s3(url)


def _gcs(url: str) -> Store:
    from safepoint.stores.gcs import open_gcs  # noqa: PLC0415 - obstore, as above

    return open_gcs(url)


def _azure(url: str) -> Store:
    from safepoint.stores.azure import open_azure  # noqa: PLC0415 - obstore, as above

    return open_azure(url)


_CLOUD: Mapping[str, Callable[[str], Store]] = {"s3": _s3, "gs": _gcs, "az": _azure}

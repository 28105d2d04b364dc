"""A store in memory: for tests, and for work that nobody needs to keep. Nothing in it survives the process."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from safepoint.stores.port import Capabilities, Data, NotFound, check_name, check_prefix


class MemoryStore:
    """Objects in a dictionary. Durable as long as the process lives."""

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"MemoryStore({len(self._objects)} objects)"

    def __str__(self) -> str:
        return "memory:"

    @property
    def capabilities(self) -> Capabilities:
        """As the port says."""
        return Capabilities()

    def put_if_absent(self, name: str, data: Data, *, durable: bool = True) -> bool:
        """As the port says."""
        del durable
        with self._lock:
            if check_name(name) in self._objects:
                return False
            self._objects[name] = bytes(data)
            return True

    def get(self, name: str) -> bytes:
        """As the port says."""
        try:
            return self._objects[check_name(name)]
        except KeyError:
            raise NotFound(name) from None

    def get_range(self, name: str, offset: int, length: int) -> bytes:
        """As the port says."""
        return self.get(name)[offset : offset + length]

    def list(self, prefix: str) -> Iterator[str]:
        """As the port says."""
        check_prefix(prefix)
        with self._lock:
            names = sorted(name for name in self._objects if name.startswith(prefix))
        yield from names

    def size(self, name: str) -> int:
        """As the port says."""
        return len(self.get(name))

    def delete(self, name: str) -> None:
        """As the port says."""
        with self._lock:
            if self._objects.pop(check_name(name), None) is None:
                raise NotFound(name)

    def barrier(self) -> None:
        """Nothing to do."""

"""Windows: the stretches of packs that a sequence of blobs is read through, so that neighbours share a range read.

When a blob is needed and lies in no window, about 4 MiB from its start are fetched, more from a pack that is read
slowly, as those are that hold what changed on one of many days. Windows are kept until they take more than 160 MiB and
others were used later; first to go are those that were read to their ends: thirty sequences interleaved, each through
packs of its own, cost about as many requests as one after the other. What is fetched depends on the sequence alone,
never on timing.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass

from safepoint.model.backup import BlobRef

WINDOW_BYTES = 4 * 1024 * 1024
MOST_BYTES = 160 * 1024 * 1024
_PEEKED = 1024
_SLOWLY = 8  # so many windows are opened elsewhere while one of a pack is read


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """Bytes [start, end) of a pack, fetched or being fetched."""

    pack: bytes
    start: int
    end: int
    number: int
    data: Future[bytes]

    def holds(self, ref: BlobRef) -> bool:
        """The whole blob lies in it."""
        return self.start <= ref.offset and ref.offset + ref.length <= self.end

    def cut(self, ref: BlobRef) -> memoryview:
        """The stored bytes of the blob, fewer where the pack ends before; waits, and raises what fetching raised."""
        return memoryview(self.data.result())[ref.offset - self.start :][: ref.length]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A blob to be read; `room` is asked, in any thread, for where it is to be, as long as its raw data."""

    ref: BlobRef
    room: Callable[[], memoryview] | None = None


class Upcoming:
    """The blobs to be read, in order, and a look at those that come next."""

    def __init__(self, blobs: Iterable[Wanted]) -> None:
        self._rest = iter(blobs)
        self._next: deque[Wanted] = deque()
        self._is_exhausted = False

    def __iter__(self) -> Iterator[Wanted]:
        return self

    def __next__(self) -> Wanted:
        while not self._is_exhausted and len(self._next) <= _PEEKED:
            wanted = next(self._rest, None)
            if wanted is None:
                self._is_exhausted = True
            else:
                self._next.append(wanted)
        if not self._next:
            raise StopIteration
        return self._next.popleft()

    def end_of_window(self, ref: BlobRef, limit: int) -> int:
        """Where a window that starts with `ref`, the one given last, may end: no later than anybody will read."""
        end = ref.offset + ref.length
        if not self._is_exhausted:
            return max(end, limit)
        others = (wanted.ref for wanted in self._next)
        ends = (other.offset + other.length for other in others if other.pack == ref.pack)
        return max((found for found in ends if end < found <= limit), default=end)


class Windows:
    """The windows of one sequence; `fetch(pack, start, length)` begins to read. One thread at a time."""

    def __init__(self, fetch: Callable[[bytes, int, int], Future[bytes]], *, most_bytes: int = MOST_BYTES) -> None:
        self._fetch = fetch
        self._most_bytes = most_bytes
        self._bytes = 0
        self._opened = 0
        self._by_use: OrderedDict[Window, int] = OrderedDict()  # with what each takes
        self._by_pack: dict[bytes, list[Window]] = {}

    def find(self, ref: BlobRef) -> Window | None:
        """The window that holds the blob."""
        for window in reversed(self._by_pack.get(ref.pack, ())):
            if window.holds(ref):
                self._by_use.move_to_end(window)
                return window
        return None

    def end_for(self, ref: BlobRef) -> int:
        """Where a window that starts with the blob ends when nothing is known of what follows."""
        before, length = self.before(ref), WINDOW_BYTES
        if before is not None and self._opened - before.number > _SLOWLY:
            large = {window.pack for window, size in self._by_use.items() if size >= WINDOW_BYTES}
            length = min(max(length, self._most_bytes // len(large | {ref.pack})), 2 * WINDOW_BYTES)
        return ref.offset + max(ref.length, length)

    def before(self, ref: BlobRef) -> Window | None:
        """The window that ends within the blob or where it begins: reading in order is through with it."""
        end = ref.offset + ref.length
        return next((it for it in self._by_pack.get(ref.pack, ()) if it.start < ref.offset <= it.end < end), None)

    def open(self, ref: BlobRef, end: int, *, start: int | None = None) -> Window:
        """A new window from `start`, or else the blob, to `end`; others may be dropped."""
        start = ref.offset if start is None else start
        before = self.before(ref)
        if before is not None:
            self._by_use.move_to_end(before, last=False)
        self._opened += 1
        window = Window(ref.pack, start, end, self._opened, self._fetch(ref.pack, start, end - start))
        self._by_use[window] = end - start
        self._by_pack.setdefault(ref.pack, []).append(window)
        self._bytes += end - start
        while self._bytes > self._most_bytes and len(self._by_use) > 1:
            self._drop_one()
        return window

    def settle(self, window: Window) -> None:
        """A window takes no more than what the pack had of it; waits until it was fetched."""
        if window in self._by_use:
            size = 0 if window.data.exception() else len(window.data.result())
            self._bytes -= self._by_use[window] - size
            self._by_use[window] = size

    def _drop_one(self) -> None:
        """The one used longest ago, but none that takes less than half the average: that would give little room."""
        least = self._bytes / len(self._by_use) / 2
        window = next(window for window, size in self._by_use.items() if size >= least)
        self._bytes -= self._by_use.pop(window)
        others = self._by_pack[window.pack]
        others.remove(window)
        if not others:
            del self._by_pack[window.pack]

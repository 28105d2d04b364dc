"""The files of one cluster on their way into all required repositories: the same for the pusher and for inline work.

Invariant: `acknowledge` returns only for a file that every required repository holds now, with these very bytes.
What was pushed ahead saves the upload, never the question.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from safepoint import errors
from safepoint.backup.archive.data_directory import DataDirectory
from safepoint.backup.archive.wal_file import (
    KEPT,
    Content,
    FileKind,
    Origin,
    kind_of_file,
    require_pages,
    require_timeline,
    segment_of,
    timeline_of_file,
)
from safepoint.model.coverage import Mark
from safepoint.model.history import Ancestor, parse_history
from safepoint.model.lsn import Lsn, TimelineId, WalSegment
from safepoint.repository import Repository

_FORK_SECONDS = 30.0
"""How long it is remembered that no later timeline is known: one that appears is noticed after that."""


class Marks(Protocol):
    """What is known of the server's clock. Asked from several threads."""

    def up_to(self, end: Lsn) -> Mark | None:
        """The newest mark of a position up to `end`."""
        ...


class NoMarks:
    """Nobody asks the server: work inline, and tests."""

    def up_to(self, end: Lsn) -> Mark | None:
        """None."""
        _ = end
        return None


@dataclass(slots=True, kw_only=True)
class WalArchive:
    """The WAL of the cluster in `data` goes into every one of `repositories`. May be used from several threads.

    With each segment the newest of `marks` is stored that it reaches.
    """

    data: DataDirectory
    origin: Origin
    repositories: Sequence[Repository]
    marks: Marks = field(default_factory=NoMarks)
    _left: dict[tuple[str, TimelineId], tuple[float, tuple[TimelineId, Lsn] | None]] = field(
        default_factory=dict[tuple[str, TimelineId], tuple[float, tuple[TimelineId, Lsn] | None]]
    )

    def push(self, name: str, content: Content) -> None:
        """The file is durable in every required repository; of a backup label nothing is kept.

        WL001, WL006, WL007, WL008 and RP007 refuse it; WL009, ST001, ST002 may pass by themselves.
        """
        self._take(name, content, self._put_segment)

    def acknowledge(self, name: str, content: Content) -> None:
        """As `push`, for a file that may have been pushed before: then each repository is asked for it, now."""
        self._take(name, content, self._hold_segment)

    def _take(
        self, name: str, content: Content, take: Callable[[WalSegment, Content, bytes, Repository], None]
    ) -> None:
        self._require_own()
        match kind_of_file(name):
            case FileKind.LABEL:
                return
            case FileKind.HISTORY:
                history = bytes(content)
                _ = _parsed(name, history)
                self._everywhere(partial(self._hold_history, timeline_of_file(name), history))
            case FileKind.PARTIAL:
                self._put_partial(name, content)
            case FileKind.SEGMENT:
                self._everywhere(partial(take, *self._checked_segment(name, content)))

    def _require_own(self) -> None:
        """Still the cluster that it was at the beginning, and no copy."""
        found = self.data.origin()
        if found != self.origin:
            raise errors.WL001.error(
                f"found cluster {found.cluster} of PostgreSQL {found.major} in {self.data.path}, "
                f"expected {self.origin.cluster} of PostgreSQL {self.origin.major}",
                changed=KEPT,
                hints=[
                    errors.ask("was the directory restored, upgraded or made anew meanwhile?"),
                    errors.run("start the pusher again: `safepoint wal archive`"),
                ],
            )
        self.data.require_no_copy()

    def _checked_segment(self, name: str, content: Content) -> tuple[WalSegment, Content, bytes]:
        segment = segment_of(name, content, self.origin)
        history = self._history_of(segment.timeline)
        require_timeline(segment, content, _parsed(segment.timeline.history_name, history))
        require_pages(segment, content)
        return segment, content, history

    def _history_of(self, timeline: TimelineId) -> bytes:
        """From pg_wal, else from the repositories; WL009."""
        content = self.data.read_history(timeline)
        for repository in self.repositories if content is None else ():
            content = repository.read_history(self.origin.cluster, timeline)
            if content is not None:
                break
        if content is None:
            raise errors.WL009.error(
                f"found no {timeline.history_name} in {self.data.wal} or in a repository, expected it before WAL of "
                f"timeline {timeline}",
                changed=KEPT,
                hints=[errors.ask("was it removed from pg_wal by hand? another server of the cluster may have it")],
            )
        return content

    def _put_segment(self, segment: WalSegment, content: Content, history: bytes, repository: Repository) -> None:
        cluster = self.origin.cluster
        self._require_not_left(segment, repository)
        if history:
            self._hold_history(segment.timeline, history, repository)
        mark = self.marks.up_to(segment.end)
        repository.put_wal_segment(cluster, segment, content, history=history, mark=mark)

    def _hold_segment(self, segment: WalSegment, content: Content, history: bytes, repository: Repository) -> None:
        if not repository.holds_wal_segment(self.origin.cluster, segment, content, history=history):
            self._put_segment(segment, content, history, repository)
        elif history:
            self._hold_history(segment.timeline, history, repository)

    def _hold_history(self, timeline: TimelineId, content: bytes, repository: Repository) -> None:
        if not repository.holds_history(self.origin.cluster, timeline, content):
            repository.put_history(self.origin.cluster, timeline, content)

    def _require_not_left(self, segment: WalSegment, repository: Repository) -> None:
        """WL008 for WAL behind the point where a timeline that is followed left this one: no history leads there."""
        left = self._left_at(segment.timeline, repository)
        if left is not None and segment.end > left[1]:
            later, switch = left
            raise errors.WL008.error(
                f"found segment {segment.name}, which goes up to {segment.end}, expected timeline {segment.timeline} "
                f"of cluster {self.origin.cluster} to end at {switch}, where timeline {later} left it",
                changed=KEPT,
                hints=[
                    errors.ask("is this an old primary that went on after another server was promoted?"),
                    errors.run(
                        "rebuild it as a standby of the new primary: pg_rewind, or `safepoint restore --standby`"
                    ),
                    errors.run(
                        "if this one is to be production: promote it, then "
                        f"`safepoint wal adopt DATABASE --data {self.data.path}`"
                    ),
                ],
            )

    def _left_at(self, timeline: TimelineId, repository: Repository) -> tuple[TimelineId, Lsn] | None:
        key, now = (repository.id, timeline), time.monotonic()
        until, known = self._left.get(key, (0.0, None))
        if known is None and now >= until:
            known = repository.wal_switch_from(self.origin.cluster, timeline)
            self._left[key] = (now + _FORK_SECONDS, known)
        return known

    def _put_partial(self, name: str, content: Content) -> None:
        """What the old timeline has of the segment, up to the switch, is stored as a range of it."""
        segment = segment_of(name, content, self.origin)
        history = self._history_of(segment.timeline)
        require_timeline(segment, content, _parsed(segment.timeline.history_name, history))
        switch = self.data.switch_within(segment)
        if switch is None:
            raise errors.WL009.error(
                f"found {name} and no history in {self.data.wal} that leaves timeline {segment.timeline} between "
                f"{segment.start} and {segment.end}, expected that of the promotion",
                changed=KEPT,
                hints=[errors.ask("was a history file removed from pg_wal by hand?")],
            )
        data = bytes(content[: switch - segment.start])
        self._everywhere(partial(self._hold_range, segment, data, history))

    def _hold_range(self, segment: WalSegment, data: bytes, history: bytes, repository: Repository) -> None:
        """Each of these bytes is held. Those held before are compared: RP007 when they are others."""
        cluster, start, end = self.origin.cluster, segment.start, segment.start + len(data)
        is_whole = False
        for piece in repository.wal_pieces(cluster):
            if piece.timeline != segment.timeline or piece.end <= start or piece.start >= end:
                continue
            first, last = max(piece.start, start), min(piece.end, end)
            held = repository.read_wal(piece)[first - piece.start : last - piece.start]
            if held != data[first - start : last - start]:
                raise errors.RP007.error(
                    f"found other WAL in {piece.name} than in {segment.name}.partial from {first} up to {last}, "
                    "expected the same bytes",
                    changed=KEPT,
                    hints=[errors.ask("was the server promoted from a copy that had gone its own way before?")],
                )
            is_whole = is_whole or (first, last) == (start, end)
        if not is_whole:
            repository.put_wal_range(cluster, segment.timeline, start, data, history=history, mark=None)

    def _everywhere(self, work: Callable[[Repository], None]) -> None:
        """Done in every required repository, or an error of one of them."""
        if len(self.repositories) == 1:
            work(self.repositories[0])
            return
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - an inline push into one needs none

        with ThreadPoolExecutor(len(self.repositories)) as pool:
            for _ in pool.map(work, self.repositories):
                pass


def _parsed(name: str, content: bytes) -> tuple[Ancestor, ...]:
    """Its ancestors; WL007 when the file is no history of the timeline in its name."""
    try:
        ancestors = parse_history(content)
    except ValueError as error:
        raise _no_history(name, str(error).removeprefix("found ")) from None
    timeline = timeline_of_file(name)
    if timeline.has_history != bool(ancestors) or any(each.timeline >= timeline for each in ancestors):
        raise _no_history(name, f"{len(ancestors)} ancestors up to {ancestors[-1].timeline if ancestors else 'none'}")
    return ancestors


def _no_history(name: str, found: str) -> errors.SafepointError:
    return errors.WL007.error(
        f"found {found} in {name}, expected the history of timeline {timeline_of_file(name)}",
        changed=KEPT,
        hints=[errors.ask("was the file changed or cut short?")],
    )

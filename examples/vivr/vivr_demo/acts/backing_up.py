"""Act two: a base backup under traffic, read back, with WAL flowing."""

from __future__ import annotations

from safepoint.model.measures import format_bytes
from vivr_demo.story import Story


def back_up(story: Story) -> None:
    """A verified backup exists and WAL streams."""
    story.start_receiver()
    taken = story.terminal.safepoint("backup", "vivr", "--tier", "daily")
    size = f"{format_bytes(taken['raw_bytes'])} stored in {format_bytes(taken['added_bytes'])}"
    story.happened(f"backup {taken['backup']}: {size}")
    story.facts.append(("backup", size))
    verified = story.terminal.safepoint("verify", "vivr")
    story.happened(f"every byte of {verified['backup']} was read back: {verified['proof']}")

"""Act five: the server is killed and its data directory is gone; the receiver still has what it received."""

from __future__ import annotations

import time

from vivr_demo.story import Story

_BUSY_SECONDS = 3.0


def lose_the_directory(story: Story) -> None:
    """The shop serves again from the last byte of WAL that the repository holds."""
    time.sleep(_BUSY_SECONDS)
    outage = story.destroy_server()
    story.happened(f"the server was killed and {story.data.name} removed", outage.failed_at)
    story.stop_receiver()
    place = story.stage.servers / "after-the-loss"
    restored = story.terminal.safepoint("restore", "vivr", "--to", "latest", "--into", str(place))
    story.recover(
        "database-unavailable",
        outage,
        by="restore of everything that the repository holds",
        restored=restored,
        proofs=[],
    )

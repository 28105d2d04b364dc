"""Act six: server, receiver, strategy file and project are gone at one stroke; the repository's URL and key remain."""

from __future__ import annotations

import shutil
import time

from vivr_demo.story import Story

_BUSY_SECONDS = 3.0


def lose_everything(story: Story) -> None:
    """The shop serves again from a new host that was told the repository's URL and key, nothing else."""
    story.adopt_copy()
    story.start_receiver()
    story.terminal.safepoint("backup", "vivr", "--tier", "daily")
    time.sleep(_BUSY_SECONDS)
    story.kill_receiver()
    outage = story.destroy_server()
    shutil.rmtree(story.stage.project)
    shutil.rmtree(story.stage.servers)
    story.happened("servers, receiver, strategy file and project are gone", outage.failed_at)
    new_host = story.stage.root / "new-host"
    new_host.mkdir(mode=0o755)
    story.terminal.enter(new_host)
    story.terminal.forget("DATABASE_URL")
    repository = f"file:{story.stage.repository}"
    restored = story.terminal.safepoint(
        "restore", "--repository", repository, "--to", "latest", "--into", str(new_host / "data")
    )
    story.recover(
        "complete-loss",
        outage,
        by="restore on a new host from the repository's URL and key alone",
        restored=restored,
        proofs=[],
    )

"""Act three: a release under traffic. The second migration needs a lock that a long report holds back.

Run plainly, its ALTER TABLE would wait behind the report with every shopper queueing behind it, and its CREATE INDEX
CONCURRENTLY would fail in Prisma's transaction.
"""

from __future__ import annotations

import shutil
import threading
import time
from datetime import UTC, datetime
from typing import LiteralString

import psycopg

from vivr_demo.story import VIVR, Story

_RELEASE = VIVR / "next_release"
_REPORT: LiteralString = 'SELECT count(*), sum("total"), (SELECT pg_sleep(%s)) FROM "Order"'
_REPORT_SECONDS = 6.0
_SHOPPERS_OLD, _SHOPPERS_NEW = 2, 2


def migrate(story: Story) -> None:
    """Both migrations are deployed, both versions of the application shop, and the worst wait is known."""
    harmless, dangerous = sorted(folder.name for folder in _RELEASE.iterdir() if folder.is_dir())
    _deploy(story, harmless)
    report = _start_report(story)
    began = datetime.now(UTC)
    _deploy(story, dangerous)
    ended = datetime.now(UTC)
    report.join()
    # A shopper's wait that spans the end is in the log only when it is over.
    time.sleep(0.5)
    stall = story.shop.log().longest_stall((began, ended))
    if stall is None:
        raise ValueError("found no shopper's request during the deployment, expected traffic")
    told = f"{stall.seconds:.1f} s, while a {_REPORT_SECONDS:.0f} s report held the lock back"
    story.facts.append(("longest wait of a shopper during the dangerous migration", told))
    story.happened(f"no shopper waited longer than {told}")
    story.shop.let_in(old=_SHOPPERS_OLD, new=_SHOPPERS_NEW)
    story.shop.wait_for(
        "order of the new version",
        lambda log: next((commit for commit in log.commits if commit.version == "new"), None),
        seconds=20,
    )
    story.happened("old and new version shop at once")


def _deploy(story: Story, name: str) -> None:
    shutil.copytree(_RELEASE / name, story.stage.project / "prisma" / "migrations" / name)
    done = story.terminal.safepoint("migrate", "deploy")
    story.happened(f"deployed {', '.join(done['applied'])}")


def _start_report(story: Story) -> threading.Thread:
    """A report that holds its lock on "Order" for seconds, in a session of its own; it has the lock on return."""
    connection = psycopg.connect(story.url.conninfo())
    connection.execute('LOCK TABLE "Order" IN ACCESS SHARE MODE')

    def report() -> None:
        with connection:
            connection.execute(_REPORT, [_REPORT_SECONDS])

    thread = threading.Thread(target=report)
    thread.start()
    story.happened("a long report reads the orders")
    return thread

"""What `status` says of pages that were damaged in the server when a backup was taken."""

from __future__ import annotations

from dataclasses import replace

from test_monitoring import ALL_WELL, backup

from safepoint.monitoring.checks.pages import judge
from safepoint.monitoring.finding import State

HURT = replace(backup("hurt", hours=1), damaged_pages=2, first_damage="block 7 of base/5/16384")


def test_a_newest_backup_with_damaged_pages_is_bad_news() -> None:
    """The first page is named, and the last backup that met none."""
    (finding,) = judge(replace(ALL_WELL, backups=(backup("sound", hours=9), HURT)))

    assert finding.state is State.BAD
    assert "2 pages" in finding.fact
    assert "block 7 of base/5/16384" in finding.fact
    assert "sound" in finding.cure


def test_where_every_backup_has_them_that_is_said() -> None:
    """There is none to go back to."""
    (finding,) = judge(replace(ALL_WELL, backups=(HURT,)))
    assert "no backup is known without them" in finding.cure


def test_nothing_is_said_of_damage_that_is_gone_or_never_was() -> None:
    """A newer backup met none: the pages were mended."""
    assert judge(ALL_WELL) == ()
    assert judge(replace(ALL_WELL, backups=())) == ()
    assert judge(replace(ALL_WELL, backups=(HURT, backup("mended", hours=0)))) == ()

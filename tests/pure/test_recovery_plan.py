"""What the plan of a restore warns of before anything is touched."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_recovery_targets import BACKUPS, COVERAGE

from safepoint.recovery.choice import choose
from safepoint.recovery.options import RestoreOptions
from safepoint.recovery.plan import plan_restore
from safepoint.recovery.targets import parse_target


@pytest.mark.parametrize(
    ("has_cluster", "is_delta", "warned"), [(True, True, True), (False, True, False), (True, False, False)]
)
def test_a_delta_warns_that_the_cluster_there_is_given_up(
    tmp_path: Path, has_cluster: bool, is_delta: bool, warned: bool
) -> None:
    """From the moment it begins; into an empty directory nothing is lost."""
    if has_cluster:
        (tmp_path / "PG_VERSION").write_text("18\n")

    plan = plan_restore(
        choose(parse_target("latest"), COVERAGE, BACKUPS),
        BACKUPS[-1],
        into=tmp_path,
        options=RestoreOptions(is_delta=is_delta),
    )

    assert any(f"{tmp_path} is given up" in warning for warning in plan.warnings) == warned


@pytest.mark.parametrize(
    ("target", "is_exclusive", "lost"),
    [
        ("latest", False, "commits whose WAL the repository does not hold"),
        ("immediate", False, "commits after the end of the backup"),
        ("xid:800", False, "commits after transaction 800"),
        ("xid:800", True, "commits at or after transaction 800"),
    ],
)
def test_a_plan_says_which_commits_will_not_be_there(target: str, is_exclusive: bool, lost: str) -> None:
    """In words that read as a sentence, also for what is left out itself."""
    pinned = choose(parse_target(target, is_exclusive=is_exclusive), COVERAGE, BACKUPS)

    facts = dict(plan_restore(pinned, BACKUPS[-1], into=Path("copy")).facts)

    assert facts["not there"].startswith(f"{lost};")
    assert facts["ends at"].startswith("just before") == is_exclusive

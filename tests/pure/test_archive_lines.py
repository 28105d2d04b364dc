"""What `safepoint wal archive` says before it listens."""

from __future__ import annotations

from pathlib import Path

import pytest

from safepoint.workflows.archive import archive_lines
from safepoint.workflows.project import load_project


@pytest.mark.parametrize(("line", "said"), [('canary = "5s"', True), ("", False)])
def test_a_canary_that_archiving_does_not_write_is_named(tmp_path: Path, line: str, *, said: bool) -> None:
    """Rows come from `wal stream` alone; where none is wanted nothing is said."""
    config = tmp_path / "safepoint.toml"
    config.write_text(
        '[database.shop]\nurl = "postgresql:///shop"\n'
        f'[repository.main]\nurl = "file:{tmp_path}/repository"\nkey = "none"\n[wal.shop]\nkeep = "35d"\n{line}\n'
    )

    lines = archive_lines(load_project(config), "shop")

    assert ["`safepoint wal stream`" in line and "[wal.shop]" in line for line in lines] == [True] * said

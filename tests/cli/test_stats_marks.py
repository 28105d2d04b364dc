"""`stats` of a repository that lacks something: each figure that suffers says so where it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from kept import Kept, make_kept


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    kept = make_kept(tmp_path)
    kept.back_up("one")
    return kept


def test_figures_beside_a_lost_pack_are_lower_bounds(kept: Kept) -> None:
    """In the facts and in the tables; what cannot be told is unknown, and programs read it, too."""
    whole = kept.run("stats", "--json").json
    (pack,) = [name for name in kept.objects("packs/") if kept.store().size(name) > 10_000]
    (kept.folder() / pack).unlink()

    shown = kept.run("stats", ends=3).out
    found = kept.run("stats", "--json", ends=3).json
    lines = {line.split("  ")[0]: line for line in shown.splitlines()}

    assert (whole["is_exact"], found["is_exact"]) == (True, False)
    assert "at least 0 B of distinct data, deduplicated an unknown number of times" in lines["unique"]
    assert "at least" in lines["stored"]
    assert lines["database shop"].count("at least") == 5
    assert lines["database shop"].endswith("unknown")


def test_figures_of_a_whole_repository_have_no_marks(kept: Kept) -> None:
    """Nor has an empty one figures of what is not there."""
    assert "at least" not in kept.run("stats").out
    assert "unknown" not in kept.run("stats").out
    kept.run("init", "open")
    assert "deduplicated" not in kept.run("stats", "open").out


def test_one_is_one(kept: Kept) -> None:
    """No `1 packs`: what is counted has its singular."""
    kept.run("verify")
    said = "".join(kept.run(*verb.split()).out for verb in ("check", "gc", "stats", "repack", "key list"))

    for plural in ("packs", "indexes", "backups", "objects", "blobs", "slots", "entries"):
        assert f" 1 {plural}" not in said

"""What is remembered of a strategy is what was judged, or nothing: never another text's, another user's, or code."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from safepoint import errors
from safepoint.strategy import load_strategy, parse_strategy
from safepoint.strategy.memory import recall, remember
from strategy_samples import GOLDEN, WITH_REPOSITORY

_PATH = Path("/srv/safepoint.toml")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where it is remembered; made when it is needed."""
    return tmp_path / "cache/strategies"


def test_a_whole_strategy_is_recalled_as_it_was_judged(folder: Path) -> None:
    """Every value of the largest example, equal."""
    text = (GOLDEN.parents[2] / "examples/vivr/safepoint.toml").read_text()
    judged = parse_strategy(text, _PATH)
    remember(folder, text, judged)

    assert recall(folder, text, _PATH) == judged
    assert recall(folder, f"{text}\n", _PATH) is None
    assert recall(folder, text, Path("/other/safepoint.toml")) is None


def test_a_file_is_judged_once_for_each_text(tmp_path: Path, folder: Path) -> None:
    """The second load gives the same; a mistake is found in a text that is new, and nothing is remembered of it."""
    file = tmp_path / "safepoint.toml"
    file.write_text(WITH_REPOSITORY)
    first = load_strategy(file, memory=folder)
    (kept,) = folder.iterdir()

    assert load_strategy(file, memory=folder) == first == load_strategy(file)
    assert kept.stat().st_mode & 0o777 == 0o600
    file.write_text(WITH_REPOSITORY.replace("url", "urll"))
    with pytest.raises(errors.Misconfigured, match="CF001"):
        load_strategy(file, memory=folder)
    assert [*folder.iterdir()] == [kept]


class _Code:
    """Makes a pickle that would run a command."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch was-run",)


@pytest.mark.parametrize("damage", [b"", b"\x80\x05garbage", pickle.dumps(_Code()), pickle.dumps("a text")])
def test_what_is_no_strategy_is_passed_over(folder: Path, damage: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut short, damaged, something else, or code, which is not run."""
    remember(folder, WITH_REPOSITORY, parse_strategy(WITH_REPOSITORY, _PATH))
    (kept,) = folder.iterdir()
    kept.write_bytes(damage)
    monkeypatch.chdir(folder)

    assert recall(folder, WITH_REPOSITORY, _PATH) is None
    assert [*folder.iterdir()] == [kept]


def test_a_file_that_others_may_write_is_not_believed(folder: Path) -> None:
    """Whoever could write it could name another repository."""
    remember(folder, WITH_REPOSITORY, parse_strategy(WITH_REPOSITORY, _PATH))
    (kept,) = folder.iterdir()
    kept.chmod(0o620)

    assert recall(folder, WITH_REPOSITORY, _PATH) is None


def test_where_nothing_can_be_kept_the_strategy_is_judged_each_time(tmp_path: Path) -> None:
    """A folder that is a file."""
    (tmp_path / "cache").write_text("a file")
    file = tmp_path / "safepoint.toml"
    file.write_text(WITH_REPOSITORY)

    loaded = [load_strategy(file, memory=tmp_path / "cache/strategies") for _ in range(2)]

    assert loaded[0] == loaded[1]

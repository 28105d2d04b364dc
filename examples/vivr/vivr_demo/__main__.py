"""`make demo`: plays the acts, then says what was promised and what was measured.

Killed at any moment, the next run finds what is left by the stage's folder and starts afresh.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import NoReturn

from safepoint.evidence.report import report_to_html, report_to_json, scenario_rows
from safepoint.postgres.url import DatabaseUrl
from safepoint.repository.sealing.key_changes import generate_key
from vivr_demo.acts import ACTS
from vivr_demo.closing import report_of
from vivr_demo.stage import MARKER, Stage, clear_stage, kill_below
from vivr_demo.story import Story
from vivr_demo.terminal import Terminal

CHECKOUT = Path(__file__).parents[3]
_COLUMNS = ("scenario", "RTO", "target", "RPO", "target", "commits lost", "verdict")


def main() -> int:
    """0 when every promise was kept, 1 when one was broken or something went wrong."""
    options = _parser().parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    stage = Stage(root=options.directory.absolute())
    try:
        with _alone_on(stage):
            return _play(stage, orders=options.orders, keep=options.keep)
    except KeyboardInterrupt:
        print("interrupted: servers stopped, files removed", file=sys.stderr)
        return 130
    except Exception as error:  # noqa: BLE001 - whatever goes wrong, the demo fails and says why
        print(f"\nthe demo failed: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vivr_demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave server and shoppers running, to look around")
    parser.add_argument("--orders", type=int, default=100_000, help="how many orders the shop begins with")
    parser.add_argument("--directory", type=Path, default=CHECKOUT / "demo", help="where everything happens")
    return parser


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


@contextmanager
def _alone_on(stage: Stage) -> Generator[None]:
    """No other demo plays here meanwhile. An interrupted one leaves neither processes nor files, a failed one files."""
    lock = stage.root.with_name(f"{stage.root.name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RuntimeError(f"found another demo playing in {stage.root}, expected to be alone") from error
        clear_stage(stage.root)
        try:
            yield
        except KeyboardInterrupt:
            clear_stage(stage.root)
            raise
        except Exception:
            kill_below(stage.root)
            print(f"\nwhat it wrote is in {stage.root} until the next run", file=sys.stderr)
            raise


def _play(stage: Stage, *, orders: int, keep: bool) -> int:
    began = time.monotonic()
    story = _open(stage, orders)
    for number, (title, act) in enumerate(ACTS, start=1):
        print(f"\n{number}. {title}", flush=True)
        act(story)
    log = story.shop.log() if keep else story.shop.close()
    report = report_of(story, log)
    stage.report.write_text(report_to_html(report))
    (stage.root / "report.json").write_text(json.dumps(report_to_json(report), indent=2))
    _print_table(scenario_rows(report.scenarios))
    print(
        "\nData corruption gives up what was written after the mistake, on purpose: the shop goes back to the instant "
        "before it.\nEvery figure is measured: from the shoppers' log of acknowledged commits, each looked for by key."
    )
    print(f"\n{time.monotonic() - began:.0f} s in all. The report, with the timeline: {stage.report}")
    if keep:
        _say_how_to_look_around(story)
    else:
        kill_below(stage.root)
    is_kept = all(judged.verdict.value == "kept" for judged in report.scenarios)
    return 0 if is_kept and len(report.scenarios) == len(story.contracts) else 1


def _open(stage: Stage, orders: int) -> Story:
    for folder in (stage.project, stage.servers):
        folder.mkdir(mode=0o755)
    os.chdir(stage.root)
    environment = {
        "SAFEPOINT_KEY": generate_key().reveal(),
        "SAFEPOINT_STATE": str(stage.root / "state"),
        "PYTHONUNBUFFERED": "1",
    }
    key = stage.root / "key"
    key.touch(mode=0o600)
    key.write_text(environment["SAFEPOINT_KEY"])
    terminal = Terminal(stage.project, stage.root / "transcript.log", environment)
    return Story(
        stage=stage,
        terminal=terminal,
        orders=orders,
        url=DatabaseUrl.parse("postgresql:///vivr"),
        data=stage.servers / "primary",
        began_at=datetime.now(UTC),
    )


def _print_table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(len(row[index]) for row in (_COLUMNS, *rows)) for index in range(len(_COLUMNS))]
    print()
    for row in (_COLUMNS, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _say_how_to_look_around(story: Story) -> None:
    print(f"""
The shop goes on. To look around:
  export SAFEPOINT_KEY=$(cat {story.stage.root / "key"})
  psql '{story.url.reveal()}'
  {Path(sys.executable).parent / "safepoint"} restore --repository file:{story.stage.repository} --to latest --dry-run
The next `make demo` ends it and starts afresh; `rm -r {story.stage.root}` removes it. ({MARKER} marks the folder.)""")


if __name__ == "__main__":
    sys.exit(main())

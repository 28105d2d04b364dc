"""docs/PERFORMANCE.md, written from one run."""

from __future__ import annotations

from collections.abc import Iterator

from bench.results import Result, Run

_INTRO = """\
# Performance

Written by `python -m bench --write docs/PERFORMANCE.md`; do not edit. `make bench` measures again and prints the same
table. Ours and the other tools' work take turns in one run, on the same files and cores, with the files in the page
cache and nothing left to write back. Of a repository by itself the work is measured, without the interpreter's start
and the opening; beside pgBackRest, pg_basebackup and PostgreSQL's archiver whole commands are. Figures are medians of
the rounds. They are of one machine and one kind of data: trust the ratios more than the seconds, and your own run more
than this one.
"""
_NEVER_MEASURED = """\
## Not measured here

- Stores over a network: everything here is a folder on a local disk.
- Cold disks: what is read lies in the page cache, as said above.
- More than two cores at work, unless the machine below had more.
"""


def page_of(run: Run) -> str:
    """The page."""
    return "\n".join(_lines(run))


def table_of(results: tuple[Result, ...]) -> list[str]:
    """The rows as a Markdown table."""
    head = ["| What | Figure | Compared with | Ratio | Target | Met |", "|---|---|---|---|---|---|"]
    return [*head, *(_row(result) for result in results)]


def figure_of(result: Result) -> str:
    """The figure with its unit: three digits that count, thousands apart."""
    if result.value is None:
        return "unknown"
    size = abs(result.value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2  # noqa: PLR2004 - three digits
    figure = f"{result.value:.2g}" if 0 < size < 0.1 else f"{result.value:,.{digits}f}"  # noqa: PLR2004 - the same
    return f"{figure} {result.unit}".strip()


def verdict_of(result: Result) -> str:
    """Met, missed, unknown, or nothing where there is no target."""
    if not result.target:
        return ""
    return {True: "met", False: "**missed**", None: "unknown"}[result.is_met]


def _lines(run: Run) -> Iterator[str]:
    yield _INTRO
    yield "## The run\n"
    yield "| | |"
    yield "|---|---|"
    yield from (f"| {name} | {value} |" for name, value in run.facts.items())
    yield "\n## The table\n"
    yield from table_of(run.results)
    yield "\n## Notes\n"
    yield from (f"- **{result.title}**: {result.note}" for result in run.results if result.note)
    yield ""
    yield _NEVER_MEASURED


def _row(result: Result) -> str:
    ratio = "" if result.ratio is None else f"{result.ratio:.2f} ×"
    cells = (result.title, figure_of(result), result.baseline, ratio, result.target, verdict_of(result))
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

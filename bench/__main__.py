"""`python -m bench`: measures, and prints the table; JSON and the page on demand."""

from __future__ import annotations

import argparse
import compileall
import os
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import safepoint
from bench.commands import MissingTool
from bench.machine import machine_facts
from bench.page import figure_of, page_of, verdict_of
from bench.peers import pgbackrest
from bench.results import Result, Run, unmeasured
from bench.rows import ROWS
from bench.workbench import Workbench
from safepoint.model.measures import format_bytes

_ROUNDS = 5
_SCRATCH = "SAFEPOINT_BENCH_SCRATCH"


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when everything was measured and every target met, 3 when not, 2 for wrong usage."""
    options = _parser().parse_args(arguments)
    if options.rounds < 1 or options.rounds % 2 == 0:
        sys.stderr.write(f"error: found --rounds {options.rounds}, expected an odd number: a median is one of them\n")
        return 2
    run = Run.from_json(options.render.read_text()) if options.render else _measure(options)
    if options.json:
        options.json.write_text(run.to_json())
    if options.write:
        options.write.write_text(page_of(run))
    _print(run.results)
    return 0 if all(result.is_met for result in run.results if result.target) else 3


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Speed and size of a repository.")
    parser.add_argument("--only", nargs="+", choices=list(ROWS), metavar="NAME", help=" ".join(ROWS))
    parser.add_argument("--rounds", type=int, default=_ROUNDS, help="an odd number of them; medians are told (5)")
    parser.add_argument("--scratch", type=Path, help=f"where data is kept for the next run (${_SCRATCH}, or temporary)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the run there")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page there (docs/PERFORMANCE.md)")
    parser.add_argument("--render", type=Path, metavar="FILE", help="measure nothing: take the run that --json wrote")
    return parser


def _measure(options: argparse.Namespace) -> Run:
    kept = options.scratch or os.environ.get(_SCRATCH)
    if kept:
        return _measure_in(Path(kept).absolute(), options)
    with tempfile.TemporaryDirectory(prefix="safepoint-bench-") as scratch:
        return _measure_in(Path(scratch), options)


def _measure_in(scratch: Path, options: argparse.Namespace) -> Run:
    scratch.mkdir(parents=True, exist_ok=True)
    _compile()
    bench = Workbench(scratch, rounds=options.rounds, say=_say)
    try:
        results = tuple(_result(name, bench) for name in ROWS if not options.only or name in options.only)
        return Run(facts=_facts(bench), results=results)
    finally:
        bench.clean()


def _compile() -> None:
    """Commands start as those of an installed package do, whatever keeps Python from writing bytecode here."""
    for folder in (Path(safepoint.__file__).parent, Path(sysconfig.get_path("purelib"))):
        compileall.compile_dir(folder, quiet=2)


def _result(name: str, bench: Workbench) -> Result:
    try:
        result = ROWS[name](bench)
    except MissingTool as missing:
        result = unmeasured(name, name, "any", str(missing))
    except Exception as error:  # noqa: BLE001 - a row that fails is unknown and shown as that; the others are measured
        _say(str(error))
        lines = str(error).splitlines() or [type(error).__name__]
        result = unmeasured(name, name, "any", f"failed: {lines[0]}")
    _say(f"  {_line(result)}")
    return result


def _facts(bench: Workbench) -> dict[str, str]:
    versions = sorted({stamp.version for stamp in bench.used.values()})
    sizes = {name: f"{format_bytes(stamp.bytes)} in {stamp.files:,} files" for name, stamp in bench.used.items()}
    return {
        **machine_facts(bench.scratch),
        "pgBackRest": pgbackrest.version() or "not there",
        "PostgreSQL": ", ".join(versions),
        **{f"Cluster `{name}`": size for name, size in sizes.items()},
        "Store": "a folder, encrypted",
        "Rounds": str(bench.rounds),
    }


def _print(results: Iterable[Result]) -> None:
    for result in results:
        sys.stdout.write(_line(result) + "\n")
        if result.note:
            sys.stdout.write(f"    {result.note}\n")


def _line(result: Result) -> str:
    ratio = "" if result.ratio is None else f"{result.ratio:.2f} ×"
    verdict = verdict_of(result).strip("*")
    return f"{result.title:<58} {figure_of(result):>14} {ratio:>9}  {result.target:<34} {verdict}".rstrip()


def _say(what: str) -> None:
    sys.stderr.write(f"{what}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())

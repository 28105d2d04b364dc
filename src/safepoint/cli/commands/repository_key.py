"""`safepoint repository key`: generate, add, remove, list, rotate."""

from __future__ import annotations

from typing import Annotated

import typer

from safepoint.cli.carry_out import show_then_execute
from safepoint.cli.commands.repository_options import FIRST_KEY, KeyOption, NameArgument, PlaceOption, place_of
from safepoint.cli.commands.repository_rewrite import reseal
from safepoint.cli.options import EXIT_STATUS, AllowWeakOption, ConfigOption, DryRunOption, JsonOption
from safepoint.cli.show import data, outcome_lines, print_facts, print_json, print_table, talk
from safepoint.errors import ExitCode
from safepoint.model.json_value import JsonObject
from safepoint.model.measures import format_instant
from safepoint.repository.sealing.key_changes import generate_key
from safepoint.workflows.repository_keys import (
    KeyChange,
    open_key_ring,
    prepare_add,
    prepare_remove,
    prepare_rotate,
    slot_to_json,
    standing_of,
)

app = typer.Typer(name="key", no_args_is_help=True, add_completion=False, rich_markup_mode=None)


@app.callback(epilog=EXIT_STATUS)
def keys() -> None:
    """Keys: which passphrases and recovery keys open a repository."""


@app.command("generate", epilog=EXIT_STATUS)
def generate(is_json: JsonOption = False) -> None:
    """Make a key for daily use and print it. Better than a passphrase: nobody guesses it, and it opens at once.

    Touches no repository: it opens one that was made with it, or that it was added to.
    """
    text = generate_key().reveal()
    if is_json:
        print_json({"key": text})
    else:
        data.print(text)
    talk.print("hint: it is kept nowhere: put it where the repository's `key` says, and a copy elsewhere")


@app.command("add", epilog=EXIT_STATUS)
def add(
    name: NameArgument = None,
    label: Annotated[
        str | None, typer.Option("--name", metavar="TEXT", help="What people call the key; anybody can read it.")
    ] = None,
    recovery: Annotated[
        bool, typer.Option("--recovery", help="A new recovery key, shown once on stdout, to be printed and locked up.")
    ] = False,
    passphrase_from: Annotated[
        str | None,
        typer.Option(
            metavar="REF", help="Where the new key is, generated or a passphrase: env:NAME, file:PATH or cmd:COMMAND."
        ),
    ] = None,
    allow_weak_key: AllowWeakOption = False,
    repository: PlaceOption = None,
    key: KeyOption = FIRST_KEY,
    config: ConfigOption = None,
    dry_run: DryRunOption = False,
    is_json: JsonOption = False,
) -> None:
    """Let one more passphrase, or a new recovery key, open the repository. No stored data is rewritten."""
    if recovery == (passphrase_from is not None):
        raise typer.BadParameter("give either --recovery or --passphrase-from REF")
    place = place_of(name, repository, key, config)
    job = prepare_add(place, name=label, passphrase_from=passphrase_from, allows_weak=allow_weak_key)
    outcome = _carried_out(job, is_dry_run=dry_run, is_json=is_json)
    if outcome is None:
        return
    text = job.recovery_key()
    if is_json:
        print_json({**outcome, **({} if text is None else {"recovery_key": text.reveal()})})
    elif text is None:
        print_facts(outcome_lines(outcome))
    else:
        talk.print(f"slot {outcome['slot']}; the recovery key, which is shown only now:")
        data.print(text.reveal())


@app.command("remove", epilog=EXIT_STATUS)
def remove(
    slot: Annotated[str, typer.Argument(metavar="SLOT", help="The slot's id, or how it begins: see `list`.")],
    force: Annotated[bool, typer.Option("--force", help="Also the key in use: then name another one.")] = False,
    repository: PlaceOption = None,
    key: KeyOption = FIRST_KEY,
    config: ConfigOption = None,
    dry_run: DryRunOption = False,
    is_json: JsonOption = False,
) -> None:
    """Take a passphrase or recovery key out of use. It is shut out of what is written after the next `rotate`.

    Refused for the last one, and for the one in use.
    """
    job = prepare_remove(place_of(None, repository, key, config), slot, force=force)
    _show(_carried_out(job, is_dry_run=dry_run, is_json=is_json), is_json=is_json)


@app.command("list", epilog=EXIT_STATUS)
def list_slots(
    name: NameArgument = None,
    repository: PlaceOption = None,
    key: KeyOption = FIRST_KEY,
    config: ConfigOption = None,
    is_json: JsonOption = False,
) -> None:
    """List what opens the repository. Exits 3 when a slot does not hold or does not open everything."""
    slots = open_key_ring(place_of(name, repository, key, config)).slots
    if is_json:
        print_json([slot_to_json(slot) for slot in slots])
    else:
        rows = [
            (
                slot.id,
                slot.name,
                "?" if slot.kind is None else slot.kind.value,
                "?" if slot.created is None else format_instant(slot.created),
                standing_of(slot),
                "in use" if slot.is_own else "",
            )
            for slot in slots
        ]
        print_table(("slot", "name", "kind", "made", "state", ""), rows)
    if not all(slot.is_current for slot in slots):
        raise typer.Exit(ExitCode.ATTENTION)


@app.command("rotate", epilog=EXIT_STATUS)
def rotate(
    name: NameArgument = None,
    repository: PlaceOption = None,
    key: KeyOption = FIRST_KEY,
    config: ConfigOption = None,
    dry_run: DryRunOption = False,
    is_json: JsonOption = False,
) -> None:
    """Seal with a new master key from now on. Every current slot opens it; what is stored stays as it is.

    Exits 3 when slots were added or removed at the same moment: then look at them and rotate again.
    """
    job = prepare_rotate(place_of(name, repository, key, config))
    outcome = _carried_out(job, is_dry_run=dry_run, is_json=is_json)
    _show(outcome, is_json=is_json)
    if outcome is None:
        return
    talk.print("hint: what is stored stays under the old key: to seal it anew, too, `safepoint repository key reseal`")
    if not outcome["left_out"] and not outcome["gone"]:
        return
    talk.print("warning: slots were added or removed meanwhile: `safepoint repository key list`, then rotate again")
    raise typer.Exit(ExitCode.ATTENTION)


app.command("reseal", epilog=EXIT_STATUS)(reseal)


def _carried_out(job: KeyChange, *, is_dry_run: bool, is_json: bool) -> JsonObject | None:
    run = show_then_execute(job.plan, job.execute, is_dry_run=is_dry_run, is_json=is_json)
    return None if run is None else next(iter(run.outcomes.values()))


def _show(outcome: JsonObject | None, *, is_json: bool) -> None:
    if outcome is None:
        return
    if is_json:
        print_json(dict(outcome))
    else:
        print_facts(outcome_lines(outcome))

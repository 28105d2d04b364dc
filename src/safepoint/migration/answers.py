"""What PostgreSQL's refusals mean where safepoint speaks for itself: to ledger and journal.

What it says to statements of files is told by deploy/failures.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import psycopg

from safepoint import errors

COMMITTED_STAYS = "what is committed stays; the next run goes on after it"

QUEUE_SECONDS = 10
"""How long a look at ledger or journal waits for somebody who has locked them."""

_RIGHT, _READ_ONLY, _LOCKED = "42501", "25006", "55P03"
_ENDINGS = ("08", "57P0")


@contextmanager
def answered(purpose: str, *, changed: str = errors.NOTHING_CHANGED) -> Generator[None]:
    """Whatever psycopg raises within becomes a registered error that says: expected to `purpose`."""
    try:
        yield
    except psycopg.Error as error:
        raise refusal(error, purpose, changed=changed) from error


def refusal(error: psycopg.Error, purpose: str, *, changed: str) -> errors.SafepointError:
    """PG004 for a lost session, PG007 for a right, PG010 for a read-only database, MG005 for a lock, else MG011."""
    if is_ending(error):
        said = f"the connection lost ({one_line(str(error))})"
        spec, hint = errors.PG004, errors.run("once the server answers again, run the same command again")
    else:
        said = f"{error.sqlstate or type(error).__name__} {one_line(error.diag.message_primary or str(error))}"
        spec, hint = _meaning(error.sqlstate)
    return spec.error(f"found {said}, expected to {purpose}", changed=changed, hints=[hint])


def is_ending(error: psycopg.Error) -> bool:
    """Whether the session is over, or there never was one."""
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError)
    return error.sqlstate.startswith(_ENDINGS)


def one_line(text: str) -> str:
    """The text without line breaks and without what would move a terminal's cursor."""
    return "".join(character for character in " ".join(text.split()) if character.isprintable())


def _meaning(sqlstate: str | None) -> tuple[errors.Spec, errors.Hint]:
    if sqlstate == _RIGHT:
        return errors.PG007, errors.run(
            "deploy as the role that owns schema, ledger and journal, or grant it the right"
        )
    if sqlstate == _READ_ONLY:
        return errors.PG010, errors.ask(
            "is it a standby, or is default_transaction_read_only on for this database or role?"
        )
    if sqlstate == _LOCKED:
        return errors.MG005, errors.run("see who holds it: `SELECT * FROM pg_locks WHERE granted`; then try again")
    return errors.MG011, errors.ask("does an event trigger, or a change made by hand, stand in the way?")

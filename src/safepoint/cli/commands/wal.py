"""`safepoint wal`: its verbs, each imported when it is asked for."""

from __future__ import annotations

import typer

from safepoint.cli.lazy import Verb, group_of


def _verb(name: str, line: str, module: str) -> Verb:
    return Verb(name=name, line=line, module=f"wal_{module}", member=name)


VERBS = (
    _verb("stream", "Stream WAL into the repositories until interrupted.", "stream"),
    _verb("archive", "Answer PostgreSQL's archive_command until interrupted, and push WAL before it asks.", "archive"),
    _verb("push", "Archive one file without a pusher: what `safepoint-wal push` does when none listens.", "archive"),
    _verb("adopt", "Say that a promoted copy is production from now on: its WAL is taken, and followed.", "adopt"),
    _verb("status", "Say what WAL servers hold back and repositories have, and what would be lost now.", "status"),
)

app = typer.Typer(
    name="wal",
    cls=group_of(VERBS),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@app.callback()
def wal() -> None:
    """Write-ahead log: streamed into the repository."""

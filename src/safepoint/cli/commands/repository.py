"""`safepoint repository`: its verbs, in the order in which they are needed, each imported when it is asked for."""

from __future__ import annotations

import typer

from safepoint.cli.lazy import Verb, group_of


def _verb(name: str, line: str, module: str) -> Verb:
    return Verb(name=name, line=line, module=f"repository_{module}", member="app" if name == "key" else name)


VERBS = (
    _verb("init", "Make a repository, or open the one that is there.", "init"),
    _verb("check", "Check that everything is there that backups need.", "check"),
    _verb("verify", "Read stored objects and authenticate every byte.", "verify"),
    _verb("repair", "Mend what is damaged or missing, from what is left and from copies.", "repair"),
    _verb("gc", "Delete what no backup needs, beside writers at work.", "gc"),
    _verb("copy", "Copy what another repository lacks: backups, WAL, records.", "copy"),
    _verb("stats", "Show bytes by database and tier, growth, garbage, WAL.", "stats"),
    _verb("unlock", "End the lease of a writer that died.", "unlock"),
    _verb("expire", "Give a backup up, for good.", "expire"),
    _verb("acknowledge", "Say in the journal that somebody has looked at these findings of it.", "acknowledge"),
    _verb("repack", "Rewrite packs that are mostly not needed any more.", "rewrite"),
    _verb("key", "Keys: which passphrases and recovery keys open a repository.", "key"),
)

app = typer.Typer(
    name="repository",
    cls=group_of(VERBS),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@app.callback()
def repository() -> None:
    """Repositories: where backups and WAL are kept."""

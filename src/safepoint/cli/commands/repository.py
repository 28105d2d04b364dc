"""`safepoint repository`: its verbs, in the order in which they are needed."""

from __future__ import annotations

import typer

from safepoint.cli.commands.repository_check import check
from safepoint.cli.commands.repository_copy import copy
from safepoint.cli.commands.repository_expire import expire
from safepoint.cli.commands.repository_gc import gc
from safepoint.cli.commands.repository_init import init
from safepoint.cli.commands.repository_key import app as key_app
from safepoint.cli.commands.repository_repair import repair
from safepoint.cli.commands.repository_rewrite import repack, reseal
from safepoint.cli.commands.repository_stats import stats
from safepoint.cli.commands.repository_unlock import unlock
from safepoint.cli.commands.repository_verify import verify
from safepoint.cli.options import EXIT_STATUS

app = typer.Typer(name="repository", no_args_is_help=True, add_completion=False, rich_markup_mode=None)
VERBS = (init, check, verify, repair, gc, copy, stats, unlock, expire, repack)


@app.callback()
def repository() -> None:
    """Repositories: where backups and WAL are kept."""


for _verb in VERBS:
    app.command(_verb.__name__, epilog=EXIT_STATUS)(_verb)
key_app.command("reseal", epilog=EXIT_STATUS)(reseal)
app.add_typer(key_app, name="key")

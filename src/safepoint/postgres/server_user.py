"""Which operating system user runs a server, and running programs as that user.

PostgreSQL refuses to run as root, so root needs somebody else. In this order:

1. the owner of the data directory, when that is not root;
2. the account named by SAFEPOINT_SERVER_USER;
3. `postgres` if there is such an account, else `nobody`, when it can reach the programs and the data directory;
4. a user namespace in which root is called `nobody` and outside of which every file belongs to root. It needs neither
   an account nor a chown, and reads what lies below root's home.

Nobody is ever created. An ordinary user runs servers as itself.
Source: PostgreSQL documentation, "The PostgreSQL User Account"; user_namespaces(7), unshare(1).
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator, Sequence
from pathlib import Path

from safepoint import errors
from safepoint.postgres.binaries import Binaries
from safepoint.postgres.pid_file import live_pid_file
from safepoint.postgres.programs import ServerUser, UserKind, current_user, last_lines, name_of, run_program

__all__ = ["ServerUser", "UserKind", "can_enter", "current_user", "nearest_directory", "run_program", "server_user"]

CONFIGURED_BY = "SAFEPOINT_SERVER_USER"

_PROBE_SECONDS = 10.0
_DEFAULT_ACCOUNTS = ("postgres", "nobody")


def server_user(data: Path, binaries: Binaries) -> ServerUser:
    """The user that can run a server of `binaries` on `data`, which need not exist yet; PG008 when there is none."""
    if os.geteuid() != 0:
        return current_user()
    obstacles: list[str] = []
    for user in _candidates(data):
        obstacle = _obstacle(user, data, binaries)
        if obstacle is None:
            return user
        obstacles.append(obstacle)
    raise errors.PG008.error(
        f"found that {'; '.join(obstacles)}; expected a user other than root that can run the server on {data}",
        hints=[
            errors.ask("do the programs or the data directory lie below a directory that only root may enter?"),
            errors.run(f"choose an account that can enter both: `export {CONFIGURED_BY}=postgres`"),
            errors.run("or run safepoint as an ordinary user"),
        ],
    )


def _candidates(data: Path) -> Iterator[ServerUser]:
    owner = data.stat().st_uid if data.is_dir() else 0
    if owner != 0:
        yield _account(pwd.getpwuid(owner)) if _has_account(owner) else _nameless(owner, data.stat().st_gid)
        return
    # A live server in a directory of root's can only be one in a namespace; its files must stay as they are.
    if live_pid_file(data) is None:
        configured = os.environ.get(CONFIGURED_BY)
        if configured:
            yield _configured_account(configured)
            return
        account = next((name for name in _DEFAULT_ACCOUNTS if _account_named(name) is not None), None)
        if account is not None:
            yield _configured_account(account)
    yield ServerUser(kind=UserKind.NAMESPACE, name="nobody", uid=os.geteuid(), gid=os.getegid())


def _configured_account(name: str) -> ServerUser:
    entry = _account_named(name)
    if entry is None or entry.pw_uid == 0:
        raise errors.PG008.error(
            f"found {CONFIGURED_BY}={name}, expected the name of an existing account other than root",
            hints=[errors.run(f"see which there are: `getent passwd`; then `export {CONFIGURED_BY}=...`")],
        )
    return _account(entry)


def _account(entry: pwd.struct_passwd) -> ServerUser:
    return ServerUser(
        kind=UserKind.ACCOUNT,
        name=entry.pw_name,
        uid=entry.pw_uid,
        gid=entry.pw_gid,
        # Debian's TLS key is readable through a supplementary group of `postgres`.
        groups=tuple(os.getgrouplist(entry.pw_name, entry.pw_gid)),
    )


def _nameless(uid: int, gid: int) -> ServerUser:
    return ServerUser(kind=UserKind.ACCOUNT, name=f"uid {uid}", uid=uid, gid=gid, groups=(gid,))


def _account_named(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _has_account(uid: int) -> bool:
    return not name_of(uid).startswith("uid ")


def _obstacle(user: ServerUser, data: Path, binaries: Binaries) -> str | None:
    """Why that user cannot run the server there, as a fact; found out by doing it."""
    postgres = binaries.program("postgres")
    failure = _failure(user, [postgres, "--version"])
    if failure is not None:
        return f"{user} cannot run {postgres} ({failure})"
    parent = nearest_directory(data.parent)
    failure = _failure(user, ["sh", "-c", 'cd "$1"', "sh", parent])
    return None if failure is None else f"{user} cannot enter {parent} ({failure})"


def can_enter(user: ServerUser, directory: Path) -> bool:
    """Whether that user can traverse the directory and everything above it."""
    return _failure(user, ["sh", "-c", 'cd "$1"', "sh", directory]) is None


def _failure(user: ServerUser, argv: Sequence[str | Path]) -> str | None:
    try:
        answer = run_program(user, argv, timeout=_PROBE_SECONDS, check=False)
    except errors.SafepointError as error:
        return error.message
    return None if answer.returncode == 0 else last_lines(answer.stderr) or f"exit code {answer.returncode}"


def nearest_directory(path: Path) -> Path:
    """The path itself or the first of its parents that exists."""
    return next((candidate for candidate in (path, *path.parents) if candidate.is_dir()), Path("/"))

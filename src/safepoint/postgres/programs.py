"""PostgreSQL's programs, run as the user that runs the server.

Source: PostgreSQL documentation, "The PostgreSQL User Account"; user_namespaces(7), unshare(1).
"""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from safepoint import errors

PRIVATE = 0o700

_NAMESPACE = ("unshare", "-U", "--map-user=65534", "--map-group=65534")
_GRACE_SECONDS = 5.0
_KEPT_LINES = 20


class UserKind(Enum):
    """How a program is run as the server's user."""

    CURRENT = "current"
    ACCOUNT = "account"
    NAMESPACE = "namespace"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerUser:
    """The user that runs a server. `uid` and `gid` are those its files have, as seen by safepoint."""

    kind: UserKind
    name: str
    uid: int
    gid: int
    groups: tuple[int, ...] = ()

    def own(self, path: Path) -> None:
        """Everything at and below `path` belongs to this user; links are owned, not followed.

        The top comes last: while its owner is still another, the work is not done.
        """
        if self.kind is UserKind.CURRENT:
            return
        for directory, directories, files in os.walk(path, topdown=False):
            for name in (*directories, *files):
                self._own_one(os.path.join(directory, name))  # noqa: PTH118 - a cluster has many files, Path is slow
        self._own_one(str(path))

    def make_directory(self, path: Path) -> None:
        """The directory exists, private to this user; parents that were missing belong to this user, too."""
        for directory in reversed(list(_missing(path))):
            directory.mkdir(mode=PRIVATE)
            self.own(directory)
        path.chmod(PRIVATE)
        self.own(path)

    def _own_one(self, path: str) -> None:
        status = os.lstat(path)
        if (status.st_uid, status.st_gid) != (self.uid, self.gid):
            os.lchown(path, self.uid, self.gid)

    def __str__(self) -> str:
        return f"{self.name} (user namespace)" if self.kind is UserKind.NAMESPACE else self.name


def current_user() -> ServerUser:
    """Whoever runs safepoint."""
    return ServerUser(kind=UserKind.CURRENT, name=name_of(os.geteuid()), uid=os.geteuid(), gid=os.getegid())


def run_program(
    user: ServerUser,
    argv: Sequence[str | Path],
    *,
    timeout: float | None = None,
    environment: Mapping[str, str] | None = None,
    check: bool = True,
) -> subprocess.CompletedProcess[str]:
    """What the program answered; it has ended, also when the wait for it was interrupted.

    Raises PG011 when it cannot be started, takes longer than `timeout` seconds or, with `check`, does not exit with 0.
    """
    process = spawn_program(user, argv, environment=environment)
    try:
        output, talk = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired as error:
        end_program(process)
        raise errors.PG011.error(f"found {_called(argv)} still running after {timeout} s, expected an end") from error
    except BaseException:
        end_program(process)
        raise
    if check and process.returncode != 0:
        raise errors.PG011.error(
            f"found exit code {process.returncode} of {_called(argv)}, expected 0: {last_lines(talk or output)}"
        )
    return subprocess.CompletedProcess(list(argv), process.returncode, output, talk)


def spawn_program(
    user: ServerUser, argv: Sequence[str | Path], *, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """The program, begun as that user, in English and without the caller's PG* variables; PG011 if it cannot be.

    It has a session of its own: Ctrl-C reaches safepoint alone, which then ends it in order.
    """
    as_account = user.kind is UserKind.ACCOUNT
    prefix = _NAMESPACE if user.kind is UserKind.NAMESPACE else ()
    try:
        return subprocess.Popen(
            [*prefix, *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            cwd="/",  # where safepoint stands may be closed to that user
            env=_environment(user) | dict(environment or {}),
            user=user.uid if as_account else None,
            group=user.gid if as_account else None,
            extra_groups=user.groups if as_account else None,
            umask=0o077,
            start_new_session=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise errors.PG011.error(f"found that {_called(argv)} cannot be run as {user}: {error}") from error


def end_program(process: subprocess.Popen[str]) -> None:
    """The program is gone: asked first, so that it can tidy up, and killed after a few seconds."""
    process.terminate()
    try:
        process.communicate(timeout=_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def last_lines(text: str) -> str:
    """The end of what a program said, on one line."""
    return " | ".join(line.strip() for line in text.strip().splitlines()[-_KEPT_LINES:])


def name_of(uid: int) -> str:
    """The account's name, or `uid N` when there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _missing(path: Path) -> Iterator[Path]:
    """The path and its parents, as far as they do not exist, deepest first."""
    for candidate in (path, *path.parents):
        if candidate.is_dir():
            return
        yield candidate


def _environment(user: ServerUser) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_"))}
    own = {} if user.kind is UserKind.CURRENT else {"HOME": "/", "USER": user.name, "LOGNAME": user.name}
    return kept | own | {"LC_ALL": "C", "LANG": "C"}


def _called(argv: Sequence[str | Path]) -> str:
    return Path(argv[0]).name + "".join(f" {argument}" for argument in argv[1:3])

"""`safepoint wal push`, as `safepoint-wal` starts it where no pusher runs: nothing imported that it does not need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from repository_samples import CHEAP
from safepoint.backup.archive.data_directory import DataDirectory
from safepoint.cli.push import pushed
from safepoint.repository import create_repository, open_repository
from safepoint.repository.sealing.key_changes import generate_key
from safepoint.stores import FolderStore
from shell import Shell, shell_in
from wal_files import CLUSTER, make_data_directory, put_ready, segment, segment_bytes

_HEAVY = {"numpy", "psycopg", "pydantic", "typer", "rich", "postgast", "obstore", "botocore", "asyncio"}
_STRATEGY = """
[database.shop]
url = "env:DATABASE_URL"

[repository.main]
url = "file:repository"
key = "env:SAFEPOINT_KEY"

[wal.shop]
keep = "35d"
"""
_KEY = generate_key()
_FIVE = segment(5)
_CODE = "import sys; from safepoint.cli import main\ntry: main()\nfinally: print(*sys.modules, file=sys.stderr)"


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A project with an encrypted repository."""
    shell = shell_in(tmp_path / "project", SAFEPOINT_KEY=_KEY.reveal())
    shell.write("safepoint.toml", _STRATEGY)
    create_repository(FolderStore(shell.folder / "repository"), _KEY, cost=CHEAP)
    return shell


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    """A data directory in which one segment waits."""
    data = make_data_directory(tmp_path / "data")
    put_ready(data, _FIVE.name, segment_bytes(_FIVE))
    return data


def push(shell: Shell, data: DataDirectory, *options: str, code: str = _CODE) -> subprocess.CompletedProcess[str]:
    """As PostgreSQL's archiver has it run, in the data directory."""
    words = ("wal", "push", f"pg_wal/{_FIVE.name}", "--config", str(shell.folder / "safepoint.toml"), *options)
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=data.path,
        env=dict(shell.environment),
        capture_output=True,
        text=True,
        check=False,
    )


def held(shell: Shell) -> list[bytes]:
    """The segments that are stored, opened."""
    repository = open_repository(FolderStore(shell.folder / "repository"), _KEY)
    return [repository.read_wal(piece) for piece in repository.wal_pieces(str(CLUSTER))]


def test_the_second_one_imports_nothing_that_it_does_not_need(shell: Shell, data: DataDirectory) -> None:
    """The first judges the strategy and remembers it; the next knows neither pydantic nor typer, and stores as well."""
    first = push(shell, data, "--database", "shop")
    again = push(shell, data, "--database", "shop", "--socket", "nowhere")

    assert (first.returncode, again.returncode) == (0, 0)
    loaded = set(again.stderr.splitlines()[-1].split())
    assert "cryptography" in loaded
    assert not loaded & _HEAVY
    assert held(shell) == [segment_bytes(_FIVE)]


def test_what_is_refused_is_told_and_exits_1(shell: Shell, data: DataDirectory) -> None:
    """Other bytes under a name that is stored, and another cluster's segment: the server keeps the file."""
    assert push(shell, data).returncode == 0
    for wrong in (segment_bytes(_FIVE, seed=1), segment_bytes(_FIVE, cluster=CLUSTER + 1)):
        put_ready(data, _FIVE.name, wrong)

        said = push(shell, data, code="from safepoint.cli import main; main()")

        assert said.returncode == 1
        assert said.stderr.startswith(("error RP007", "error WL00"))
    assert held(shell) == [segment_bytes(_FIVE)]


def test_a_strategy_that_changed_is_judged_anew(shell: Shell, data: DataDirectory) -> None:
    """What is remembered is of these bytes alone: a mistake in the next version of the file is found."""
    assert push(shell, data).returncode == 0
    shell.write("safepoint.toml", _STRATEGY.replace("35d", "35 days of it"))

    said = push(shell, data, code="from safepoint.cli import main; main()")

    assert said.returncode == 1
    assert said.stderr.startswith("error CF001")


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("backups",),
        ("wal", "status"),
        ("wal", "push"),
        ("wal", "push", "--help"),
        ("wal", "push", "pg_wal/x", "--config"),
        ("wal", "push", "pg_wal/x", "--config", "--database"),
        ("wal", "push", "pg_wal/x", "--config", "a", "--config", "b"),
        ("wal", "push", "pg_wal/x", "--database=shop"),
        ("wal", "push", "pg_wal/x", "y", "z"),
    ],
)
def test_whatever_else_is_typed_is_left_to_the_command_line(words: tuple[str, ...]) -> None:
    """Which explains what is wrong, or understands more forms."""
    assert pushed(words) is None


def test_other_forms_of_the_options_push_as_well(shell: Shell, data: DataDirectory) -> None:
    """Through typer, which takes an equals sign, too."""
    assert push(shell, data, "--database=shop", code="from safepoint.cli import main; main()").returncode == 0
    assert held(shell) == [segment_bytes(_FIVE)]

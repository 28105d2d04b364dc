"""env:, file: and cmd: become values, and never anything printed."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from safepoint import errors
from safepoint.strategy import Resolved, load_strategy, resolve, resolve_in
from safepoint.strategy.dotenv import parse_dotenv

SECRET = "s3cr3t"


def fetch(reference: str, base: Path, environment: dict[str, str] | None = None, timeout: float = 10) -> Resolved:
    return resolve(reference, base=base, environment=environment or {}, timeout=timeout)


def must_fail(reference: str, base: Path, environment: dict[str, str] | None = None, timeout: float = 10) -> str:
    with pytest.raises(errors.Misconfigured) as caught:
        fetch(reference, base, environment, timeout)
    assert caught.value.spec is errors.CF003
    assert caught.value.hints
    told = " ".join([caught.value.message, *(hint.text for hint in caught.value.hints)])
    assert SECRET not in told
    return caught.value.message


def private(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(0o600)
    return path


def test_a_variable_of_the_environment(tmp_path: Path) -> None:
    """The environment wins over `.env`, as it does for Prisma."""
    private(tmp_path / ".env", "KEY=other")
    found = fetch("env:KEY", tmp_path, {"KEY": SECRET})
    assert (found.reveal(), found.origin, found.warnings) == (SECRET, "environment variable KEY", ())
    assert SECRET not in f"{found} {found!r}"


def test_a_variable_of_the_dotenv_file(tmp_path: Path) -> None:
    """What Prisma finds, safepoint finds, and says where."""
    private(tmp_path / ".env", f'DATABASE_URL="postgresql://app:${{PW}}@h/db?schema=public"\nPW={SECRET}\n')
    found = fetch("env:DATABASE_URL", tmp_path)
    assert found.reveal() == f"postgresql://app:{SECRET}@h/db?schema=public"
    assert found.origin == f"DATABASE_URL in {tmp_path / '.env'}"


def test_a_dotenv_file_beside_the_migrations(tmp_path: Path) -> None:
    """The second place where Prisma looks: the folder that holds the migrations folder."""
    (tmp_path / "safepoint.toml").write_text(
        '[database.shop]\nurl = "env:DATABASE_URL"\nmigrations.shop.folder = "prisma/migrations"\n'
    )
    (tmp_path / "prisma").mkdir()
    private(tmp_path / "prisma/.env", f"DATABASE_URL={SECRET}")
    strategy = load_strategy(tmp_path / "safepoint.toml")
    found = resolve_in(strategy, strategy.database().url, {})
    assert (found.reveal(), found.origin) == (SECRET, f"DATABASE_URL in {tmp_path / 'prisma/.env'}")


def test_two_dotenv_files_that_disagree_are_refused(tmp_path: Path) -> None:
    """Prisma, too, refuses to choose between two databases."""
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder, value in zip(folders, (SECRET, SECRET + "2"), strict=True):
        folder.mkdir()
        private(folder / ".env", f"KEY={value}")
    with pytest.raises(errors.Misconfigured, match="found KEY with different values in") as caught:
        resolve("env:KEY", base=tmp_path, environment={}, dotenv_folders=folders)
    assert SECRET not in caught.value.message


def test_two_dotenv_files_that_agree_are_fine(tmp_path: Path) -> None:
    """The same value twice is one value."""
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
        private(folder / ".env", f"KEY={SECRET}")
    assert resolve("env:KEY", base=tmp_path, environment={}, dotenv_folders=folders).reveal() == SECRET


def test_a_variable_that_is_nowhere(tmp_path: Path) -> None:
    """Cause and cure name the variable."""
    private(tmp_path / ".env", f"OTHER={SECRET}")
    message = must_fail("env:KEY", tmp_path, {"OTHER": SECRET})
    assert message == f"found no environment variable KEY, in {tmp_path}/.env neither, expected it to be set"


@pytest.mark.parametrize("value", ["", "  ", "\n"])
def test_a_variable_that_is_empty(tmp_path: Path, value: str) -> None:
    """An empty passphrase or URL is a mistake, even where `.env` has one: Prisma would not look there either."""
    private(tmp_path / ".env", f"KEY={SECRET}")
    assert must_fail("env:KEY", tmp_path, {"KEY": value}).startswith("found nothing in the environment variable KEY")


def test_a_file_beside_the_strategy(tmp_path: Path) -> None:
    """Relative to the strategy file; the line end that editors add is not part of the secret, spaces are."""
    private(tmp_path / "key", f" {SECRET} \r\n")
    found = fetch("file:key", tmp_path)
    assert (found.reveal(), found.origin, found.warnings) == (f" {SECRET} ", f"file {tmp_path / 'key'}", ())
    assert fetch(f"file:{tmp_path}/key", Path("/")).reveal() == found.reveal()


@pytest.mark.parametrize("name", ["key", ".env"])
def test_a_file_that_everybody_may_read_is_used_and_told(tmp_path: Path, name: str) -> None:
    """A warning, with the command that mends it."""
    private(tmp_path / name, f"KEY={SECRET}").chmod(0o644)
    found = fetch("file:key" if name == "key" else "env:KEY", tmp_path)
    assert found.warnings == (
        f"{tmp_path / name} can be read by every user of this machine: `chmod 600 {tmp_path / name}`",
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "found no such file or directory at"),
        (b"", "found nothing in"),
        (b"s3cr3t\nmore\n", "found 2 lines in"),
        (b"s3cr3t\xff", "found bytes that are no UTF-8 in"),
    ],
)
def test_a_file_that_holds_no_secret(tmp_path: Path, content: bytes | None, message: str) -> None:
    """Absent, empty, of several lines, or of bytes: each told apart, none shown."""
    if content is not None:
        private(tmp_path / "key", content)
    assert must_fail("file:key", tmp_path).startswith(message)


def test_a_command_that_prints_the_secret(tmp_path: Path) -> None:
    """Run in the folder of the strategy file, with the given environment, without a shell."""
    script = private(tmp_path / "show.py", f"import os; print(os.environ['PART'] + '{SECRET}$HOME;')")
    script.chmod(0o700)
    found = fetch(f"cmd:'{sys.executable}' show.py", tmp_path, {"PART": "a "})
    assert found.reveal() == f"a {SECRET}$HOME;"
    assert found.origin == f"command `'{sys.executable}' show.py`"


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (f"print('{SECRET[:3]}' + '{SECRET[3:]}'); raise SystemExit(3)", "found exit code 3 of"),
        ("import os; os.kill(os.getpid(), 9)", "ended by SIGKILL"),
        ("pass", "found nothing in the output of"),
        ("print('a'); print('b')", "found 2 lines in the output of"),
        ("import os; os.write(1, bytes([255]))", "found bytes that are no UTF-8 in the output of"),
    ],
)
def test_a_command_that_gives_no_secret(tmp_path: Path, program: str, message: str) -> None:
    """Its end is told, and never what it printed."""
    assert message in must_fail(f'cmd:"{sys.executable}" -c "{program}"', tmp_path)


def test_a_command_that_does_not_end(tmp_path: Path) -> None:
    """It is killed, and its time limit told; a child of its own that keeps the pipe open does not hold us up."""
    started = time.monotonic()
    message = must_fail("cmd:sh -c 'sleep 5 & sleep 5'", tmp_path, {"PATH": os.defpath}, timeout=0.3)
    assert message.startswith("found no end of `sh -c 'sleep 5 & sleep 5'` within 0.3 seconds")
    assert time.monotonic() - started < 4


@pytest.mark.parametrize(
    ("command", "reason"),
    [("no-such-program", "no such file or directory"), ("/", "permission denied"), ("a\0b", "null")],
)
def test_a_command_that_cannot_be_run(tmp_path: Path, command: str, reason: str) -> None:
    """The system's reason stands in the message."""
    assert reason in must_fail(f"cmd:{command}", tmp_path, {"PATH": os.defpath})


def test_a_literal_is_no_reference(tmp_path: Path) -> None:
    """The text itself is not repeated."""
    assert must_fail(SECRET, tmp_path).startswith("found a literal value, expected a reference")


def test_a_url_that_stands_in_the_file(tmp_path: Path) -> None:
    """Resolved like the others, so that callers need not tell them apart."""
    (tmp_path / "safepoint.toml").write_text('[database.shop]\nurl = "postgresql:///shop"\n')
    strategy = load_strategy(tmp_path / "safepoint.toml")
    found = resolve_in(strategy, strategy.database().connection, {})
    assert (found.reveal(), found.origin) == ("postgresql:///shop", "the strategy file")


# What dotenv 16.6 and the expansion in Prisma 6.19's command line make of each line.
@pytest.mark.parametrize(
    ("line", "value"),
    [
        ('X = "two words"   # comment', "two words"),
        ("X='single # kept'", "single # kept"),
        ("X=bare # comment", "bare"),
        ("X=pass#word", "pass"),
        ("export X=exported", "exported"),
        ('X="line\\nbreak"', "line\nbreak"),
        ("X='line\\nbreak'", "line\\nbreak"),
        ("X=`back \"tick'`", "back \"tick'"),
        ("X=", ""),
        ('X="multi\nline"', "multi\nline"),
        ("X: yaml", "yaml"),
        ("X='it\\'s'", "it\\'s"),
        ('X="unterminated', '"unterminated'),
        ('X="a" trailing', '"a" trailing'),
        ('X="x"y"', 'x"y'),
        ('X=a"b', 'a"b'),
        (" X =  spaced  ", "spaced"),
        ("X=first\r\nX=last\r\n", "last"),
        ("X='${A}'\nA=1", "1"),
        ("X=\\${A}\nA=1", "${A}"),
        ("X=$A\nA=1", "$A"),
        ("X=a${NONE}b${}", "ab"),
        ("X=${HOME_X}\nHOME_X=file", "environment"),
        ("X=${Y}\nY=${X}", "${Y}"),
    ],
)
def test_dotenv_is_read_as_prisma_reads_it(line: str, value: str) -> None:
    """Quotes, comments, escapes and placeholders; a circle, which ends Prisma, is left as it stands."""
    assert parse_dotenv(line, {"HOME_X": "environment"})["X"] == value


def test_lines_that_set_nothing_are_passed_over() -> None:
    """Comments, blank lines, and what is no assignment."""
    assert parse_dotenv("# A=1\n\nnovalue\n=nothing\nB=2\n", {}) == {"B": "2"}


def test_what_has_no_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    """A program that writes for ever and a device are refused at once, before they fill the memory."""
    began = time.monotonic()
    assert "no end to the output" in must_fail("cmd:yes", tmp_path)
    assert "more than 1048576 bytes" in must_fail("file:/dev/zero", tmp_path)
    assert time.monotonic() - began < 5


def test_a_dotenv_file_with_a_byte_order_mark(tmp_path: Path) -> None:
    """Prisma's reader takes it for white space."""
    private(tmp_path / ".env", b"\xef\xbb\xbfKEY=s3cr3t\r\n")
    assert fetch("env:KEY", tmp_path).reveal() == SECRET

"""Server settings in files and on command lines."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safepoint.errors import SafepointError
from safepoint.postgres.settings import command_line_options, read_settings, render_settings, write_settings

VALUE = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=40)


@given(value=VALUE)
def test_options_reach_the_server_through_a_shell_unchanged(value: str) -> None:
    """pg_ctl hands its options to a shell, which must give the server one argument a setting."""
    assert shlex.split(command_line_options({"a.b": value})) == ["-c", f"a.b={value}"]


@given(value=VALUE)
def test_written_settings_are_read_back(tmp_path_factory: pytest.TempPathFactory, value: str) -> None:
    """Whatever a value holds, it is read as it was written."""
    data = tmp_path_factory.mktemp("data")
    (data / "postgresql.conf").touch()
    write_settings(data, {"restore_command": value, "port": "1"})
    assert read_settings(data) == {"restore_command": value, "port": "1"}


def test_settings_of_a_copied_directory_are_not_its_own(tmp_path: Path) -> None:
    """A copy of a cluster must not listen where the original does."""
    original, copy = tmp_path / "original", tmp_path / "copy"
    original.mkdir()
    (original / "postgresql.conf").touch()
    write_settings(original, {"port": "5433"})
    original.rename(copy)
    assert read_settings(copy) == {}


def test_configuration_includes_the_file_once(tmp_path: Path) -> None:
    """Writing twice includes once."""
    (tmp_path / "postgresql.conf").write_text("port = 1")
    write_settings(tmp_path, {"port": "2"})
    write_settings(tmp_path, {"port": "3"})
    assert (tmp_path / "postgresql.conf").read_text() == "port = 1\ninclude_if_exists = 'safepoint.conf'\n"


@pytest.mark.parametrize(("name", "value"), [("a b", "1"), ("port'", "1"), ("", "1"), ("port", "1\nfsync = off")])
def test_what_no_setting_can_be_is_refused(name: str, value: str) -> None:
    """A name or value that would become another setting is refused."""
    with pytest.raises(SafepointError, match="PG010"):
        render_settings({name: value})

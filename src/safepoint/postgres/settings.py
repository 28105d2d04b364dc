"""Server settings as PostgreSQL reads them, and the file in which safepoint keeps those of its own clusters.

`safepoint.conf` stands in the data directory and is included by postgresql.conf. It says for which directory it was
made: in a copy of the cluster its port and sockets are somebody else's.
Source: PostgreSQL documentation, "Setting Parameters".
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from safepoint import errors
from safepoint.files import append_durably, write_durably

FILE_NAME = "safepoint.conf"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?")
_LINE = re.compile(r"(?P<name>[\w.]+) = '(?P<value>(?:[^'\\]|''|\\\\)*)'")
_MADE_FOR = "# safepoint made this for the data directory "


def quote_setting(value: str) -> str:
    """The value as it stands in a configuration file; ValueError when it cannot stand there."""
    if "\n" in value or "\0" in value:
        raise ValueError("found a line break or a zero byte in a setting, expected one line")
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def render_settings(settings: Mapping[str, str]) -> str:
    """One `name = 'value'` a line; PG010 for a name or value that no setting can have."""
    return "".join(f"{_require_name(name)} = {_require_value(name, value)}\n" for name, value in settings.items())


def command_line_options(settings: Mapping[str, str]) -> str:
    """The settings as `-c` options, quoted for the shell through which pg_ctl hands them on."""
    return " ".join(f"-c {shlex.quote(f'{_require_name(name)}={value}')}" for name, value in settings.items())


def write_settings(data: Path, settings: Mapping[str, str]) -> None:
    """postgresql.conf ends with our file, which holds exactly these settings for this data directory.

    The file is replaced whole, so that a crash leaves the old one or the new one.
    """
    write_durably(data / FILE_NAME, f"{_MADE_FOR}{data}\n{render_settings(settings)}".encode())
    include = f"include_if_exists = '{FILE_NAME}'\n"
    configuration = data / "postgresql.conf"
    if include not in configuration.read_text():
        append_durably(configuration, f"\n{include}".encode())


def read_settings(data: Path) -> dict[str, str]:
    """What `write_settings` wrote for this very directory; empty when it never did, or for another one."""
    try:
        lines = (data / FILE_NAME).read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    if not lines or lines[0] != f"{_MADE_FOR}{data}":
        return {}
    matches = (_LINE.fullmatch(line) for line in lines[1:])
    return {match["name"]: _unquote(match["value"]) for match in matches if match}


def _unquote(value: str) -> str:
    return value.replace("''", "'").replace("\\\\", "\\")


def _require_name(name: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise errors.PG010.error(f"found the setting name {name!r}, expected one like wal_level")
    return name


def _require_value(name: str, value: str) -> str:
    try:
        return quote_setting(value)
    except ValueError as error:
        raise errors.PG010.error(f"found a line break in the setting {name}, expected one line") from error

"""The `.env` file as Prisma 6 reads it, and only that file: nothing is put into the environment.

Source: the behaviour of Prisma's command line (dotenv 16's grammar, then `${NAME}`), against which a table of cases in
the tests was recorded. The environment wins over the file; a later line wins over an earlier one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_LINE = re.compile(
    r"""^[^\S\n]*(?:export[^\S\n]+)?(?P<name>[\w.-]+)(?:[^\S\n]*=|:[^\S\n]+)[^\S\n]*
    (?P<value> '(?:\\'|[^'])*' | "(?:\\"|[^"])*" | `(?:\\`|[^`])*` | [^\#\n]* )[^\S\n]*(?:\#.*)?$""",
    re.MULTILINE | re.VERBOSE,
)
_PLACEHOLDER = re.compile(r"(?P<escape>\\)?\$\{(?P<name>\w*)\}", re.ASCII)


def parse_dotenv(text: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that the file sets, `${NAME}` replaced from the environment, else the file, else by nothing."""
    written = {
        match["name"]: _unquoted(match["value"].strip())
        for match in _LINE.finditer(text.removeprefix("\ufeff").replace("\r\n", "\n"))
    }
    return {name: _expanded(value, written, environment, frozenset()) for name, value in written.items()}


def _unquoted(value: str) -> str:
    """Without the quotes around it; line breaks are escaped in double quotes only."""
    quote, inner = value[:1], value
    if quote in {"'", '"', "`"} and len(value) > 1 and value.endswith(quote):
        inner = value[1:-1]
    return inner.replace("\\n", "\n").replace("\\r", "\r") if quote == '"' else inner


def _expanded(value: str, written: Mapping[str, str], environment: Mapping[str, str], within: frozenset[str]) -> str:
    """A placeholder that leads back to a variable that is being expanded is left as it stands."""

    def replacement(match: re.Match[str]) -> str:
        name = match["name"]
        if match["escape"] or name in within:
            return match[0].removeprefix("\\")
        if name in environment:
            return _expanded(environment[name], written, environment, within | {name})
        return _expanded(written.get(name, ""), written, environment, within | {name})

    return _PLACEHOLDER.sub(replacement, value)

"""What may stand behind `=`: the texts of the strategy file, each parsed into the value it means.

Every function takes text and returns the value, or raises ValueError with one sentence that holds what was found and
what was expected. A text that may be a secret is never repeated in that sentence.
"""

from __future__ import annotations

import json
import re
import shlex
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote

from safepoint.model.measures import parse_duration
from safepoint.strategy.values import Reference, ReferenceScheme

REFERENCE = 'a reference like "env:NAME", "file:path" or "cmd:command"'
CONNECTION = 'a reference like "env:DATABASE_URL", or a postgresql:// URL without a password'
REPOSITORY_URL = 'a folder ("file:/path"), "s3://…", "gs://…" or "az://…" without credentials, or "env:NAME"'
CHANNEL = 'a reference like "env:SLACK_URL", or "sns:arn:…" or "mailto:…"'
SIZE = "a size like 512MB or 10GB"
NAME = "letters, digits, '-', '_' and '.', at most 63, the first a letter or digit"

_REFERENCE = re.compile(r"(env|file|cmd):(.*)", re.DOTALL)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_SECRET_PARAMETER = re.compile(
    r"[?&]([^=&]*(password|secret|token|credential|api_?key|access_?key)[^=&]*|key|sig|sas)=", re.IGNORECASE
)
_SIZE = re.compile(r"([0-9]{1,12})(kB|MB|GB|TB)")
_SIZE_UNITS = {"kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}
_SHORTEST_CANARY = timedelta(seconds=1)
_SHOWN = 60


def quoted(text: str) -> str:
    """The text as TOML would write it, cut when long; for values that are no secret."""
    return json.dumps(text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…", ensure_ascii=False)


def duration(text: str) -> timedelta:
    """A duration of zero or more."""
    try:
        return parse_duration(text)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"found {quoted(text)}, expected a duration like 15m, 1h or 30d") from error


def positive_duration(text: str) -> timedelta:
    """A duration above zero."""
    value = duration(text)
    if not value:
        raise ValueError(f"found {quoted(text)}, expected a duration above zero")
    return value


def canary_duration(text: str) -> timedelta:
    """Between two canary rows: at least a second, for each costs a commit."""
    value = duration(text)
    if value < _SHORTEST_CANARY:
        raise ValueError(f"found {quoted(text)}, expected a duration of at least 1s, like 10s")
    return value


def size(text: str) -> int:
    """Bytes, above zero, in the units of PostgreSQL's settings: a kB is 1024 of them."""
    match = _SIZE.fullmatch(text)
    if match is None or not int(match[1]):
        raise ValueError(f"found {quoted(text)}, expected {SIZE}")
    return int(match[1]) * _SIZE_UNITS[match[2]]


def name(text: str) -> str:
    """A name that can be part of a path and of a command line."""
    if _NAME.fullmatch(text) is None:
        raise ValueError(f"found the name {quoted(text)}, expected {NAME}")
    return text


def sentence(text: str) -> str:
    """Any text that is not blank."""
    if not text.strip():
        raise ValueError(f"found {quoted(text)}, expected a text that is not blank")
    return text


def absolute_path(text: str) -> Path:
    """A path from the root of the file system."""
    if not text.startswith("/"):
        raise ValueError(f'found {quoted(text)}, expected an absolute path like "/var/lib/postgresql/17/main"')
    return Path(text)


def reference(text: str, expected: str = REFERENCE) -> Reference:
    """env:, file: or cmd:; the text is not repeated, for it may be the secret itself."""
    match = _REFERENCE.fullmatch(text)
    if match is None:
        raise ValueError(f"found a literal value, expected {expected}: secrets never stand in this file")
    scheme, target = ReferenceScheme(match[1]), match[2].strip()
    _check_target(scheme, target)
    return Reference(scheme=scheme, target=target)


def key(text: str) -> Reference | None:
    """A reference, or None for "none": stored without encryption, on purpose."""
    return None if text == "none" else reference(text, f'{REFERENCE}, or "none" to store unencrypted')


def connection_url(text: str) -> Reference:
    """A reference, or a PostgreSQL URL that holds no password."""
    if not text.startswith(("postgresql://", "postgres://")):
        return reference(text, CONNECTION)
    return _without_credentials(text, CONNECTION)


def repository_url(text: str) -> Reference:
    """A store's URL without credentials, a folder, or a reference by env: or cmd: (file: is a folder here)."""
    if text.startswith(("env:", "cmd:")):
        return reference(text, REPOSITORY_URL)
    scheme = _SCHEME.match(text)
    if not text.strip() or (scheme and not text.startswith(("file:", "s3://", "gs://", "az://"))):
        found = f"a URL of scheme {scheme[1]}:" if scheme else quoted(text)
        raise ValueError(f"found {found}, expected {REPOSITORY_URL}")
    return _without_credentials(text, REPOSITORY_URL)


def api_url(text: str) -> Reference:
    """Patroni's REST address: a reference, or an http(s) URL without a password."""
    expected = f'an "http://host:8008" URL without a password, or {REFERENCE}'
    return (
        _without_credentials(text, expected) if text.startswith(("http://", "https://")) else reference(text, expected)
    )


def channel(text: str) -> Reference:
    """Who is told: an SNS topic or mail address may stand in the file; a web hook is a secret, hence a reference."""
    if text.startswith(("sns:arn:", "mailto:")):
        return Reference(scheme=ReferenceScheme.LITERAL, target=text)
    return reference(text, CHANNEL)


def located(url: str, base: Path) -> str:
    """The repository URL with a relative folder made absolute: relative to `base`, not to where a command is run."""
    path = url.removeprefix("file:")
    if path.startswith(("//", "~")) or (path == url and _SCHEME.match(url)):
        return url
    return f"file:{base / path}"


def _check_target(scheme: ReferenceScheme, target: str) -> None:
    if not target:
        raise ValueError(f'found "{scheme.value}:" with nothing behind it, expected {REFERENCE}')
    if scheme is ReferenceScheme.ENV and _VARIABLE.fullmatch(target) is None:
        raise ValueError('found "env:" with what is no variable\'s name behind it, expected "env:NAME"')
    if scheme is ReferenceScheme.CMD:
        try:
            shlex.split(target)
        except ValueError as error:
            raise ValueError(
                f'found "cmd:" with {str(error).lower()}, expected a command as a shell reads it'
            ) from error


def _without_credentials(url: str, expected: str) -> Reference:
    """A password may itself hold `/`, `?` or `@`: whatever stands between a colon and the last @ counts as one."""
    has_password = ":" in url.partition("//")[2].rpartition("@")[0]
    if has_password or _SECRET_PARAMETER.search(unquote(url)):
        raise ValueError(f"found a URL with a password or key in it, expected {expected}")
    return Reference(scheme=ReferenceScheme.LITERAL, target=url)

"""Fetches the wheel of pip that a lock file pins, for a Python that came without pip: `fetch_pip.py LOCK DIRECTORY`.

Asks the package index that pip itself would ask: index, certificates and proxy as its variables and files set them.
The wheel is kept only if its SHA-256 is in the lock. Prints where it is. Standard library only.
Source: PyPA, "Simple repository API"; pip documentation, "Configuration".
"""

from __future__ import annotations

import base64
import configparser
import hashlib
import os
import re
import ssl
import sys
import urllib.request
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit, urlunsplit

_STANDARD_INDEX = "https://pypi.org/simple"
_SECONDS = 60.0


def main() -> int:
    """0 with the wheel's path printed; 1 with the cause on standard error."""
    lock, directory = Path(sys.argv[1]), Path(sys.argv[2])
    index = f"{(_setting('index-url') or _STANDARD_INDEX).rstrip('/')}/pip/"
    try:
        path = _fetch(index, lock, directory)
    except (OSError, ValueError) as error:
        print(f"error: cannot fetch pip from {_without_login(index)[0]}: {error}", file=sys.stderr)
        return 1
    print(path)
    return 0


def _fetch(index: str, lock: Path, directory: Path) -> Path:
    version, digests = _pinned(lock.read_text())
    path = directory / f"pip-{version}-py3-none-any.whl"
    content = _read(_link(_read(index).decode(), index, path.name))
    found = hashlib.sha256(content).hexdigest()
    if found not in digests:
        raise ValueError(f"found {path.name} with SHA-256 {found}, expected one that {lock} names")
    path.write_bytes(content)
    return path


def _pinned(lock: str) -> tuple[str, set[str]]:
    """The version of pip in the lock, and the digests that are allowed."""
    match = re.search(r"^pip==(\S+)((?: \\\n\s+--hash=sha256:[0-9a-f]{64})+)", lock, re.MULTILINE)
    if match is None:
        raise ValueError("found no pip with hashes in the lock, expected one")
    return match[1], set(re.findall(r"sha256:([0-9a-f]{64})", match[2]))


def _setting(name: str) -> str | None:
    """One of pip's settings: from the environment, else from the most specific of its files that has it."""
    value = os.environ.get(f"PIP_{name.upper().replace('-', '_')}")
    if value:
        return value
    parser = configparser.RawConfigParser(strict=False)
    parser.read(_files(), encoding="utf-8")
    return next((parser[part][name] for part in ("install", "global") if parser.has_option(part, name)), None)


def _files() -> Iterator[Path]:
    """pip's configuration files; later ones win."""
    home = Path.home()
    for folder in reversed(os.environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":")):
        yield Path(folder, "pip/pip.conf")
    yield Path("/etc/pip.conf")
    yield home / ".pip/pip.conf"
    yield Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config", "pip/pip.conf")
    if "PIP_CONFIG_FILE" in os.environ:
        yield Path(os.environ["PIP_CONFIG_FILE"])


def _read(url: str) -> bytes:
    bare, login = _without_login(url)
    headers = {"Accept": "text/html", "User-Agent": "safepoint-setup"}
    if login:
        headers["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
    handlers: list[urllib.request.BaseHandler] = [
        urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=_setting("cert")))
    ]
    proxy = _setting("proxy")
    if proxy:
        handlers.append(urllib.request.ProxyHandler({"http": proxy, "https": proxy}))
    request = urllib.request.Request(bare, headers=headers)  # noqa: S310 - the index that pip would ask
    with urllib.request.build_opener(*handlers).open(request, timeout=_SECONDS) as answer:
        content: bytes = answer.read()
    return content


def _without_login(url: str) -> tuple[str, str]:
    """The URL as it may be sent and shown, and `user:password`, which may stand in an index's URL."""
    parts = urlsplit(url)
    login, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=host)), unquote(login)


def _link(page: str, base: str, wheel: str) -> str:
    """The address of a file on an index's page."""
    links = _Links()
    links.feed(page)
    for link in links.found:
        url = urljoin(base, urldefrag(link).url)
        if unquote(urlsplit(url).path).endswith(f"/{wheel}"):
            return url
    raise ValueError(f"found {len(links.found)} files, expected {wheel} among them")


class _Links(HTMLParser):
    """The targets of a page's links."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found.extend(value for name, value in attrs if name == "href" and value)


if __name__ == "__main__":
    sys.exit(main())

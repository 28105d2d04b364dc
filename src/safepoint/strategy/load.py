"""safepoint.toml → Strategy: found, read, and judged by `judge`, which alone knows pydantic.

Reads one file and nothing else, apart from what is remembered of it: no environment, no secret, no clock.
"""

from __future__ import annotations

from pathlib import Path

from safepoint import errors
from safepoint.strategy.memory import recall, remember
from safepoint.strategy.values import Strategy

FILE_NAME = "safepoint.toml"
_LONGEST = 1 << 24


def find_strategy(start: Path) -> Path:
    """The safepoint.toml of the folder `start` or its nearest parent; CF002 if there is none."""
    folder = start.absolute()
    for candidate in (folder, *folder.parents):
        if (candidate / FILE_NAME).is_file():
            return candidate / FILE_NAME
    raise errors.CF002.error(
        f"found no {FILE_NAME} in {folder} or above, expected one",
        hints=[
            errors.ask("is this the project's folder?"),
            errors.run('write one that fits your database: `safepoint init "$DATABASE_URL"`'),
        ],
    )


def load_strategy(path: Path, *, memory: Path | None = None) -> Strategy:
    """The strategy that the file states; CF002 if it cannot be read, CF001 with one line per mistake.

    In the folder `memory` it is remembered what was judged right, so that pydantic is imported for new texts alone.
    """
    text, place = _read(path), path.absolute()
    found = None if memory is None else recall(memory, text, place)
    if found is None:
        from safepoint.strategy.judge import parse_strategy  # noqa: PLC0415 - pydantic: as said above

        found = parse_strategy(text, place)
        if memory is not None:
            remember(memory, text, found)
    return found


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST + 1)
    except OSError as error:
        raise errors.CF002.error(
            f"found {(error.strerror or str(error)).lower()} at {path}, expected a readable file",
            hints=[errors.run('write one that fits your database: `safepoint init "$DATABASE_URL"`')],
        ) from error
    if len(content) > _LONGEST:
        raise errors.CF001.error(f"{path.name}:1:1: found more than {_LONGEST} bytes, expected a strategy")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise errors.CF001.error(
            f"{path.name}:{line}:1: found the byte 0x{content[error.start]:02x}, expected UTF-8 text",
            hints=[errors.ask("was the file saved in another encoding?")],
        ) from None

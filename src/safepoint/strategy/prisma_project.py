"""What a Prisma project says of itself, read from its files: never run, never evaluated.

Prisma 5 to 7: package.json's `prisma.schema`, else prisma/schema.prisma, else schema.prisma; a schema may be a folder
of .prisma files; migrations lie in a folder `migrations` beside the schema. From 7, prisma.config.* may move all of
it: it is a program, so it is reported, not believed. Source: Prisma's documentation, "Prisma schema" and "Config API".
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

_CONFIG_FILES = tuple(
    f"{stem}.{suffix}"
    for stem in ("prisma.config", ".config/prisma")
    for suffix in ("ts", "mts", "cts", "js", "mjs", "cjs")
)
_SCHEMA_PLACES = ("prisma/schema.prisma", "schema.prisma", "prisma/schema", "prisma")
_LOCK_FILE = "migration_lock.toml"
_COMMENT = re.compile(r'("(?:\\.|[^"\\\n])*")|//[^\n]*')
_DATASOURCE = re.compile(r"^\s*datasource\s+\w+\s*\{(?P<body>[^}]*)\}", re.MULTILINE)
_SETTING = re.compile(
    r'^\s*(?P<name>\w+)\s*=\s*(?:env\(\s*"(?P<variable>[^"]+)"\s*\)|"(?P<literal>[^"]*)")', re.MULTILINE
)
_LOCK_PROVIDER = re.compile(r'^provider\s*=\s*"([^"]*)"', re.MULTILINE)
_DEEPEST = 4
_NEVER_ENTERED = frozenset({"node_modules", "dist", "build", "target", "venv"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PrismaProject:
    """What was found under `root`; None or empty where nothing was. Paths are absolute, URLs never kept.

    `url_variable` and `direct_url_variable` name environment variables. `migrations` has a migration_lock.toml or at
    least one `*/migration.sql`. `notes` are sentences about what was seen and not used.
    """

    root: Path
    schema: Path | None = None
    provider: str | None = None
    url_variable: str | None = None
    direct_url_variable: str | None = None
    migrations: Path | None = None
    notes: tuple[str, ...] = ()


def read_prisma_project(root: Path) -> PrismaProject | None:
    """The Prisma project in the folder `root`; None if nothing there is Prisma's."""
    root = root.absolute()
    schema = _schema(root)
    config = next((root / name for name in _CONFIG_FILES if (root / name).is_file()), None)
    found = _migration_folders(root)
    beside = _beside(schema)
    migrations = beside if beside in found else next(iter(found), None)
    if schema is None and config is None and migrations is None:
        return None
    settings = _datasource(schema) if schema else {}
    provider = settings.get("provider")
    return PrismaProject(
        root=root,
        schema=schema,
        provider=(provider.literal if provider else None) or _locked_provider(migrations),
        url_variable=settings["url"].variable if "url" in settings else None,
        direct_url_variable=settings["directUrl"].variable if "directUrl" in settings else None,
        migrations=migrations,
        notes=tuple(_notes(root, settings, config, migrations, found)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Setting:
    """`env("NAME")` or a literal."""

    variable: str | None
    literal: str | None


def _schema(root: Path) -> Path | None:
    """The schema file, or the folder of schema files."""
    named = _schema_in_package(root)
    places = [root / named] if named else [root / place for place in _SCHEMA_PLACES]
    return next((place for place in places if any(_schema_files(place))), None)


def _schema_in_package(root: Path) -> str | None:
    """package.json's `prisma.schema`; None where it says nothing, or cannot be read as JSON."""
    try:
        package: Any = json.loads((root / "package.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    section = cast("dict[str, Any]", package).get("prisma") if isinstance(package, dict) else None
    schema = cast("dict[str, Any]", section).get("schema") if isinstance(section, dict) else None
    return schema if isinstance(schema, str) else None


def _schema_files(place: Path) -> Iterator[Path]:
    if place.is_file():
        yield place
    elif place.is_dir():
        yield from sorted(place.glob("*.prisma"))


def _datasource(schema: Path) -> dict[str, _Setting]:
    """The settings of the first datasource block; comments are none."""
    for file in _schema_files(schema):
        text = _COMMENT.sub(lambda match: match[1] or "", file.read_text("utf-8", errors="replace"))
        if block := _DATASOURCE.search(text):
            return {
                match["name"]: _Setting(variable=match["variable"], literal=match["literal"])
                for match in _SETTING.finditer(block["body"])
            }
    return {}


def _beside(schema: Path | None) -> Path | None:
    if schema is None:
        return None
    return (schema if schema.is_dir() else schema.parent) / "migrations"


def _migration_folders(root: Path) -> tuple[Path, ...]:
    """Folders that hold migrations, those nearest to the root first."""
    found: list[Path] = []
    for text, folders, files in os.walk(root):
        folder = Path(text)
        depth = len(folder.relative_to(root).parts)
        if _LOCK_FILE in files or (folder.name == "migrations" and any(folder.glob("*/migration.sql"))):
            found.append(folder)
            folders.clear()
        elif depth == _DEEPEST:
            folders.clear()
        folders[:] = sorted(name for name in folders if name not in _NEVER_ENTERED and not name.startswith("."))
    return tuple(sorted(found, key=lambda folder: (len(folder.parts), folder)))


def _locked_provider(migrations: Path | None) -> str | None:
    lock = migrations / _LOCK_FILE if migrations else None
    if lock is None or not lock.is_file():
        return None
    match = _LOCK_PROVIDER.search(lock.read_text("utf-8", errors="replace"))
    return match[1] if match else None


def _notes(
    root: Path, settings: dict[str, _Setting], config: Path | None, migrations: Path | None, found: tuple[Path, ...]
) -> Iterator[str]:
    if config:
        yield f"{config.relative_to(root)} was found and not evaluated: what it moves or sets is not known here"
    for name in ("url", "directUrl"):
        if name in settings and settings[name].literal is not None:
            yield f"the schema's {name} is a literal, expected env(…): a literal is not taken over"
    for other in found:
        if other != migrations:
            yield f"{other.relative_to(root)} holds migrations too"
    if migrations and any(migrations.glob("*/migration.json")):
        yield f"{migrations.relative_to(root)} holds migration.json files: the format of Prisma 8 is not understood"

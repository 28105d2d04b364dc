"""The shape of the strategy file: which table may hold which key, and of which kind. The only door to pydantic.

`validated` finds every mistake of shape in one pass; what one key says about another is `consistency`'s business.
Each field's description is what the report says it expected.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, time, timedelta
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from safepoint.strategy import kinds
from safepoint.strategy.mistakes import Finding
from safepoint.strategy.positions import KeyPath
from safepoint.strategy.schedule import schedule
from safepoint.strategy.values import (
    BackupKind,
    ContractTrigger,
    DrillTarget,
    Platform,
    Recover,
    Reference,
    RepositoryMode,
    Schedule,
    Unrepresentable,
)

_E = TypeVar("_E", bound=Enum)
_HIGHEST_COMPRESSION = 19  # of zstd without its memory-hungry levels
_MOST_WAITERS = 10_000
_LONGEST_SHOWN = 10**15


def shown(value: object) -> str:
    """The TOML type of a value, for a report: never the value."""
    types: tuple[tuple[type | tuple[type, ...], str], ...] = (
        (bool, "a boolean"),
        (str, "a string"),
        (int, "an integer"),
        (float, "a float"),
        ((date, time), "a date or time"),
        (list, "an array"),
    )
    return next((text for kind, text in types if isinstance(value, kind)), "a table")


def _number_shown(value: object) -> str:
    """`the integer 35`, for a value that is no secret; the type alone for what is no number, or too long a one."""
    if isinstance(value, int | float) and abs(value) < _LONGEST_SHOWN:
        return f"the {shown(value).split()[-1]} {str(value).lower()}"
    return shown(value)


def _wrong(message: str) -> PydanticCustomError:
    return PydanticCustomError("kind", "{message}", {"message": message})


def _text(parse: Callable[[str], object], expected: str, *, may_be_secret: bool = False) -> PlainValidator:
    """A string that `parse` understands."""

    def validate(value: object) -> object:
        if not isinstance(value, str):
            found = shown(value) if may_be_secret else _number_shown(value)
            raise _wrong(f"found {found}, expected {expected}")
        if "\0" in value:
            raise _wrong(f"found a text with a NUL character, expected {expected}")
        try:
            return parse(value)
        except ValueError as error:
            raise _wrong(str(error)) from None

    return PlainValidator(validate)


def _choice(kind: type[_E]) -> PlainValidator:
    """One of the words of a closed set."""
    words = [str(member.value) for member in kind]
    expected = " or ".join(f'"{word}"' for word in words) if len(words) > 1 else f'"{words[0]}"'

    def parse(text: str) -> _E:
        if text in words:
            return kind(text)
        close = get_close_matches(text, words, n=1)
        question = f'; did you mean "{close[0]}"?' if close else ""
        raise ValueError(f"found {kinds.quoted(text)}, expected {expected}{question}")

    return _text(parse, expected)


def _whole_number(least: int, most: int, example: int) -> PlainValidator:
    def check(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise _wrong(f"found {_number_shown(value)}, expected a whole number like {example}")
        if not least <= value <= most:
            raise _wrong(f"found {_number_shown(value)}, expected a whole number from {least} to {most}")
        return value

    return PlainValidator(check)


def _one_or_more(value: object) -> object:
    return [value] if isinstance(value, str) else value


_DURATION = "a duration like 15m, 1h or 30d"
_Duration = Annotated[timedelta, _text(kinds.duration, _DURATION)]
_PositiveDuration = Annotated[timedelta, _text(kinds.positive_duration, _DURATION)]
_CanaryDuration = Annotated[timedelta, _text(kinds.canary_duration, "a duration of at least 1s, like 10s")]
_Size = Annotated[int, _text(kinds.size, kinds.SIZE)]
_Connection = Annotated[Reference, _text(kinds.connection_url, kinds.CONNECTION, may_be_secret=True)]
_RepositoryUrl = Annotated[Reference, _text(kinds.repository_url, kinds.REPOSITORY_URL, may_be_secret=True)]
_Key = Annotated[
    Reference | None, _text(kinds.key, f'{kinds.REFERENCE}, or "none" to store unencrypted', may_be_secret=True)
]
_Api = Annotated[Reference, _text(kinds.api_url, 'a URL like "http://host:8008"', may_be_secret=True)]
_Channel = Annotated[Reference, _text(kinds.channel, kinds.CHANNEL, may_be_secret=True)]
_Text = Annotated[str, _text(kinds.sentence, "a string")]
_Path = Annotated[Path, _text(lambda text: Path(kinds.sentence(text)), 'a folder like "prisma/migrations"')]
_AbsolutePath = Annotated[Path, _text(kinds.absolute_path, "an absolute path")]
_Schedule = Annotated[Schedule, _text(schedule, 'five cron fields like "0 2 * * *"')]
_Names = Annotated[list[_Text], BeforeValidator(_one_or_more)]


class Table(BaseModel):
    """A table that holds the keys it declares and no others."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class MigrationsTable(Table):
    """[database.NAME.migrations.APPLICATION]."""

    folder: _Path = Field(description='a folder like "prisma/migrations"')
    schema_: _Text = Field(default="public", alias="schema")


class DatabaseTable(Table):
    """[database.NAME]."""

    url: _Connection = Field(description=kinds.CONNECTION)
    direct_url: _Connection | None = None
    platform: Annotated[Platform, _choice(Platform)] | None = None
    data: _AbsolutePath | None = None
    replica: _Connection | None = None
    of: _Text | None = None
    instance: _Text | None = None
    region: _Text | None = None
    api: Annotated[list[_Api], BeforeValidator(_one_or_more)] = Field(default=[], description="an array of URLs")
    migrations: dict[str, MigrationsTable] = {}


class RepositoryTable(Table):
    """[repository.NAME]."""

    url: _RepositoryUrl = Field(description=kinds.REPOSITORY_URL)
    key: _Key = Field(description=f'{kinds.REFERENCE}, or "none" to store unencrypted')
    sibling_of: _Text | None = None
    mode: Annotated[RepositoryMode, _choice(RepositoryMode)] = RepositoryMode.REQUIRED


class WalTable(Table):
    """[wal.DATABASE]."""

    keep: _PositiveDuration = Field(description=_DURATION)
    repository: _Names = Field(default=[], description="the name of a repository, or an array of names")
    canary: _CanaryDuration | None = None
    slot_limit: _Size | None = None


class TierTable(Table):
    """[tier.NAME]."""

    keep: _PositiveDuration = Field(description=_DURATION)
    kind: Annotated[BackupKind, _choice(BackupKind)] = BackupKind.PHYSICAL
    schedule: _Schedule | None = None
    compression: Annotated[int, _whole_number(1, _HIGHEST_COMPRESSION, example=3)] = 1
    repository: _Names = Field(default=[], description="the name of a repository, or an array of names")


class DrillTable(Table):
    """[drill.NAME]."""

    schedule: _Schedule | None = None
    target: Annotated[DrillTarget, _choice(DrillTarget)] = DrillTarget.RANDOM_SECOND
    queries: list[_Text] = Field(default=[], description="an array of SQL queries")


class ScenarioTable(Table):
    """[scenario.NAME]."""

    rto: _PositiveDuration = Field(description=_DURATION)
    rpo: _Duration = Field(description=_DURATION)
    recover: Annotated[Recover, _choice(Recover)] = Field(
        description=" or ".join(f'"{member.value}"' for member in Recover)
    )


class MigrateTable(Table):
    """[migrate]; None where the file says nothing."""

    lock_timeout: _PositiveDuration | None = None
    lock_total: _PositiveDuration | None = None
    max_waiters: Annotated[int, _whole_number(0, _MOST_WAITERS, example=5)] | None = None
    soak: _Duration | None = None
    contract: Annotated[ContractTrigger, _choice(ContractTrigger)] | None = None
    unrepresentable: Annotated[Unrepresentable, _choice(Unrepresentable)] | None = None


class NotifyTable(Table):
    """[notify]."""

    success: list[_Channel] = Field(default=[], description="an array of channels")
    failure: list[_Channel] = Field(default=[], description="an array of channels")


class FileTable(Table):
    """The whole file."""

    database: dict[str, DatabaseTable] = {}
    repository: dict[str, RepositoryTable] = {}
    wal: dict[str, WalTable] = {}
    tier: dict[str, TierTable] = {}
    drill: dict[str, DrillTable] = {}
    scenario: dict[str, ScenarioTable] = {}
    migrate: MigrateTable = MigrateTable()
    notify: NotifyTable = NotifyTable()


_TABLES: Mapping[tuple[str, ...], type[Table]] = {
    (): FileTable,
    ("database", "*"): DatabaseTable,
    ("database", "*", "migrations", "*"): MigrationsTable,
    ("repository", "*"): RepositoryTable,
    ("wal", "*"): WalTable,
    ("tier", "*"): TierTable,
    ("drill", "*"): DrillTable,
    ("scenario", "*"): ScenarioTable,
    ("migrate",): MigrateTable,
    ("notify",): NotifyTable,
}


def validated(raw: Mapping[str, Any]) -> tuple[FileTable | None, tuple[Finding, ...]]:
    """The file as tables if its shape is right, and every mistake of shape if it is not."""
    try:
        return FileTable.model_validate(raw), ()
    except ValidationError as error:
        details = error.errors(include_url=False)
    suggested = {(*detail["loc"][:-1], close) for detail in details if (close := _suggestion(detail))}
    return None, tuple(
        _finding(detail) for detail in details if detail["type"] != "missing" or detail["loc"] not in suggested
    )


def _suggestion(detail: ErrorDetails) -> str | None:
    """The key that an unknown one was probably meant to be."""
    if detail["type"] != "extra_forbidden":
        return None
    close = get_close_matches(str(detail["loc"][-1]), _fields(detail["loc"][:-1]), n=1)
    return close[0] if close else None


def _fields(table: KeyPath) -> dict[str, str]:
    """The keys that a table may hold, each with what is expected there."""
    pattern = tuple("*" if index % 2 else str(part) for index, part in enumerate(table))
    fields = _TABLES[pattern].model_fields
    return {field.alias or name: field.description or "a table" for name, field in fields.items()}


def _finding(detail: ErrorDetails) -> Finding:
    path = detail["loc"]
    match detail["type"]:
        case "extra_forbidden":
            close = _suggestion(detail)
            question = f'; did you mean "{close}"?' if close else ""
            text = f"found an unknown key, expected one of {', '.join(_fields(path[:-1]))}{question}"
            return Finding(path=path, text=text, at_key=True)
        case "missing":
            return Finding(path=path, text=f"found nothing, expected {_fields(path[:-1])[str(path[-1])]}")
        case "list_type":
            text = f"found {shown(detail['input'])}, expected {_fields(path[:-1])[str(path[-1])]}"
            return Finding(path=path, text=text)
        case "kind":
            return Finding(path=path, text=cast("str", detail.get("ctx", {})["message"]))
        case _:
            return Finding(path=path, text=f"found {shown(detail['input'])}, expected a table")

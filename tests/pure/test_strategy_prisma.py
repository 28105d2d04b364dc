"""What is read from a Prisma project's files."""

from __future__ import annotations

from pathlib import Path

import pytest

from safepoint.strategy import read_prisma_project

EXAMPLE = Path(__file__).parents[2] / "examples/vivr"
SCHEMA = 'datasource db {\n  provider = "postgresql"\n  url = env("DATABASE_URL")\n}\n'


def write(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_the_shop_is_a_prisma_project() -> None:
    """Schema, migrations, provider and both variables of the example."""
    project = read_prisma_project(EXAMPLE)
    assert project is not None
    assert project.schema == EXAMPLE / "prisma/schema.prisma"
    assert project.migrations == EXAMPLE / "prisma/migrations"
    assert (project.provider, project.url_variable, project.direct_url_variable) == (
        "postgresql",
        "DATABASE_URL",
        "DIRECT_URL",
    )
    assert project.notes == ()


@pytest.mark.parametrize("files", [[], ["package.json"], ["prisma/readme.md"], ["migrations/001.sql"]])
def test_a_folder_without_prisma_is_no_project(tmp_path: Path, files: list[str]) -> None:
    """None, not an empty project."""
    for name in files:
        write(tmp_path / name)
    assert read_prisma_project(tmp_path) is None


@pytest.mark.parametrize(
    ("package", "schema"),
    [
        (None, "prisma/schema.prisma"),
        (None, "schema.prisma"),
        (None, "prisma/schema/main.prisma"),
        ('{"prisma": {"schema": "db/shop.prisma"}}', "db/shop.prisma"),
        ('{"prisma": {"schema": "db"}}', "db/main.prisma"),
        ('{"prisma": {"seed": "x"}}', "prisma/schema.prisma"),
        ('{"prisma": 5}', "prisma/schema.prisma"),
        ("[]", "prisma/schema.prisma"),
        ("{broken", "prisma/schema.prisma"),
    ],
)
def test_the_schema_is_found_where_prisma_looks(tmp_path: Path, package: str | None, schema: str) -> None:
    """package.json first, then the usual places; a folder of schema files counts."""
    if package is not None:
        write(tmp_path / "package.json", package)
    path = write(tmp_path / schema, SCHEMA)
    lock = write(path.parent / "migrations/migration_lock.toml", 'provider = "postgresql"\n')
    project = read_prisma_project(tmp_path)
    assert project is not None
    assert project.schema in {path, path.parent}
    assert project.url_variable == "DATABASE_URL"
    assert project.migrations == lock.parent


def test_a_schema_that_package_json_names_and_is_not_there(tmp_path: Path) -> None:
    """No other schema is taken in its place."""
    write(tmp_path / "package.json", '{"prisma": {"schema": "gone.prisma"}}')
    write(tmp_path / "prisma/schema.prisma", SCHEMA)
    assert read_prisma_project(tmp_path) is None


def test_comments_of_the_schema_say_nothing(tmp_path: Path) -> None:
    """A commented line is not read, a URL with two slashes is no comment."""
    write(
        tmp_path / "schema.prisma",
        '// datasource old { url = env("OLD") }\n'
        "model A {\n  id Int @id\n}\n"
        'datasource db {\n  provider = "postgresql" // url = env("ALSO_OLD")\n  directUrl = "postgresql://h/db"\n'
        '  //url = env("OLDER")\n  url=env( "NEW" )\n}\n',
    )
    project = read_prisma_project(tmp_path)
    assert project is not None
    assert (project.url_variable, project.direct_url_variable) == ("NEW", None)
    assert project.notes == ("the schema's directUrl is a literal, expected env(…): a literal is not taken over",)


def test_a_schema_without_a_datasource(tmp_path: Path) -> None:
    """From Prisma 7 the URL may stand elsewhere: the variable is unknown, the lock file names the provider."""
    write(tmp_path / "prisma/schema.prisma", "model A {\n  id Int @id\n}\n")
    write(tmp_path / "prisma/migrations/migration_lock.toml", '# provider = "x"\nprovider = "mysql"\n')
    write(tmp_path / "prisma.config.ts", "export default {}")
    project = read_prisma_project(tmp_path)
    assert project is not None
    assert (project.provider, project.url_variable) == ("mysql", None)
    assert project.notes == ("prisma.config.ts was found and not evaluated: what it moves or sets is not known here",)


@pytest.mark.parametrize("name", ["prisma.config.mjs", ".config/prisma.ts"])
def test_a_config_file_alone_is_a_project(tmp_path: Path, name: str) -> None:
    """Found and said, though nothing is known of it."""
    write(tmp_path / name)
    project = read_prisma_project(tmp_path)
    assert project is not None
    assert (project.schema, project.migrations, project.provider) == (None, None, None)
    assert name in project.notes[0]


def test_migrations_are_found_elsewhere_too(tmp_path: Path) -> None:
    """The nearest folder with migrations where none lies beside the schema; others are named, dependencies skipped."""
    write(tmp_path / "schema.prisma", SCHEMA)
    write(tmp_path / "packages/db/migrations/001_init/migration.sql")
    write(tmp_path / "packages/a/b/history/migration_lock.toml", "")
    write(tmp_path / "node_modules/x/migrations/migration_lock.toml")
    write(tmp_path / "a/b/c/d/e/migrations/migration_lock.toml")
    project = read_prisma_project(tmp_path)
    assert project is not None
    assert project.migrations == tmp_path / "packages/db/migrations"
    assert project.notes == ("packages/a/b/history holds migrations too",)


def test_a_lock_file_without_a_provider(tmp_path: Path) -> None:
    """The provider is unknown, not guessed."""
    write(tmp_path / "history/migration_lock.toml", "")
    project = read_prisma_project(tmp_path)
    assert project is not None
    assert project.provider is None


def test_the_format_of_prisma_8_is_told(tmp_path: Path) -> None:
    """migration.json is another format altogether."""
    write(tmp_path / "prisma/migrations/migration_lock.toml", 'provider = "postgresql"\n')
    write(tmp_path / "prisma/migrations/001/migration.json", "{}")
    project = read_prisma_project(tmp_path)
    assert project is not None
    assert "Prisma 8" in project.notes[0]

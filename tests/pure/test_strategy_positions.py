"""The scan for positions, against tomllib's own key set and against a writer that knows where it wrote what."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from safepoint.strategy.positions import KeyPath, Position, positions_of

RELAXED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no failure
_BLANKS = st.sampled_from(["", " ", "\t", "  "])
_GAPS = st.sampled_from(["", " ", "\n", "\n\n  ", " # a ] } , \" ''' [comment\n", "\t# key = 1\n"])
_BARE_KEYS = st.text("abzAZ09_-", min_size=1, max_size=4)
_QUOTED_KEYS = st.sampled_from(['"a.b"', "'c = d'", '"\\u00e9\\"]"', "''", '"#"', "'\"'"])
_SCALARS = st.sampled_from(
    [
        "1",
        "-2.5e3",
        "true",
        "1979-05-27 07:32:00",
        "07:32:00",
        '"plain"',
        '"esc \\" ] } , # \\\\"',
        "'lit # [ \"'",
        '"""multi\nline = 3\n[table]\n""two"" \\""""',
        '""""quoted""""',
        '"""ends in two"""""',
        "'''raw\n# ] '' \\'''",
        "''''one'''''",
        '""',
        "''",
        '""""""',
        "inf",
        "0xff",
    ]
)
_FRAGMENTS = st.sampled_from(
    [
        *"[]{}=.,#'\"\n\\ab1 \t",
        "a = 1\n",
        "[a]\n",
        "[[a]]\n",
        '"""',
        "'''",
        "a.b = [",
        "a = {b = 1",
        "a = 1\na = 1\n",
        "[a]\nb = 1\n[a]\n",
        "é",
        '"\\q" = 1',
    ]
)


@dataclass
class _Writer:
    """Writes TOML and remembers where."""

    text: str = ""
    keys: dict[KeyPath, Position] = field(default_factory=dict[KeyPath, Position])
    values: dict[KeyPath, Position] = field(default_factory=dict[KeyPath, Position])

    def position(self) -> Position:
        return Position(self.text.count("\n") + 1, len(self.text) - self.text.rfind("\n"))

    def put(self, text: str) -> None:
        self.text += text


@st.composite
def _documents(draw: st.DrawFn) -> _Writer:
    """A document of top-level pairs, tables, arrays of tables, dotted and quoted keys, nested values."""
    writer = _Writer()
    _write_pairs(draw, writer, (), 3)
    for index in range(draw(st.integers(0, 3))):
        writer.put(draw(_GAPS) + "\n")
        name = f"{draw(_BARE_KEYS)}~{index}"
        if draw(st.booleans()):
            _write_tables(draw, writer, name)
        else:
            for item in range(draw(st.integers(1, 2))):
                _write_item(draw, writer, name, item)
    return writer


def _write_tables(draw: st.DrawFn, writer: _Writer, name: str) -> None:
    """`[name.sub]`, then perhaps `[name]` itself, which may come later."""
    writer.put("[" + draw(_BLANKS))
    writer.keys[name,] = writer.values[name,] = writer.position()
    writer.put(f'"{name}"' + draw(_BLANKS) + "." + draw(_BLANKS))
    writer.keys[name, "sub"] = writer.values[name, "sub"] = writer.position()
    writer.put("sub" + draw(_BLANKS) + "]" + draw(_BLANKS) + "\n")
    _write_pairs(draw, writer, (name, "sub"), 2)
    if draw(st.booleans()):
        writer.put("\n[")
        writer.keys[name,] = writer.values[name,] = writer.position()
        writer.put(f"'{name}'] # again, in its own right\n")
        _write_pairs(draw, writer, (name,), 2, taken={"sub"})


def _write_item(draw: st.DrawFn, writer: _Writer, name: str, index: int) -> None:
    """`[[name]]` with pairs, and a table inside the item."""
    writer.put("\n[[" + draw(_BLANKS))
    here = writer.position()
    writer.keys.setdefault((name,), here)
    writer.values.setdefault((name,), here)
    writer.keys[name, index] = writer.values[name, index] = here
    writer.put(f'"{name}"]]\n')
    _write_pairs(draw, writer, (name, index), 2, taken={"sub"})
    writer.put(f'\n["{name}".')
    writer.keys[name, index, "sub"] = writer.values[name, index, "sub"] = writer.position()
    writer.put("sub]\n")
    _write_pairs(draw, writer, (name, index, "sub"), 1)


def _write_pairs(draw: st.DrawFn, writer: _Writer, path: KeyPath, most: int, taken: set[str] | None = None) -> None:
    for _ in range(draw(st.integers(0, most))):
        writer.put(draw(_BLANKS))
        if _write_pair(draw, writer, path, taken := taken or set(), 2):
            writer.put(draw(_BLANKS) + draw(st.sampled_from(["\n", " # comment = 1\n", "\r\n"])))


def _write_pair(draw: st.DrawFn, writer: _Writer, path: KeyPath, taken: set[str], depth: int) -> bool:
    tokens = draw(st.lists(_BARE_KEYS | _QUOTED_KEYS, min_size=1, max_size=3))
    names = [cast("str", next(iter(tomllib.loads(f"{token} = 1")))) for token in tokens]
    if names[0] in taken:
        return False
    taken.add(names[0])
    for index, (token, name) in enumerate(zip(tokens, names, strict=True)):
        path = (*path, name)
        writer.keys[path] = writer.values[path] = writer.position()
        writer.put(token + draw(_BLANKS) + ("." + draw(_BLANKS) if index < len(tokens) - 1 else ""))
    writer.put("=" + draw(_BLANKS))
    _write_value(draw, writer, path, depth)
    return True


def _write_value(draw: st.DrawFn, writer: _Writer, path: KeyPath, depth: int) -> None:
    writer.values[path] = writer.position()
    kind = draw(st.sampled_from(["scalar", "array", "table"])) if depth else "scalar"
    if kind == "scalar":
        writer.put(draw(_SCALARS))
    elif kind == "array":
        _write_array(draw, writer, path, depth)
    else:
        writer.put("{" + draw(_BLANKS))
        taken: set[str] = set()
        for index in range(draw(st.integers(0, 2))):
            before = writer.text
            writer.put(("," if index and taken else "") + draw(_BLANKS))
            if not _write_pair(draw, writer, path, taken, depth - 1):
                writer.text = before
        writer.put(draw(_BLANKS) + "}")


def _write_array(draw: st.DrawFn, writer: _Writer, path: KeyPath, depth: int) -> None:
    writer.put("[" + draw(_GAPS))
    length = draw(st.integers(0, 3))
    for index in range(length):
        writer.keys[*path, index] = writer.position()
        _write_value(draw, writer, (*path, index), depth - 1)
        writer.put(draw(_GAPS) + ("," if index < length - 1 or draw(st.booleans()) else "") + draw(_GAPS))
    writer.put("]")


def _paths(value: object, path: KeyPath = ()) -> Iterator[KeyPath]:
    items: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        items = list(cast("dict[str, Any]", value).items())
    elif isinstance(value, list):
        items = list(enumerate(cast("list[Any]", value)))
    for name, inner in items:
        yield (*path, name)
        yield from _paths(inner, (*path, name))


@RELAXED
@given(_documents())
def test_every_path_of_the_document_is_found_and_no_other(writer: _Writer) -> None:
    """The scan's paths are tomllib's paths."""
    found = positions_of(writer.text)
    assert set(found.keys) == set(found.values) == set(_paths(tomllib.loads(writer.text)))
    assert found.repeated == ()


@RELAXED
@given(_documents())
def test_every_key_and_value_is_found_where_it_was_written(writer: _Writer) -> None:
    """Lines and columns are those at which the writer stood."""
    found = positions_of(writer.text.replace("\r\n", "\n"))
    assert found.keys == writer.keys
    assert found.values == writer.values


@RELAXED
@given(st.lists(_FRAGMENTS, max_size=30).map("".join))
def test_any_text_at_all_is_scanned_to_an_end(text: str) -> None:
    """Text that is no TOML neither raises nor hangs; where tomllib takes it, the paths agree."""
    found = positions_of(text)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert set(found.keys) == set(_paths(document))
    assert found.repeated == ()


@pytest.mark.parametrize("text", ['a = 1\n"\\q" = 2\n', "a = 1\nb = " + "[" * 5000, "a = 1\n[b = ", "a = 1\n'b"])
def test_what_stands_before_the_trouble_is_kept(text: str) -> None:
    """A bad escape, a bottomless array, a header or key without an end: the scan is lost, its finds are not."""
    assert positions_of(text).keys["a",] == Position(1, 1)


def test_columns_count_characters_and_lines_survive_windows() -> None:
    """A carriage return is part of the line end, and é is one column."""
    found = positions_of('a = "é" # ü\r\n"é".b = [1,\r\n  2]\r\n')
    assert found.keys["é",] == Position(2, 1)
    assert found.keys["é", "b"] == Position(2, 5)
    assert found.values["é", "b", 1] == Position(3, 3)


def test_the_nearest_ancestor_answers_for_what_is_not_there() -> None:
    """A key that is missing is reported at its table; an empty text at its start."""
    found = positions_of("\n[a.b]\nc = 1\n")
    assert found.of_value(("a", "b", "missing", 0)) == Position(2, 4)
    assert found.of_key(("x",)) == found.of_value(()) == Position(1, 1)


@pytest.mark.parametrize(
    ("text", "path", "second", "first"),
    [
        ("a = 1\na = 2\n", ("a",), Position(2, 1), Position(1, 1)),
        ("[a]\nb.c = 1\n[x]\n[a]\n", ("a",), Position(4, 2), Position(1, 2)),
        ("x = {a = 1, a = 2}", ("x", "a"), Position(1, 13), Position(1, 6)),
    ],
)
def test_what_is_said_twice_is_known_with_both_places(
    text: str, path: KeyPath, second: Position, first: Position
) -> None:
    """tomllib stops at the first repetition and does not say where the first one stands."""
    (repeated,) = positions_of(text).repeated
    assert (repeated.path, repeated.position, repeated.first) == (path, second, first)

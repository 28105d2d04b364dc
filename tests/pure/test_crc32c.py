"""CRC32C: what others compute, whatever the lengths and the cuts, and the same by instruction, by tables, in numpy."""

from __future__ import annotations

import random
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hatch_build import compile_kernel
from hypothesis import given, settings
from hypothesis import strategies as st

from safepoint import kernel
from safepoint.kernel import compiled, crc32c, crc32c_combine, plain
from safepoint.kernel.shapes import Functions

_SOURCE = Path(compiled.__file__).with_name("kernel.c")
_DISPATCH = "    if (has_instruction())\n"
_SAMPLE = random.Random(5).randbytes(400_000)
_LENGTHS = (*range(26), 1023, 1024, 1025, 2047, 6143, 6144, 6145, 8192, 49_151, 49_152, 49_153, 65_536, 300_001)

_KNOWN = [
    (b"", 0x00000000),
    (b"123456789", 0xE3069283),
    # RFC 3720, appendix B.4.
    (bytes(32), 0x8A9136AA),
    (b"\xff" * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E),
    (bytes(range(31, -1, -1)), 0x113FDB5C),
]

needs_compiler = pytest.mark.skipif(
    shutil.which("cc") is None, reason="no C compiler; enable with: apt-get install gcc libc6-dev"
)


@pytest.fixture(scope="module")
def with_instruction(tmp_path_factory: pytest.TempPathFactory) -> Functions:
    """What this processor runs."""
    return _compiled(_SOURCE.read_text(), tmp_path_factory.mktemp("instruction"))


@pytest.fixture(scope="module")
def with_tables(tmp_path_factory: pytest.TempPathFactory) -> Functions:
    """What a processor without the instruction runs."""
    source = _SOURCE.read_text()
    assert source.count(_DISPATCH) == 1
    return _compiled(source.replace(_DISPATCH, "    if (0)\n"), tmp_path_factory.mktemp("tables"))


def _compiled(source: str, directory: Path) -> Functions:
    (directory / "kernel.c").write_text(source)
    assert compile_kernel(directory / compiled.LIBRARY.name)
    functions = compiled.load(directory / compiled.LIBRARY.name)
    assert functions is not None
    return functions


@pytest.fixture(
    params=[
        pytest.param("", id="numpy"),
        pytest.param("with_instruction", id="C", marks=needs_compiler),
        pytest.param("with_tables", id="C-with-tables", marks=needs_compiler),
    ]
)
def functions(request: pytest.FixtureRequest) -> Functions:
    """Each implementation in turn."""
    return request.getfixturevalue(request.param) if request.param else plain.FUNCTIONS


@pytest.mark.parametrize(("content", "expected"), _KNOWN, ids=[f"{value:08x}" for _, value in _KNOWN])
def test_known_answers(functions: Functions, content: bytes, expected: int) -> None:
    """As published."""
    assert functions.crc32c(np.frombuffer(content, np.uint8), 0) == expected


@pytest.mark.parametrize("length", _LENGTHS)
def test_all_lengths_agree_with_the_definition(functions: Functions, length: int) -> None:
    """Around every place where the way of computing changes, at any address, from any value before."""
    part = np.frombuffer(_SAMPLE, np.uint8)[3 : 3 + length]

    assert functions.crc32c(part, 0xDEADBEEF) == _by_definition(part.tobytes(), 0xDEADBEEF)


def _by_definition(content: bytes, before: int) -> int:
    """Bit by bit where that is bearable, else through the bytes of a table made bit by bit."""
    remainder = before ^ 0xFFFFFFFF
    for byte in content:
        remainder = _TABLE[(remainder ^ byte) & 0xFF] ^ remainder >> 8
    return remainder ^ 0xFFFFFFFF


def _entry(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_TABLE = [_entry(byte) for byte in range(256)]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 20_000), st.integers(0, 20_000), st.integers(0, 0xFFFFFFFF))
def test_parts_make_the_whole(first: int, second: int, before: int) -> None:
    """One after another or put together: the same, in every implementation at hand."""
    left, right = _SAMPLE[:first], _SAMPLE[first : first + second]
    whole = crc32c(left + right, before)

    assert crc32c(right, crc32c(left, before)) == whole
    assert crc32c_combine(crc32c(left, before), crc32c(right), second) == whole
    assert plain.FUNCTIONS.crc32c(np.frombuffer(left + right, np.uint8), before) == whole
    assert plain.FUNCTIONS.crc32c_combine(crc32c(left, before), crc32c(right), second) == whole


def test_combining_holds_for_lengths_of_any_size(functions: Functions) -> None:
    """What a million times a million zero bytes do, in steps and at once."""
    at_once = functions.crc32c_combine(0x12345678, 0, 10**12)
    in_steps = 0x12345678
    for _ in range(10):
        in_steps = functions.crc32c_combine(in_steps, 0, 10**11)

    assert at_once == in_steps
    assert functions.crc32c_combine(0x12345678, 99, 0) == 0x12345678 ^ 99
    assert functions.crc32c_combine(1, 2, (1 << 63) - 1) == plain.FUNCTIONS.crc32c_combine(1, 2, (1 << 63) - 1)


@pytest.mark.parametrize(
    "arguments", [(-1, 0, 0), (1 << 32, 0, 0), (0, -1, 0), (0, 1 << 32, 0), (0, 0, -1), (0, 0, 1 << 63)]
)
def test_numbers_that_are_none_are_refused(arguments: tuple[int, int, int]) -> None:
    """Nothing is cut to 32 or 64 bits without a word."""
    with pytest.raises(ValueError, match="found"):
        crc32c_combine(*arguments)


@pytest.mark.parametrize("value", [-1, 1 << 32])
def test_a_value_before_that_is_none_is_refused(value: int) -> None:
    """As above."""
    with pytest.raises(ValueError, match="found CRC32C"):
        crc32c(b"", value)


def test_any_buffer_and_any_number_of_threads() -> None:
    """Read-only or not, cut out of another."""
    expected = crc32c(_SAMPLE[1:])
    buffers = [memoryview(_SAMPLE)[1:], bytearray(_SAMPLE[1:]), _SAMPLE[1:]] * 20

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(kernel.crc32c, buffers)) == {expected}

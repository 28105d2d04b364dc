"""Page checksums and fingerprints: what they are by definition, and the same in C and in numpy."""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hatch_build import compile_kernel
from hypothesis import example, given, settings
from hypothesis import strategies as st

from safepoint import kernel
from safepoint.kernel import FINGERPRINT_KEY_BYTES, PAGE_BYTES, compiled, plain
from safepoint.kernel.shapes import Functions

_KEYS = random.Random(7).randbytes(FINGERPRINT_KEY_BYTES)
_KNOWN_CHECKSUMS = [59144, 59145]
_KNOWN_FINGERPRINTS = [7016423470105717571, 5988064189986317804]
_BLOCKS = st.integers(0, (1 << 32) - 64)
_SOURCE = Path(compiled.__file__).with_name("kernel.c")
_CLONES = '__attribute__((target_clones("avx2", "default")))'
_COMPILER = shutil.which("cc")

needs_compiler = pytest.mark.skipif(
    _COMPILER is None, reason="no C compiler; enable with: apt-get install gcc libc6-dev"
)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library made from this very kernel.c."""
    return _compile(_SOURCE.read_text(), tmp_path_factory.mktemp("kernel"))


@pytest.fixture(scope="module")
def generic_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that runs what a processor without AVX2 runs."""
    source = _SOURCE.read_text()
    assert source.count(_CLONES) == 1
    return _compile(source.replace(_CLONES, ""), tmp_path_factory.mktemp("generic"))


def _compile(source: str, directory: Path) -> Path:
    (directory / "kernel.c").write_text(source)
    path = directory / compiled.LIBRARY.name
    assert compile_kernel(path)
    return path


def _load(path: Path) -> Functions:
    functions = compiled.load(path)
    assert functions is not None
    return functions


@pytest.fixture(
    params=[
        pytest.param("", id="numpy"),
        pytest.param("library", id="C", marks=needs_compiler),
        pytest.param("generic_library", id="C-without-AVX2", marks=needs_compiler),
    ]
)
def functions(request: pytest.FixtureRequest) -> Functions:
    """Each implementation in turn."""
    return _load(request.getfixturevalue(request.param)) if request.param else plain.FUNCTIONS


@pytest.fixture
def checksums(functions: Functions) -> Callable[[bytes, int], list[int]]:
    """`page_checksums` of one implementation, as numbers."""
    return lambda pages, first: functions.checksums(np.frombuffer(pages, np.uint8), first).tolist()


@pytest.fixture
def fingerprints(functions: Functions) -> Callable[..., list[int]]:
    """`page_fingerprints` of one implementation, as numbers."""

    def fingerprints_of(pages: bytes, keys: bytes = _KEYS) -> list[int]:
        return functions.fingerprints(np.frombuffer(pages, np.uint8), np.frombuffer(keys, np.uint8)).tolist()

    return fingerprints_of


def defined_checksum(page: bytes, block: int) -> int:
    """The definition, word by word: 32 FNV-1a sums side by side, each mixed with its own high bits."""
    words = list(struct.unpack("<2048I", page))
    words[2] &= 0xFFFF0000
    sums = [int(first) for first in plain._FIRST_SUMS]
    for position, word in enumerate(words + [0] * 64):
        both = sums[position % 32] ^ word
        sums[position % 32] = both * 16777619 % (1 << 32) ^ both >> 17
    folded = block
    for lane in sums:
        folded ^= lane
    return folded % 65535 + 1


def defined_fingerprint(page: bytes, keys: bytes) -> int:
    """The definition in Python's own integers."""
    words = struct.unpack("<2048I", page.ljust(PAGE_BYTES, b"\0"))
    numbers = struct.unpack("<4098Q", keys)
    rows = (numbers[:2049], numbers[2049:])
    first, second = (
        (row[0] + sum(key * word for key, word in zip(row[1:], words, strict=True))) % (1 << 64) >> 32 for row in rows
    )
    return first << 32 | second


def some_pages(seed: int, length: int) -> bytes:
    """Bytes of which some pages are random, some nothing but zeros, some nothing but ones."""
    source = random.Random(seed)
    kinds = (source.randbytes, lambda count: b"\0" * count, lambda count: b"\xff" * count)
    pages = b"".join(source.choice(kinds)(PAGE_BYTES) for _ in range(-(-length // PAGE_BYTES)))
    return pages[:length]


def test_checksums_are_what_the_algorithm_says(checksums: Callable[[bytes, int], list[int]]) -> None:
    """Both implementations give what the definition gives, for pages of all kinds and block numbers up to the last."""
    pages = some_pages(1, 12 * PAGE_BYTES)
    for first in (0, 131_072 * 3 - 6, (1 << 32) - 12):
        expected = [
            defined_checksum(pages[i * PAGE_BYTES : (i + 1) * PAGE_BYTES], first + i) for i in range(len(pages) // 8192)
        ]
        assert checksums(pages, first) == expected


def test_fingerprints_are_what_the_formula_says(fingerprints: Callable[..., list[int]]) -> None:
    """Both implementations give what the definition gives, with keys and words at their largest, and a short page."""
    for pages in (some_pages(2, 10 * PAGE_BYTES), some_pages(3, 9 * PAGE_BYTES + 5), b"\xff" * PAGE_BYTES, b"x"):
        for keys in (_KEYS, b"\xff" * FINGERPRINT_KEY_BYTES, bytes(FINGERPRINT_KEY_BYTES)):
            expected = [
                defined_fingerprint(pages[start : start + PAGE_BYTES], keys)
                for start in range(0, len(pages), PAGE_BYTES)
            ]
            assert fingerprints(pages, keys) == expected


def test_numbers_stay_what_they_were(
    checksums: Callable[[bytes, int], list[int]], fingerprints: Callable[..., list[int]]
) -> None:
    """Stored fingerprints outlive releases: these pages have had these numbers since the first one."""
    page = bytes(range(256)) * 32
    assert checksums(page * 2, 131_072) == _KNOWN_CHECKSUMS
    assert fingerprints(page + b"end", (bytes(range(1, 250)) * 132)[:FINGERPRINT_KEY_BYTES]) == _KNOWN_FINGERPRINTS


@needs_compiler
@given(st.integers(0), st.integers(0, 20 * PAGE_BYTES), _BLOCKS)
@example(0, 0, 0)
@example(1, 300 * PAGE_BYTES, 0)
@settings(max_examples=40, deadline=None)
def test_c_and_numpy_agree(library: Path, seed: int, length: int, first: int) -> None:
    """On any pages, many or none, and a short last page, C and numpy give the same numbers."""
    pages = np.frombuffer(some_pages(seed, length), np.uint8)
    keys = np.frombuffer(random.Random(seed).randbytes(FINGERPRINT_KEY_BYTES), np.uint8)
    whole = pages[: length - length % PAGE_BYTES]
    in_c, in_numpy = _load(library), plain.FUNCTIONS
    assert in_c.fingerprints(pages, keys).tolist() == in_numpy.fingerprints(pages, keys).tolist()
    assert in_c.checksums(whole, first).tolist() == in_numpy.checksums(whole, first).tolist()


def test_any_flipped_bit_changes_the_fingerprint(fingerprints: Callable[..., list[int]]) -> None:
    """Each bit of a word, words at both ends and in the middle: the page's fingerprint changes, no other does."""
    page = some_pages(5, 3 * PAGE_BYTES)
    before = fingerprints(page)
    for word in (0, 1, 2, 31, 32, 1023, 1024, 2047):
        for bit in range(32):
            flipped = bytearray(page)
            flipped[PAGE_BYTES + word * 4 + bit // 8] ^= 1 << bit % 8
            after = fingerprints(bytes(flipped))
            assert after[1] != before[1]
            assert (after[0], after[2]) == (before[0], before[2])


def test_any_flipped_byte_changes_the_checksum(checksums: Callable[[bytes, int], list[int]]) -> None:
    """A byte flipped anywhere on a page but in its checksum changes the checksum; in the checksum it does not."""
    page = random.Random(6).randbytes(PAGE_BYTES)
    expected = checksums(page, 5)
    for position in (*range(16), 127, 128, 4095, 4096, PAGE_BYTES - 1):
        flipped = bytearray(page)
        flipped[position] ^= 0x10
        assert (checksums(bytes(flipped), 5) == expected) == (position in {8, 9})


def test_swapped_words_and_other_keys_change_the_fingerprint(fingerprints: Callable[..., list[int]]) -> None:
    """Order counts, and both halves of a fingerprint hang on their own row of keys."""
    page = random.Random(8).randbytes(PAGE_BYTES)
    (fingerprint,) = fingerprints(page)
    (swapped,) = fingerprints(page[4:8] + page[:4] + page[8:])
    half = FINGERPRINT_KEY_BYTES // 2
    (other,) = fingerprints(page, _KEYS[:half] + random.Random(9).randbytes(half))
    assert swapped != fingerprint
    assert other >> 32 == fingerprint >> 32
    assert other != fingerprint


def test_buffers_are_read_where_they_lie() -> None:
    """bytes, bytearrays, read-only and misaligned views give the same numbers and stay as they are."""
    pages = random.Random(10).randbytes(3 * PAGE_BYTES)
    shifted = memoryview(bytearray(b"x" + pages))[1:]
    for buffer in (pages, bytearray(pages), memoryview(pages), shifted, shifted.toreadonly()):
        assert kernel.page_checksums(buffer, 9).tolist() == kernel.page_checksums(pages, 9).tolist()
        assert kernel.page_fingerprints(buffer, _KEYS).tolist() == kernel.page_fingerprints(pages, _KEYS).tolist()
        assert bytes(buffer) == pages


def test_threads_do_not_disturb_each_other() -> None:
    """Eight threads with keys and pages of their own get what one gets alone."""
    sources = [random.Random(seed) for seed in range(8)]
    inputs = [(source.randbytes(40 * PAGE_BYTES), source.randbytes(FINGERPRINT_KEY_BYTES)) for source in sources]
    alone = [kernel.page_fingerprints(*each).tolist() for each in inputs]
    with ThreadPoolExecutor(8) as pool:
        together = [found.tolist() for found in pool.map(lambda each: kernel.page_fingerprints(*each), inputs * 10)]
    assert together == alone * 10


@pytest.mark.parametrize(
    ("pages", "first"), [(b"\0" * 8191, 0), (b"\0" * 8193, 0), (b"\0" * 16384, (1 << 32) - 1), (b"\0" * 8192, -1)]
)
def test_checksums_need_whole_pages_and_block_numbers(pages: bytes, first: int) -> None:
    """Half a page, and block numbers that no relation has, are refused: neither is silently cut."""
    with pytest.raises(ValueError, match="expected"):
        kernel.page_checksums(pages, first)


@pytest.mark.parametrize("length", [0, FINGERPRINT_KEY_BYTES - 1, FINGERPRINT_KEY_BYTES + 1])
def test_fingerprints_need_all_keys(length: int) -> None:
    """Keys of another length are refused: the library would read beyond them."""
    with pytest.raises(ValueError, match="32784"):
        kernel.page_fingerprints(b"", bytes(length))


def test_buffers_with_holes_are_refused() -> None:
    """A view that is not contiguous is refused: it cannot be read in place."""
    every_second_byte = memoryview(bytes(4 * PAGE_BYTES))[::2]
    with pytest.raises((ValueError, BufferError)):
        kernel.page_fingerprints(every_second_byte, _KEYS)


def test_what_is_no_library_is_not_loaded(tmp_path: Path) -> None:
    """A library that is missing, or a file that is none, is passed over."""
    (tmp_path / "_kernel.so").write_bytes(b"no library")
    assert compiled.load(tmp_path / "absent.so") is None
    assert compiled.load(tmp_path / "_kernel.so") is None


@needs_compiler
def test_a_library_of_another_layout_is_not_loaded(tmp_path: Path) -> None:
    """A library left over from another release is passed over, not trusted."""
    source = _SOURCE.read_text()
    assert "#define LAYOUT 3\n" in source
    path = _compile(source.replace("#define LAYOUT 3\n", "#define LAYOUT 999\n"), tmp_path)
    assert compiled.load(path) is None


@pytest.mark.parametrize("compiler", ["/nowhere/cc", "false"])
def test_without_a_compiler_no_stale_library_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiler: str
) -> None:
    """A compiler that is missing or fails leaves no library at all, not even that of an older kernel.c."""
    monkeypatch.setenv("CC", compiler)
    shutil.copy(_SOURCE, tmp_path)
    (tmp_path / "_kernel.so").write_bytes(b"from an older kernel.c")
    assert not compile_kernel(tmp_path / "_kernel.so")
    assert [path.name for path in tmp_path.iterdir()] == ["kernel.c"]


def test_the_package_runs_without_its_library(tmp_path: Path) -> None:
    """Installed where no library could be made, the public functions run in numpy and say so."""
    package = tmp_path / "safepoint"
    shutil.copytree(Path(kernel.__file__).parent, package / "kernel", ignore=shutil.ignore_patterns("_kernel*"))
    (package / "__init__.py").touch()
    program = (
        "from safepoint import kernel as k; print(k.IS_COMPILED, *k.page_checksums(bytes(range(256)) * 64, 131072))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    assert answer.stdout.split() == ["False", *map(str, _KNOWN_CHECKSUMS)]

"""A server whose clock a test sets: some C in front of the C library, and a file that holds the difference."""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

_SHIM = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile const int64_t *difference;

__attribute__((constructor)) static void map_difference(void)
{
    const char *path = getenv("TEST_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    void *page = mmap(NULL, sizeof *difference, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (page != MAP_FAILED)
        difference = page;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    long code = syscall(SYS_clock_gettime, clock, now);
    if (code == 0 && difference && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t all = now->tv_sec * INT64_C(1000000000) + now->tv_nsec + *difference * 1000;
        now->tv_sec = all / 1000000000;
        now->tv_nsec = all % 1000000000;
    }
    return (int) code;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec exact;
    (void) zone;
    if (clock_gettime(CLOCK_REALTIME, &exact) != 0)
        return -1;
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *where)
{
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0)
        return -1;
    if (where)
        *where = now.tv_sec;
    return now.tv_sec;
}
"""


class FakeClock:
    """How far the clock of the servers started with it is ahead of this machine's; set at any time."""

    def __init__(self, folder: Path) -> None:
        self.library = folder / "clock.so"
        self.path = folder / "clock"
        source = folder / "clock.c"
        source.write_text(_SHIM)
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", self.library, source], check=True)
        self.path.write_bytes(bytes(8))
        for path in (self.library, self.path):
            path.chmod(0o755)
        with self.path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 8)

    def set(self, ahead: timedelta) -> None:
        """From now on the servers' clock is so far ahead; negative: behind."""
        self._map[:] = struct.pack("=q", ahead // timedelta(microseconds=1))

    @contextmanager
    def worn(self) -> Generator[None]:
        """Servers that are started inside the context have this clock, for as long as they run."""
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("LD_PRELOAD", str(self.library))
            environment.setenv("TEST_CLOCK", str(self.path))
            yield


def fake_clock(folder: Path) -> FakeClock:
    """A clock; skips the test where no C compiler is at hand."""
    if shutil.which("cc") is None or not hasattr(os, "sched_getaffinity"):
        pytest.skip("no C compiler (or no Linux): a server's clock cannot be set; enable with: apt-get install gcc")
    return FakeClock(folder)

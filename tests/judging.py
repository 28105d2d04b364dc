"""Real Prisma as a judge of databases that safepoint migrated: its engine, and its command line."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safepoint.postgres.url import DatabaseUrl

ROOT = Path(__file__).parents[1]
TOOL = ROOT.parent / "shared" / "tools" / "prisma-judge"
LANGFUSE = ROOT.parent / "shared" / "corpora" / "prisma-histories" / "langfuse"
SHOP = ROOT / "examples" / "vivr" / "prisma"
GENERATOR = re.compile(r"^generator \w+ \{.*?^\}", re.MULTILINE | re.DOTALL)
_QUIET = {
    "PRISMA_QUERY_ENGINE_LIBRARY": "/bin/true",
    "PRISMA_SCHEMA_ENGINE_BINARY": "/bin/true",
    "CHECKPOINT_DISABLE": "1",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prisma:
    """Prisma, installed in `home`; `project` is a Prisma project below it."""

    home: Path
    project: Path

    @property
    def folder(self) -> Path:
        """The project's migrations."""
        return self.project / "prisma" / "migrations"

    def judgement(self, url: DatabaseUrl) -> Any:
        """What the engine says of history, of development and of the schema against the migrations."""
        command = ["node", str(self.home / "judge.mjs"), url.reveal(), str(self.project / "prisma")]
        done = subprocess.run(command, env=self._environment(url), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def run(self, url: DatabaseUrl, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`npx prisma migrate …`."""
        command = [str(self.home / "node_modules" / ".bin" / "prisma"), "migrate", *arguments]
        return subprocess.run(
            command,
            cwd=self.project,
            env=self._environment(url),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def _environment(self, url: DatabaseUrl) -> dict[str, str]:
        return {**os.environ, **_QUIET, "DATABASE_URL": url.reveal(), "DIRECT_URL": url.reveal()}
